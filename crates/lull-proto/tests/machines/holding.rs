//! An initiator whose target lies on another one, and the attachment that lies between the two.

use crate::alone::{Alone, attached, connect, pause, resume, welcome};
use crate::pair::{BLOCK, config};
use lull_proto::Upstream;
use lull_proto::initiator::{Action, Config, Event, Phase, Policy, Report, Retain};
use lull_wire::messages::{Attached, Hold, Path, Pong, Prose};
use lull_wire::{Incarnation, Kind, Message, OpCode, StatusCode, Text};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

pub fn hold(span: Duration) -> Message {
    let nodes = ["middle/disk-a", "above/disk"].map(Text::clipped).to_vec();
    let path = Path::new(nodes).unwrap();
    Hold { span_ms: span.as_millis() as u64, path, reason: Prose::clipped("restarts") }.into()
}

/// The target is there: it answers every PING.
pub fn pass(alone: &mut Alone, span: Duration) {
    for _ in 0..span.as_secs() {
        alone.pass(SECOND);
        let pings = alone.sent(Kind::Ping);
        for message in pings.iter().skip(pings.len().saturating_sub(3)) {
            let Message::Ping(ping) = message else { continue };
            alone.receive(Pong { token: ping.token }.into());
        }
    }
}

/// Comes back in another incarnation.
pub fn comes_back(alone: &mut Alone, epoch: u64) {
    alone.lose();
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.incarnation = Incarnation([2; 16]);
    alone.receive(Attached { incarnation: alone.incarnation, ..attached(epoch) }.into());
}

/// [CHAIN-1] What is asked meanwhile is kept here, and goes out with RESUME.
#[test]
fn whoever_holds_sends_nothing_new_until_resume() {
    let mut alone = Alone::sharing();
    alone.receive(hold(600 * SECOND));
    alone.submit(OpCode::Write, 1);
    pass(&mut alone, 500 * SECOND);
    assert!(alone.transmitted().is_empty());
    let held = alone.machine.view(alone.now).held_by.expect("it shows whom it waits for");
    assert_eq!(held.path.as_slice().last().unwrap().as_str(), "above/disk");
    alone.receive(resume(0));
    assert_eq!(alone.transmitted().len(), 1);
    assert_eq!((alone.machine.phase(), alone.violation()), (Phase::Sharing, None));
}

/// [CHAIN-1] Renewed it lasts as long as it may; forgotten it is a loss.
#[test]
fn a_hold_that_is_not_renewed_is_a_loss() {
    let mut alone = Alone::sharing();
    for _ in 0..10 {
        alone.receive(hold(2 * SECOND));
        pass(&mut alone, 5 * SECOND);
        assert_eq!(alone.machine.phase(), Phase::Sharing);
    }
    pass(&mut alone, 12 * SECOND);
    assert!(alone.reported(|report| matches!(report, Report::HoldSilent)));
    assert_ne!(alone.machine.phase(), Phase::Sharing);
}

/// [CHAIN-1] The resume timer does not end because somebody further up is away.
#[test]
fn a_hold_stops_the_resume_timer() {
    for holds in [true, false] {
        let mut alone = Alone::new(Config { policy: Policy::Error, ..config(0, "disk-a") });
        alone.handle(Event::Begin);
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        for _ in 0..100 {
            if holds {
                alone.receive(hold(30 * SECOND));
            }
            pass(&mut alone, 5 * SECOND);
        }
        let expired = alone.reported(|report| matches!(report, Report::Expired { .. }));
        assert_eq!(expired, !holds);
    }
}

