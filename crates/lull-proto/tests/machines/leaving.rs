//! The end of an attachment where the connection, or the target, does not help.

use crate::alone::{Alone, attached, connect, disconnect, pause, resume, welcome};
use crate::pair::config;
use lull_proto::initiator::{Action, Config, End, Event, Phase, Policy, Report};
use lull_wire::messages::{Detached, Refused};
use lull_wire::{
    DisconnectCode, Epoch, Kind, Message, OpCode, RefusalCode, Retry, StatusCode, Tenure,
};
use std::time::Duration;

fn refused(code: RefusalCode, retry: Retry, epoch: u64) -> Message {
    let (tenure, detail) = (Tenure(0), Default::default());
    Refused { code, retry, retry_after_ms: 0, epoch: Epoch(epoch), tenure, detail }.into()
}

/// ATTACH is sent and not answered.
fn attaching() -> Alone {
    let mut alone = Alone::greeted();
    alone.receive(welcome());
    alone.receive(connect());
    alone
}

/// DETACH is sent and not answered.
fn asked() -> Alone {
    let mut alone = Alone::sharing();
    alone.handle(Event::Detach { at_once: false });
    assert_eq!(alone.sent(Kind::Detach).len(), 1);
    alone
}

fn ended(alone: &Alone) -> Option<End> {
    match alone.machine.phase() {
        Phase::Ended(end) => Some(end),
        _ => None,
    }
}

/// [CONN-5] Whoever ends while ATTACH is under way gives back what it is granted.
#[test]
fn a_detach_while_attaching_follows_the_grant() {
    let mut alone = attaching();
    alone.handle(Event::Detach { at_once: false });
    assert_eq!(ended(&alone), None);
    alone.receive(attached(1).into());
    alone.handle(Event::Remembered);
    alone.receive(resume(0));
    assert_eq!(alone.sent(Kind::Detach).len(), 1);
    alone.receive(Detached { epoch: Epoch(1) }.into());
    assert_eq!(ended(&alone), Some(End::Detached));

    let mut alone = attaching();
    alone.handle(Event::Detach { at_once: true });
    assert_eq!(ended(&alone), Some(End::Left));
    let mut alone = attaching();
    alone.handle(Event::Detach { at_once: false });
    alone.receive(refused(RefusalCode::Pausing, Retry::Later, 0));
    assert_eq!(ended(&alone), Some(End::Left), "nobody granted it anything");
}

/// [CONN-5] A connection lost between DETACH and DETACHED is dialled again, once.
#[test]
fn a_detach_that_was_not_answered_is_sent_once_more() {
    let mut alone = asked();
    alone.lose();
    alone.connects();
    alone.attaches(2);
    alone.receive(resume(0));
    assert_eq!(alone.sent(Kind::Detach).len(), 2);
    alone.receive(Detached { epoch: Epoch(2) }.into());
    assert_eq!(ended(&alone), Some(End::Detached));

    let mut alone = asked();
    alone.lose();
    alone.connects();
    alone.attaches(2);
    alone.receive(resume(0));
    alone.lose();
    assert_eq!(ended(&alone), Some(End::Left));

    let mut alone = asked();
    alone.lose();
    let since = alone.now;
    while ended(&alone).is_none() {
        alone.handle(Event::DialFailed { conn: alone.dialled() });
        alone.pass(alone.machine.deadline().map_or(Duration::ZERO, |at| at.since(alone.now)));
    }
    assert_eq!(ended(&alone), Some(End::Left));
    let tried = alone.now.since(since);
    assert!((2..10).contains(&tried.as_secs()), "for some seconds: {tried:?}");

    // Its place was taken: so it had been let go.
    let taken = [
        (RefusalCode::StaleTenure, Retry::Final),
        (RefusalCode::OtherInstance, Retry::Final),
        (RefusalCode::Conflict, Retry::Later),
    ];
    for (code, retry) in taken {
        let mut alone = asked();
        alone.lose();
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        alone.receive(refused(code, retry, 1));
        assert_eq!(ended(&alone), Some(End::Detached), "{code}");
    }
}

