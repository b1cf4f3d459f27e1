//! PAUSE that is said again, and the figures of one that was said once.

use crate::alone::{Alone, pause, resume};
use crate::holding::{comes_back, pass};
use lull_proto::initiator::{Phase, Report, Why};
use lull_wire::messages::{Pause, PauseComplete};
use lull_wire::{Kind, Message, OpCode, RestartId, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: u64 = 3_600_000;

/// PAUSE finds a request that is not answered.
fn draining() -> Alone {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    alone.receive(pause(7));
    assert_eq!(alone.machine.phase(), Phase::Draining);
    alone
}

/// PAUSE finds a change that no flush covers.
fn flushing() -> Alone {
    let mut alone = Alone::sharing();
    alone.write_answered();
    alone.receive(pause(7));
    assert_eq!(alone.machine.phase(), Phase::Flushing);
    alone
}

/// PAUSE finds a replay.
fn replaying() -> Alone {
    let mut alone = Alone::sharing();
    alone.write_answered();
    comes_back(&mut alone, 2);
    alone.receive(pause(7));
    assert_eq!(alone.machine.phase(), Phase::Replaying);
    alone
}

/// PAUSE finds nothing to wait for.
fn paused() -> Alone {
    let mut alone = Alone::sharing();
    alone.receive(pause(7));
    assert_eq!(alone.machine.phase(), Phase::Paused);
    alone
}

const WAYS: [fn() -> Alone; 4] = [draining, flushing, replaying, paused];

/// Another restart than the one before, with a span of its own and a long downtime.
fn next() -> Message {
    let (restart, reason) = (RestartId(8), Default::default());
    Pause { restart, span_ms: 30_000, downtime_ms: HOUR_MS, reason }.into()
}

fn complete(alone: &Alone) -> Vec<PauseComplete> {
    let told = |message| match message {
        Message::PauseComplete(told) => *told,
        other => panic!("{other:?}"),
    };
    alone.sent(Kind::PauseComplete).into_iter().map(told).collect()
}

/// Whatever it waits for is answered.
fn answer_all(alone: &mut Alone) {
    while alone.machine.phase() != Phase::Paused {
        let request = alone.transmitted().pop().expect("it waits for something");
        alone.reply(request.number, StatusCode::Done);
    }
}

/// [PAUSE-3] In whatever state it finds an initiator: PAUSE COMPLETE, once more where it was said, is of the last one.
#[test]
fn the_last_pause_is_the_one_that_is_completed() {
    for way in WAYS {
        let mut alone = way();
        let before = complete(&alone).len();
        alone.receive(next());
        answer_all(&mut alone);
        let told = complete(&alone);
        assert_eq!(told.len(), before + 1);
        assert_eq!(told[before].restart, RestartId(8));
        assert_eq!(alone.violation(), None);
    }
}

/// [PAUSE-3] Its span begins with it, so that a pause that is renewed is none that was forgotten.
#[test]
fn the_last_pause_renews_the_span() {
    for way in WAYS {
        let mut alone = way();
        let phase = alone.machine.phase();
        pass(&mut alone, 25 * SECOND);
        alone.receive(next());
        pass(&mut alone, 35 * SECOND);
        assert_eq!(alone.machine.phase(), phase, "60 s after the first, 35 s after the second");
        pass(&mut alone, 10 * SECOND);
        assert_ne!(alone.machine.phase(), phase, "its own is over too");
    }
}

/// [PAUSE-3] A loss is announced with the downtime and the restart of the last one.
#[test]
fn the_last_pause_announces_what_follows() {
    for way in WAYS {
        let mut alone = way();
        alone.receive(next());
        alone.lose();
        let away = |report: &Report| match report {
            Report::Away { why, deadline: Some(deadline), .. } => {
                let span = deadline.since(alone.now);
                *why == Why::Restart(RestartId(8)) && span >= Duration::from_millis(HOUR_MS)
            }
            _ => false,
        };
        assert!(alone.reported(away));
    }
}

/// [PAUSE-3] Figures are those of the first, and where nothing is waited for PAUSE COMPLETE comes alone.
#[test]
fn what_was_in_flight_at_the_first_pause_is_named() {
    let mut alone = draining();
    alone.receive(next());
    answer_all(&mut alone);
    assert_eq!(complete(&alone)[0].in_flight_at_pause, 1);
    assert!(!alone.sent(Kind::PauseProgress).is_empty());
    let alone = paused();
    assert_eq!(complete(&alone)[0].in_flight_at_pause, 0);
    assert!(alone.sent(Kind::PauseProgress).is_empty());
}

/// [TIMER-6] What the replay after a crash answers has waited as long as what RESUME finds: it is what the crash cost.
#[test]
fn a_wait_that_the_replay_ended_is_told_of_with_resume() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    pass(&mut alone, 3 * SECOND);
    comes_back(&mut alone, 2);
    let again = alone.transmitted().pop().expect("it is sent again before READY");
    alone.reply(again.number, StatusCode::Done);
    pass(&mut alone, 2 * SECOND);
    alone.receive(resume(0));
    let told = alone.sent(Kind::Stall);
    let longest = |message: &Message| match message {
        Message::Stall(told) => Duration::from_micros(told.longest_us),
        other => panic!("{other:?}"),
    };
    assert_eq!(told.iter().map(longest).collect::<Vec<_>>(), [3 * SECOND], "not until RESUME");
    let reported =
        |report: &Report| matches!(report, Report::Sharing(one) if one.longest == 3 * SECOND);
    assert!(alone.reported(reported));

    // And it is of this outage alone.
    comes_back(&mut alone, 3);
    alone.receive(resume(0));
    assert_eq!(longest(&alone.sent(Kind::Stall)[1]), Duration::ZERO);
}
