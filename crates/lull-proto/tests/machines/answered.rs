//! What a consumer is answered: once, and never an error because a target restarts.

use crate::alone::{Alone, attached, connect, disconnect, pause, resume, welcome};
use crate::pair::config;
use lull_proto::initiator::{Config, Event, Policy};
use lull_wire::messages::{Attached, Pong};
use lull_wire::{DisconnectCode, Incarnation, Kind, Message, OpCode, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn ops(alone: &Alone) -> Vec<OpCode> {
    alone.transmitted().iter().map(|request| request.op).collect()
}

/// The target is back: up to READY, or to the beginning of a replay.
fn comes_back(alone: &mut Alone, incarnation: Incarnation) {
    alone.incarnation = incarnation;
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.actions.clear();
    alone.receive(Attached { incarnation, ..attached(2) }.into());
    alone.handle(Event::Remembered);
}

/// [PAUSE-7] Whatever is asked in a pause, in whichever step of it, is held; all of it goes out with RESUME, at once,
/// be it after the restart or instead of it.
#[test]
fn what_is_asked_in_a_pause_is_held_and_goes_out_with_resume() {
    for aborted in [false, true] {
        let mut alone = Alone::sharing();
        alone.write_answered();
        let (slow, slot) = (alone.submit(OpCode::Read, 1), alone.transmitted().pop().unwrap());
        alone.receive(pause(7));
        alone.submit(OpCode::Write, 2);
        alone.reply(slot.number, StatusCode::Done);
        let flush = alone.transmitted().pop().unwrap();
        assert_eq!(flush.op, OpCode::Flush);
        alone.submit(OpCode::Write, 3);
        alone.reply(flush.number, StatusCode::Done);
        alone.submit(OpCode::Read, 4);
        let answered = alone.answers();
        assert_eq!(answered[1..], [(slow, StatusCode::Done)], "nothing that was asked since");
        if aborted {
            alone.actions.clear();
            alone.receive(resume(7));
        } else {
            alone.receive(disconnect(DisconnectCode::Restart, 7));
            comes_back(&mut alone, Incarnation([2; 16]));
            assert!(alone.transmitted().is_empty());
            alone.receive(resume(7));
        }
        assert_eq!(ops(&alone), [OpCode::Write, OpCode::Write, OpCode::Read]);
        assert!(alone.answers().is_empty());
    }
}

/// [PAUSE-7] [PROCEED-1] [CONN-3] What is unanswered when the target goes without waiting for it is sent again, and answered then.
#[test]
fn what_a_restart_left_unanswered_is_sent_again() {
    let mut alone = Alone::sharing();
    let slot = alone.submit(OpCode::Read, 1);
    alone.receive(pause(7));
    alone.receive(disconnect(DisconnectCode::Restart, 7));
    assert!(alone.answers().is_empty());
    comes_back(&mut alone, Incarnation([2; 16]));
    alone.receive(resume(7));
    let again = alone.transmitted().pop().expect("it is sent again");
    alone.reply(again.number, StatusCode::Done);
    assert_eq!(alone.answers(), [(slot, StatusCode::Done)]);
}

/// [SAFE-1] What was answered with an error is nobody's to replay: its consumer has been told that it may not be there.
#[test]
fn a_change_that_failed_is_not_retained() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    let sent = alone.transmitted().pop().expect("it is sent");
    alone.reply(sent.number, StatusCode::Io);
    assert_eq!(alone.machine.view(alone.now).retained, (0, 0));
    alone.lose();
    comes_back(&mut alone, Incarnation([2; 16]));
    assert!(alone.transmitted().is_empty());
}

/// [CONN-3] What the policy answered with an error while it was outstanding is answered by no late reply as well; and what
/// waits behind a replay is answered by the policy too.
#[test]
fn a_reply_behind_the_policys_error_answers_nobody() {
    let config = Config { policy: Policy::Error, ..config(0, "disk-a") };
    let mut alone = Alone::new(config);
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    let (slot, behind) = (alone.submit(OpCode::Write, 1), alone.submit(OpCode::Read, 2));
    alone.lose();
    comes_back(&mut alone, Incarnation([2; 16]));
    let replayed = alone.transmitted().pop().expect("it is replayed");
    while alone.answers().is_empty() {
        assert!(alone.now.0 < 600 * 1_000_000_000, "the policy never runs");
        alone.pass(SECOND);
        for ping in alone.sent(Kind::Ping) {
            let Message::Ping(ping) = ping else { unreachable!() };
            alone.receive(Pong { token: ping.token }.into());
        }
    }
    let failed = [(slot, StatusCode::Io), (behind, StatusCode::Io)];
    assert_eq!(alone.answers(), failed);
    alone.reply(replayed.number, StatusCode::Done);
    assert_eq!(alone.answers(), failed);
}
