//! Whatever is left out is missed.

use lull_sim::canary::Canary;
use lull_sim::run;

/// Whichever canary it is, one of so many worlds shows it.
const WORLDS: u64 = 4_000;

fn is_caught(canary: Canary) {
    let found = run::hunt(canary, WORLDS);
    assert!(found.is_some(), "{WORLDS} worlds without {canary:?}, and nobody missed it");
}

macro_rules! caught {
    ($($(#[$doc:meta])* $name:ident: $canary:ident;)*) => {$(
        #[test]
        $(#[$doc])*
        fn $name() {
            is_caught(Canary::$canary);
        }
    )*};
}

caught! {
    /// [PAUSE-3]
    the_flush_before_pause_complete_is_missed: NoPauseFlush;
    /// [PAUSE-5]
    the_flush_of_the_backends_is_missed: NoMakeDurable;
    /// [SAFE-5]
    the_fence_is_missed: NoFence;
    /// [SAFE-3]
    the_wait_behind_an_overlap_is_missed: NoOverlapWait;
    /// [PAUSE-5]
    the_record_of_a_restart_is_missed: NoIntent;
    /// [PAUSE-5]
    the_record_of_an_owner_is_missed: NoOwnerRecord;
    /// [SAFE-4]
    a_flush_after_a_failed_write_back_is_noticed: FlushAfterFailure;
    /// [SAFE-6]
    late_requests_of_a_killed_target_are_noticed: StaleIo;
    /// [CONN-3]
    a_second_reply_is_noticed: AnswerTwice;
    /// [SAFE-2]
    the_replay_is_missed: NoReplay;
    /// [SAFE-2]
    what_is_unanswered_is_missed: NoResend;
    /// [PAUSE-2]
    a_pause_that_is_not_obeyed_is_noticed: IgnoresPause;
    /// [SAFE-2]
    the_wait_of_readers_for_the_replay_is_missed: NoReadBarrier;
    /// [PAUSE-5]
    the_clean_record_is_missed: NoCleanRecord;
    /// [SAFE-5]
    the_note_before_the_first_attach_is_missed: NoNote;
    /// [SAFE-10]
    a_log_that_nobody_looks_for_is_missed: ForgetsLog;
    /// [INIT-1]
    what_a_replaced_daemon_had_in_flight_is_missed: ForgetsInFlight;
    /// [CHAIN-1]
    a_hold_that_nobody_is_told_of_is_missed: NoHold;
    /// [CHAIN-1]
    an_answer_to_what_could_not_be_passed_on_is_noticed: GivesBackAsDone;
    /// [CHAIN-4]
    a_new_incarnation_that_is_not_told_below_is_missed: NoLifeDownstream;
    /// [SAFE-11]
    a_change_that_is_executed_again_over_anothers_is_noticed: NoOutcomes;
    /// [SAFE-11]
    an_outcome_that_a_crash_forgets_under_anothers_change_is_missed: NoStoredOutcomes;
    /// [RESUME-2]
    the_wait_for_the_other_sharers_is_missed: NoBarrier;
}