/// [CHAIN-1] What was not executed stays, is counted, and is sent again after RESUME with the number that it had.
#[test]
fn a_pause_is_completed_over_what_was_not_executed() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    let first = alone.transmitted().pop().unwrap();
    alone.receive(hold(30 * SECOND));
    alone.receive(pause(7));
    alone.reply(first.number, StatusCode::NotExecuted);
    let Some(Message::PauseComplete(told)) = alone.sent(Kind::PauseComplete).pop() else {
        panic!("it completes")
    };
    assert_eq!((told.not_executed, told.retained), (1, 0));
    assert!(alone.answers().is_empty());
    // [PAUSE-11] The end of the hold is not the end of the pause.
    alone.receive(resume(0));
    assert_eq!(alone.machine.phase(), Phase::Paused);
    alone.receive(resume(7));
    let again = alone.transmitted().pop().unwrap();
    assert_eq!((alone.transmitted().len(), again.number), (2, first.number));
}

/// [CHAIN-1] With RESUME it goes at once, and before what was asked since.
#[test]
fn what_was_not_executed_in_a_hold_is_sent_again_with_its_end() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    let first = alone.transmitted().pop().unwrap().number;
    alone.receive(hold(600 * SECOND));
    alone.reply(first, StatusCode::NotExecuted);
    alone.submit(OpCode::Write, 2);
    pass(&mut alone, 10 * SECOND);
    assert_eq!(alone.transmitted().len(), 1);
    alone.receive(resume(0));
    let sent: Vec<_> = alone.transmitted().iter().map(|request| request.offset / BLOCK).collect();
    assert_eq!(sent, [1, 1, 2]);
}

/// [CHAIN-1] Without a pause and a hold nobody says when: the next round of keep-alive does.
#[test]
fn what_was_not_executed_out_of_turn_is_sent_again_soon() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    let first = alone.transmitted().pop().unwrap();
    alone.reply(first.number, StatusCode::NotExecuted);
    assert_eq!(alone.transmitted().len(), 1);
    pass(&mut alone, 3 * SECOND);
    assert_eq!(alone.transmitted().len(), 2);
}

/// [CHAIN-1] [SAFE-2] A replay that could not be passed on is no fault; nothing is flushed over it, and it begins anew.
#[test]
fn a_replay_that_is_not_executed_begins_anew() {
    let mut alone = Alone::sharing();
    alone.write_answered();
    comes_back(&mut alone, 2);
    let sent = alone.transmitted().len();
    let replayed = alone.transmitted().pop().unwrap();
    alone.receive(pause(7));
    alone.reply(replayed.number, StatusCode::NotExecuted);
    assert!(!alone.reported(|report| matches!(report, Report::Faulted { .. })));
    let Some(Message::PauseComplete(told)) = alone.sent(Kind::PauseComplete).pop() else {
        panic!("it completes")
    };
    assert_eq!((told.retained, alone.transmitted().len()), (1, sent));
    alone.receive(resume(7));
    assert_eq!(alone.machine.phase(), Phase::Replaying);
    let again = alone.transmitted().pop().unwrap();
    assert_eq!((again.op, again.offset), (replayed.op, replayed.offset));
    assert!(alone.sent(Kind::Ready).len() < 2, "not before it is done");
    alone.reply(again.number, StatusCode::Done);
    assert_eq!(alone.sent(Kind::Ready).len(), 2);
}