/// [CONN-5] What a front end has taken it may ask for in several steps, with nothing outstanding between them: that is
/// taken, and waited for, wherever the end was wanted.
#[test]
fn a_detach_waits_for_what_a_front_end_has_asked_half_of() {
    for paused in [false, true] {
        let mut alone = Alone::sharing();
        alone.handle(Event::Halfway { on: true });
        if paused {
            alone.receive(pause(7));
        }
        alone.handle(Event::Detach { at_once: false });
        alone.handle(Event::Detach { at_once: true });
        let slot = alone.submit(OpCode::Read, 1);
        if paused {
            assert!(alone.transmitted().is_empty(), "[PAUSE-2]");
            alone.receive(resume(7));
        }
        let number = alone.transmitted().pop().expect("it is sent").number;
        alone.reply(number, StatusCode::Done);
        assert_eq!(alone.answers(), [(slot, StatusCode::Done)]);
        assert!(alone.sent(Kind::Detach).is_empty() && ended(&alone).is_none());
        let last = alone.submit(OpCode::Read, 2);
        let number = alone.transmitted().pop().expect("it is sent").number;
        alone.handle(Event::Halfway { on: false });
        assert!(alone.sent(Kind::Detach).is_empty(), "it is outstanding");
        let refused = alone.submit(OpCode::Read, 3);
        alone.reply(number, StatusCode::Done);
        assert_eq!(alone.sent(Kind::Detach).len(), 1);
        let answers = &alone.answers()[1..];
        assert_eq!(answers, [(refused, StatusCode::Io), (last, StatusCode::Done)]);
    }

    // Nothing came of it.
    let mut alone = Alone::sharing();
    alone.handle(Event::Halfway { on: true });
    alone.handle(Event::Detach { at_once: false });
    alone.lose();
    assert_eq!(ended(&alone), None);
    alone.connects();
    alone.attaches(2);
    alone.receive(resume(0));
    assert!(alone.sent(Kind::Detach).is_empty());
    alone.handle(Event::Halfway { on: false });
    assert_eq!(alone.sent(Kind::Detach).len(), 1);
}

/// [CONN-5] DISCONNECT between DETACH and DETACHED is such a loss, however the target goes: not one to be waited for under
/// the restart timer.
#[test]
fn a_detach_that_a_disconnect_crosses_is_sent_once_more_and_for_some_seconds() {
    use DisconnectCode::{Restart, Shutdown, WriteBackFailed};
    for (code, restart) in [(Restart, 7), (WriteBackFailed, 0), (Shutdown, 0)] {
        let mut alone = asked();
        alone.receive(disconnect(code, restart));
        assert!(alone.reported(|report| matches!(report, Report::Away { leaving: true, .. })));
        alone.connects();
        alone.attaches(2);
        alone.receive(resume(restart));
        assert_eq!(alone.sent(Kind::Detach).len(), 2, "{code}");
        alone.receive(Detached { epoch: Epoch(2) }.into());
        assert_eq!(ended(&alone), Some(End::Detached));

        // Nobody is there, or who is puts it off: both are tried for some seconds.
        for refuses in [false, true] {
            let mut alone = asked();
            alone.receive(disconnect(code, restart));
            let since = alone.now;
            while ended(&alone).is_none() {
                if refuses {
                    alone.connects();
                    alone.receive(welcome());
                    alone.receive(connect());
                    alone.receive(refused(RefusalCode::Pausing, Retry::Later, 0));
                } else {
                    alone.handle(Event::DialFailed { conn: alone.dialled() });
                }
                let next = alone.machine.deadline();
                alone.pass(next.map_or(Duration::ZERO, |at| at.since(alone.now)));
            }
            assert_eq!(ended(&alone), Some(End::Left));
            let tried = alone.now.since(since);
            assert!((2..10).contains(&tried.as_secs()), "{code}: {tried:?}");
        }
    }

    // [SAFE-5] Whoever is fenced leaves nothing to be given back.
    let mut alone = asked();
    alone.receive(disconnect(DisconnectCode::Evicted, 0));
    assert_eq!(ended(&alone), Some(End::Fenced));
}

/// [SAFE-5] An epoch that is behind is learned at the first ATTACH of a life too, however it is refused.
#[test]
fn a_stale_epoch_never_ends_an_attachment() {
    for retry in [Retry::Later, Retry::Final] {
        let mut alone = attaching();
        alone.receive(refused(RefusalCode::StaleEpoch, retry, 41));
        assert_eq!(ended(&alone), None);
        alone.pass(Duration::from_millis(1));
        alone.connects();
        alone.attaches(42);
        alone.receive(resume(0));
        assert_eq!(alone.machine.phase(), Phase::Sharing, "{retry:?}");
    }
}

