//! What the changes of sharers came to [SAFE-11].

use lull_proto::ledger::{Ledger, Outcomes, Verdict};
use lull_wire::{AttachmentId, InstanceId, RequestNumber, StatusCode};

const A: AttachmentId = AttachmentId([1; 16]);
const B: AttachmentId = AttachmentId([2; 16]);
const LIFE: InstanceId = InstanceId([9; 16]);

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.open(A, LIFE, RequestNumber(1));
    ledger.open(B, LIFE, RequestNumber(1));
    ledger
}

fn number(of: u64) -> RequestNumber {
    RequestNumber(of)
}

/// Four blocks at this one.
fn admit(ledger: &mut Ledger, who: AttachmentId, which: u64, block: u64) -> Verdict {
    ledger.admit((who, number(which)), block * 4096, 4 * 4096)
}

fn done(ledger: &mut Ledger, who: AttachmentId, which: u64, block: u64) {
    ledger.done((who, number(which)), block * 4096, StatusCode::Done);
}

/// [SAFE-11] A repeat is answered from its outcome, whatever that was, until the initiator says that it knows.
#[test]
fn a_repeat_is_answered_and_not_executed() {
    let mut ledger = ledger();
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    ledger.done((A, number(1)), 0, StatusCode::NoSpace);
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Repeat(StatusCode::NoSpace));
    ledger.confirm(A, number(2));
    assert_eq!(admit(&mut ledger, A, 2, 0), Verdict::Run);
}

/// [SAFE-11] What was not executed to its end is executed when it comes again.
#[test]
fn what_was_abandoned_may_come_again() {
    let mut ledger = ledger();
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    ledger.abandon((A, number(1)), 0);
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
}

/// [SAFE-11] A change over another sharer's waits while that is under way, and then until its outcome is stored.
#[test]
fn a_change_over_an_unconfirmed_one_of_another_waits_until_that_is_stored() {
    let mut ledger = ledger();
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    assert_eq!(admit(&mut ledger, B, 1, 3), Verdict::Wait);
    assert_eq!(admit(&mut ledger, B, 2, 4), Verdict::Wait, "what came later does not overtake");
    assert_eq!(admit(&mut ledger, B, 3, 40), Verdict::Run, "what lies elsewhere does");
    assert_eq!(ledger.to_store(), [], "nothing was executed yet");
    done(&mut ledger, A, 1, 0);
    assert_eq!(ledger.take_ready(), []);
    let outcomes = Outcomes { instance: LIFE, all: vec![(number(1), StatusCode::Done)] };
    assert_eq!(ledger.to_store(), [(A, outcomes.clone())]);
    ledger.stored(A, &outcomes, false);
    assert_eq!(ledger.take_ready(), []);
    ledger.store_again();
    assert_eq!(ledger.to_store(), [(A, outcomes.clone())], "it is asked for again");
    ledger.stored(A, &outcomes, true);
    assert_eq!(ledger.take_ready(), [(B, number(1))]);
    done(&mut ledger, B, 1, 3);
    assert_eq!(
        ledger.take_ready(),
        [(B, number(2))],
        "its own is in nobody's way once it is executed"
    );
}

/// [SAFE-11] What the initiator knows is in nobody's way, and nothing is stored for it.
#[test]
fn a_confirmed_change_is_in_nobodys_way() {
    let mut ledger = ledger();
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    assert_eq!(admit(&mut ledger, B, 1, 0), Verdict::Wait);
    done(&mut ledger, A, 1, 0);
    ledger.confirm(A, number(2));
    assert_eq!(ledger.take_ready(), [(B, number(1))]);
    assert_eq!(admit(&mut ledger, A, 2, 20), Verdict::Run);
    done(&mut ledger, A, 2, 20);
    ledger.confirm(A, number(3));
    assert_eq!(admit(&mut ledger, B, 2, 20), Verdict::Run);
}

