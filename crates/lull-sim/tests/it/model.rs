//! Every state of the small worlds: the rules hold in all of them, and from all of them the run in which nothing more
//! goes wrong leads to sharing. Their numbers are pinned, so that a change of a machine that nobody meant is seen.

use lull_sim::canary::Canary;
use lull_sim::model::worlds::{self, Explored};
use lull_sim::model::{World, setup::Setup};

fn named(name: &str) -> Explored {
    let found = worlds::all().into_iter().find(|one| one.setup.name == name);
    found.unwrap_or_else(|| panic!("there is no world {name}"))
}

fn holds(name: &str) {
    let Explored { setup, states, .. } = named(name);
    let outcome = World::new(setup).explore();
    if let Some(finding) = outcome.finding {
        panic!("{:?} after {:#?}", finding.wrong, finding.path);
    }
    assert_eq!(Some(outcome.states), states, "{name} has another number of states than before");
}

macro_rules! every_state {
    ($($(#[$doc:meta])* $name:ident: $world:literal;)*) => {
        $(#[test] $(#[$doc])* fn $name() { holds($world); })*

        #[test]
        fn no_small_world_is_left_out() {
            let quick = worlds::all().into_iter().filter(|one| one.states.is_some());
            let names: Vec<&str> = quick.map(|one| one.setup.name).collect();
            assert_eq!(names, [$($world),*]);
        }
    };
}

every_state! {
    /// [CONN-1] [CONN-3]
    a_first_dial_leads_to_sharing: "plain";
    /// [CONN-2] [CONN-3] [SAFE-1] [SAFE-2]
    one_fault_at_any_time_loses_nothing: "first";
    /// [SAFE-2] [SAFE-5] Also in the middle of what repairs the first.
    two_faults_at_any_time_lose_nothing: "twice";
    /// [PAUSE-3] [PAUSE-5]
    one_fault_around_a_restart_loses_nothing: "restart";
    /// [PAUSE-6]
    a_restart_that_is_given_up_leads_to_sharing: "abort";
    /// [SAFE-1] [SAFE-4]
    durable_writes_among_others_stay: "durable";
    /// [SAFE-3]
    a_full_log_is_flushed: "bound";
    /// [SAFE-3]
    what_is_not_retained_is_durable: "through";
    /// [CONN-2] [TIMER-6] [PAUSE-10]
    silence_and_slowness_lead_to_sharing: "slow";
    /// [PAUSE-1] [PAUSE-5] [PAUSE-6]
    two_pause_together: "two";
    /// [RESUME-1] [RESUME-3]
    two_come_back_to_a_target_that_died: "two-cut";
    /// [SAFE-5] [SAFE-9]
    of_two_that_want_one_resource_one_has_it: "rivals";
    /// [SAFE-5] [SAFE-7]
    a_place_that_is_over_is_somebody_elses: "lapsed";
    /// [PAUSE-1] [PAUSE-5]
    three_pause_together: "three";
}

/// What is left out is missed in this world, by the judge of this rule.
fn is_missed(canary: Canary, world: &str, rule: &str) {
    let setup = Setup { canary: Some(canary), ..named(world).setup };
    let finding = World::new(setup).explore().finding.expect("nobody missed it");
    assert_eq!(finding.wrong.map_or("progress", |wrong| wrong.rule), rule, "{:?}", finding.path);
}

macro_rules! missed {
    ($($(#[$doc:meta])* $name:ident: $canary:ident, $world:literal, $rule:literal;)*) => {
        $(#[test] $(#[$doc])* fn $name() { is_missed(Canary::$canary, $world, $rule); })*
    };
}

missed! {
    /// [SAFE-5]
    the_fence_is_missed: NoFence, "first", "SAFE-5";
    /// [SAFE-2]
    the_replay_is_missed: NoReplay, "first", "SAFE-2";
    /// [SAFE-2]
    what_is_unanswered_is_missed: NoResend, "first", "CONN-3";
    /// [SAFE-3]
    the_wait_behind_an_overlap_is_missed: NoOverlapWait, "first", "SAFE-2";
    /// [PAUSE-3]
    the_flush_before_pause_complete_is_missed: NoPauseFlush, "restart", "SAFE-2";
    /// [PAUSE-3]
    a_pause_that_is_not_obeyed_is_noticed: IgnoresPause, "restart", "PAUSE-3";
    /// [PAUSE-5]
    the_record_of_an_owner_is_missed: NoOwnerRecord, "first", "PAUSE-5";
    /// [SAFE-10]
    the_log_of_the_life_before_is_missed: ForgetsLog, "twice", "SAFE-2";
    /// [SAFE-5]
    the_note_before_the_first_attach_is_missed: NoNote, "twice", "progress";
}