fn medium() -> Alone {
    let mut alone = Alone::new(Config { retain: Retain::Elsewhere, ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    alone
}

/// [CHAIN-4] Whoever asked retains it: a medium replays nothing, tells that its life is lost, and gives back the rest.
#[test]
fn a_medium_in_a_new_incarnation_gives_back_and_replays_nothing() {
    let mut alone = medium();
    alone.write_answered();
    assert!(!alone.actions.iter().any(|action| matches!(action, Action::Retain { .. })));
    let open = alone.submit(OpCode::Write, 2);
    alone.actions.clear();
    comes_back(&mut alone, 2);
    let lost = |action: &Action| *action == Action::LifeLost;
    let given =
        |action: &Action| *action == Action::Answer { slot: open, status: StatusCode::NotExecuted };
    let lost = alone.actions.iter().position(lost).expect("its life is lost");
    let given = alone.actions.iter().position(given).expect("it is given back");
    assert!(lost < given, "nothing of the old life is answered first");
    assert!(alone.transmitted().is_empty());
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
}

/// [PAUSE-3] It flushes what it has passed on all the same.
#[test]
fn a_medium_flushes_before_pause_complete() {
    let mut alone = medium();
    alone.write_answered();
    alone.receive(pause(7));
    let flush = alone.transmitted().pop().unwrap();
    assert_eq!(flush.op, OpCode::Flush);
    assert!(alone.sent(Kind::PauseComplete).is_empty());
    alone.reply(flush.number, StatusCode::Done);
    assert_eq!(alone.sent(Kind::PauseComplete).len(), 1);
}

/// [CHAIN-1] [CHAIN-2] A target that goes itself has back what it cannot pass on, and what is stuck above; what overlaps
/// that waits until its fate is known. [CONN-3] A late reply answers nobody a second time.
#[test]
fn a_medium_that_gives_back_keeps_nothing_that_is_stuck() {
    let mut alone = medium();
    let stuck = alone.submit(OpCode::Write, 1);
    let number = alone.transmitted().pop().unwrap().number;
    alone.handle(Event::GiveBack { on: true });
    assert!(alone.answers().is_empty(), "while it shares, its answer comes");
    alone.receive(hold(30 * SECOND));
    let later = alone.submit(OpCode::Write, 2);
    let back = [(stuck, StatusCode::NotExecuted), (later, StatusCode::NotExecuted)];
    assert_eq!(alone.answers(), back);
    alone.handle(Event::GiveBack { on: false });
    alone.receive(resume(0));
    alone.submit(OpCode::Write, 1);
    assert_eq!(alone.transmitted().len(), 1, "the one before it may still be executed");
    alone.reply(number, StatusCode::Done);
    assert_eq!((alone.transmitted().len(), alone.answers().len()), (2, 2));
}

/// [SAFE-5] What was given back may be executed above still: until it is answered, or can be no more, nobody is let in
/// below beside it, and it is said what is waited for.
#[test]
fn a_medium_stands_when_nothing_of_what_it_gave_back_is_under_way() {
    for answered in [true, false] {
        let mut alone = medium();
        alone.submit(OpCode::Write, 1);
        let number = alone.transmitted().pop().unwrap().number;
        alone.receive(hold(30 * SECOND));
        alone.handle(Event::GiveBack { on: true });
        alone.handle(Event::GiveBack { on: false });
        alone.receive(resume(0));
        let Some(Upstream::Away { reason, .. }) = alone.machine.upstream(alone.now) else {
            panic!("its user may have lost its place meanwhile")
        };
        assert_eq!(reason.as_str(), "finishes what was asked before");
        if answered {
            alone.reply(number, StatusCode::Done);
            assert!(alone.reported(|report| *report == Report::LateAnswered));
        } else {
            // Above, nothing of the older epoch is executed behind ATTACHED.
            alone.lose();
            alone.connects();
            alone.attaches(2);
            alone.receive(resume(0));
        }
        let stands = alone.machine.upstream(alone.now);
        assert!(matches!(stands, Some(Upstream::Standing { .. })), "answered: {answered}");
    }
}

/// [CHAIN-1] [CHAIN-3] What the target below is told of it.
#[test]
fn a_medium_says_how_its_target_stands() {
    let mut alone = medium();
    let standing = |alone: &Alone| {
        matches!(alone.machine.upstream(alone.now), Some(Upstream::Standing { .. }))
    };
    assert!(standing(&alone));
    alone.receive(hold(30 * SECOND));
    let Some(Upstream::Away { reason, path, .. }) = alone.machine.upstream(alone.now) else {
        panic!("it holds")
    };
    assert_eq!((reason.as_str(), path.as_slice().len()), ("restarts", 2));
    alone.receive(resume(0));
    assert!(standing(&alone));
    alone.receive(pause(7));
    assert!(!standing(&alone));
    alone.receive(resume(7));
    assert!(standing(&alone));
    alone.lose();
    assert!(!standing(&alone));
}