/// [SAFE-5] [SAFE-7] [SAFE-8] READY, and so the first request, waits until the next life can name this one, the resource
/// and the tenure; later ones do not.
#[test]
fn the_first_ready_of_a_life_waits_for_stable_storage() {
    let mut alone = attaching();
    alone.receive(attached(1).into());
    alone.submit(OpCode::Write, 1);
    let remembered = alone.actions.iter().any(|action| matches!(action, Action::Remember(_)));
    assert!(remembered && alone.sent(Kind::Ready).is_empty());
    alone.handle(Event::Remembered);
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
    alone.receive(resume(0));
    assert_eq!(alone.transmitted().len(), 1);
    alone.handle(Event::Remembered);
    assert_eq!(alone.sent(Kind::Ready).len(), 1);

    let mut early = attaching();
    early.receive(attached(1).into());
    early.receive(resume(0));
    assert!(early.reported(|report| matches!(report, Report::Violation(_))));

    let mut back = Alone::new(config(0, "disk-a"));
    back.handle(Event::Begin);
    back.connects();
    back.attaches(1);
    back.receive(resume(0));
    back.lose();
    back.connects();
    back.receive(welcome());
    back.receive(connect());
    back.receive(attached(2).into());
    assert_eq!(back.sent(Kind::Ready).len(), 2, "resuming waits for no storage");
}

/// [CONN-5] The seconds for which it is asked once more begin with that, however long the target was away before.
#[test]
fn who_leaves_at_the_end_of_a_long_outage_asks_for_some_seconds_too() {
    let mut alone = Alone::sharing();
    alone.lose();
    for _ in 0..60 {
        alone.handle(Event::DialFailed { conn: alone.dialled() });
        alone.pass(Duration::from_secs(1));
    }
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.handle(Event::Detach { at_once: false });
    alone.lose();
    let since = alone.now;
    while ended(&alone).is_none() {
        alone.pass(alone.machine.deadline().map_or(Duration::ZERO, |at| at.since(alone.now)));
        alone.handle(Event::DialFailed { conn: alone.dialled() });
    }
    assert_eq!(ended(&alone), Some(End::Left));
    let tried = alone.now.since(since);
    assert!(tried >= Duration::from_secs(1) && tried <= Duration::from_secs(6), "{tried:?}");
}

/// Nobody answers a dial until it has ended; how long that took.
fn in_vain(alone: &mut Alone) -> Duration {
    let since = alone.now;
    while ended(alone).is_none() {
        alone.handle(Event::DialFailed { conn: alone.dialled() });
        alone.pass(alone.machine.deadline().map_or(Duration::ZERO, |at| at.since(alone.now)));
        assert!(alone.now.since(since) < Duration::from_secs(3600), "it dials on");
    }
    alone.now.since(since)
}

/// [CONN-5] [TIMER-1] Once the policy has answered the last that was waited for, nothing is left to wait for.
#[test]
fn a_detach_without_a_session_ends_when_the_policy_has_answered_the_last() {
    for policy in [Policy::Error, Policy::Shutdown] {
        let mut alone = Alone::new(Config { policy, ..config(0, "disk-a") });
        alone.handle(Event::Begin);
        alone.connects();
        alone.attaches(1);
        alone.receive(resume(0));
        alone.lose();
        let held = alone.submit(OpCode::Read, 1);
        alone.handle(Event::Detach { at_once: false });
        assert_eq!(ended(&alone), None, "it waits");
        in_vain(&mut alone);
        assert_eq!(alone.answers(), [(held, StatusCode::Io)]);
        assert_eq!(ended(&alone), Some(End::Left), "{policy:?}");
    }
}

/// [CONN-5] Nor where a front end had begun something of which nothing came.
#[test]
fn a_detach_without_a_session_ends_when_nothing_is_half_asked_any_more() {
    let mut alone = Alone::sharing();
    alone.handle(Event::Halfway { on: true });
    alone.handle(Event::Detach { at_once: false });
    alone.lose();
    assert_eq!(ended(&alone), None);
    alone.handle(Event::Halfway { on: false });
    assert_eq!(ended(&alone), Some(End::Left));
}

/// [CONN-5] A target that is lost before RESUME keeps a place too: it is asked for some seconds, and no longer.
#[test]
fn a_detach_before_resume_outlives_a_loss_for_some_seconds() {
    let mut alone = attaching();
    alone.receive(attached(1).into());
    alone.handle(Event::Remembered);
    assert_eq!(alone.machine.phase(), Phase::Ready);
    alone.handle(Event::Detach { at_once: false });
    alone.lose();
    let mut back = alone.clone();
    let tried = in_vain(&mut alone);
    assert_eq!(ended(&alone), Some(End::Left));
    assert!((1..10).contains(&tried.as_secs()), "{tried:?}");

    back.pass(Duration::from_millis(100));
    back.connects();
    back.attaches(2);
    back.receive(resume(0));
    assert_eq!(back.sent(Kind::Detach).len(), 1);
}