/// [SAFE-11] What was stored outlives the target, under the numbers of that life of the initiator only.
#[test]
fn stored_outcomes_answer_repeats_after_a_crash_of_the_target() {
    let outcomes = Outcomes { instance: LIFE, all: vec![(number(7), StatusCode::Done)] };
    let mut ledger = Ledger::default();
    ledger.load(A, &outcomes);
    ledger.open(A, LIFE, number(7));
    assert_eq!(admit(&mut ledger, B, 1, 0), Verdict::Run, "nothing waits for it any more");
    assert_eq!(admit(&mut ledger, A, 7, 0), Verdict::Repeat(StatusCode::Done));

    let mut ledger = Ledger::default();
    ledger.load(A, &outcomes);
    ledger.open(A, InstanceId([8; 16]), number(1));
    assert_eq!(admit(&mut ledger, A, 7, 0), Verdict::Run, "another life has numbers of its own");
}

/// [SAFE-11] Who has left sends nothing again: it is in nobody's way, and neither is what waited for it.
#[test]
fn who_leaves_is_forgotten() {
    let mut ledger = ledger();
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    assert_eq!(admit(&mut ledger, A, 2, 8), Verdict::Run);
    assert_eq!(admit(&mut ledger, B, 1, 0), Verdict::Wait);
    assert_eq!(admit(&mut ledger, B, 2, 8), Verdict::Wait);
    done(&mut ledger, A, 1, 0);
    ledger.leave(A);
    assert_eq!(ledger.take_ready(), [(B, number(1))], "the other one is under way still");
    done(&mut ledger, A, 2, 8);
    assert_eq!(ledger.take_ready(), [(B, number(2))]);
    assert_eq!(ledger.waiting(), 0);
}

/// [SEC-4] A change that ends beyond all numbers is the medium's to refuse; nobody falls over it.
#[test]
fn a_change_beyond_every_device_goes_its_way() {
    let (mut ledger, offset) = (ledger(), u64::MAX - 4095);
    assert_eq!(ledger.admit((A, number(1)), offset, 8192), Verdict::Run);
    assert_eq!(ledger.admit((B, number(1)), offset, 8192), Verdict::Wait);
    ledger.done((A, number(1)), offset, StatusCode::OutOfRange);
    let repeat = Verdict::Repeat(StatusCode::OutOfRange);
    assert_eq!(ledger.admit((A, number(1)), offset, 8192), repeat);
}

/// [SAFE-11] [CHAIN-1] A change that the medium gave back may have been executed, or may be still: what another sharer
/// puts over it is given back as well, until it was sent again, so that it never comes to lie over what came later.
#[test]
fn nobody_changes_what_was_given_back_before_it_was_sent_again() {
    let mut ledger = ledger();
    let back = Verdict::Repeat(StatusCode::NotExecuted);
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
    assert_eq!(admit(&mut ledger, B, 1, 2), Verdict::Wait);
    ledger.done((A, number(1)), 0, StatusCode::NotExecuted);
    assert_eq!((ledger.take_ready(), ledger.take_back()), (vec![], vec![(B, number(1))]));
    assert_eq!(admit(&mut ledger, B, 1, 2), back, "it comes too early");
    assert_eq!(ledger.doubted().collect::<Vec<_>>(), [A], "it is named");
    assert_eq!(admit(&mut ledger, B, 2, 20), Verdict::Run, "elsewhere");
    assert_eq!(admit(&mut ledger, A, 2, 0), Verdict::Run, "its own initiator knows the order");
    ledger.done((A, number(2)), 0, StatusCode::Done);
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run, "it is sent again");
    assert_eq!(ledger.doubted().count(), 0);
    assert_eq!(admit(&mut ledger, B, 1, 2), Verdict::Wait);
    ledger.done((A, number(1)), 0, StatusCode::Done);
    assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Repeat(StatusCode::Done), "and known");
    ledger.confirm(A, number(3));
    assert_eq!(ledger.take_ready(), [(B, number(1))]);
}

/// [SAFE-11] What is never sent again is in nobody's way: its initiator gave it up, or has left.
#[test]
fn what_was_given_back_and_given_up_is_in_nobodys_way() {
    for leaves in [true, false] {
        let mut ledger = ledger();
        assert_eq!(admit(&mut ledger, A, 1, 0), Verdict::Run);
        ledger.done((A, number(1)), 0, StatusCode::NotExecuted);
        assert_ne!(admit(&mut ledger, B, 1, 0), Verdict::Run);
        if leaves {
            ledger.leave(A);
        } else {
            ledger.confirm(A, number(2));
        }
        assert_eq!(admit(&mut ledger, B, 1, 0), Verdict::Run);
    }
}
