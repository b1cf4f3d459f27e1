//! A planned restart that succeeds.

use crate::pair::{Pair, Seen, restart};
use lull_proto::initiator::{self, Outage, Phase, Why};
use lull_proto::target::{self, Change, Decision, OnTimeout, Order, Purpose, RowState};
use lull_wire::messages::Pause;
use lull_wire::{Kind, Message, RestartId};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn until_back(pair: &mut Pair, life: u64) {
    pair.until(|pair| pair.life == life && pair.all_share());
}

/// [PAUSE-7] [PAUSE-1] Three nodes under load, twenty restarts: no consumer gets an error.
#[test]
fn nobody_gets_an_error_from_twenty_restarts_under_load() {
    let mut pair = Pair::sharing(3);
    pair.load_all(16);
    let mut busy = 0;
    for id in 1..=20 {
        pair.run(Duration::from_millis(20));
        pair.order(restart(id));
        until_back(&mut pair, id + 1);
        busy += pair.reports.iter().filter(|report| {
            matches!(report, target::Report::Complete { proof, .. } if proof.in_flight_at_pause > 0)
        }).count();
        pair.reports.clear();
    }
    assert!(busy > 30, "requests were in flight when PAUSE arrived: {busy}");
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-5] The intent before PAUSE, the clean record before the first DISCONNECT.
#[test]
fn the_order_on_stable_storage_is_kept() {
    let mut pair = Pair::sharing(2);
    pair.load_all(8);
    pair.run(SECOND);
    pair.trace.clear();
    pair.order(restart(7));
    until_back(&mut pair, 2);
    let order = [
        Seen::Committed(Change::Intent(RestartId(7))),
        Seen::StartWriteBack,
        Seen::Down(0, Kind::Pause),
        Seen::Up(0, Kind::PauseComplete),
        Seen::MakeDurable,
        Seen::Committed(Change::Clean(RestartId(7))),
        Seen::StopAccepting,
        Seen::Down(0, Kind::Disconnect),
        Seen::Gone,
        Seen::Down(0, Kind::Connect),
    ];
    let places: Vec<usize> = order.iter().map(|one| pair.first(|seen| seen == one)).collect();
    assert!(places.is_sorted(), "{places:?}");
    let last = pair.trace.iter().rposition(|seen| matches!(seen, Seen::Up(_, Kind::PauseComplete)));
    assert!(last < Some(places[4]), "all have completed before the backends are flushed");
    pair.finish();
}

/// [PAUSE-2] What consumers ask after PAUSE is held: no request of theirs is sent.
#[test]
fn a_paused_initiator_sends_no_new_request() {
    let mut pair = Pair::sharing(2);
    pair.nodes[1].frozen = true;
    pair.load_all(8);
    pair.order(restart(1));
    pair.until(|pair| matches!(pair.phase(0), Phase::Draining | Phase::Flushing | Phase::Paused));
    let (asked, sent) = (pair.nodes[0].answers.len(), pair.trace.len());
    let held: Vec<_> = (0..100).map(|block| pair.write(0, block % 8)).collect();
    pair.run(5 * SECOND);
    assert_eq!(pair.phase(0), Phase::Paused);
    assert!(!pair.trace[sent..].iter().any(|seen| matches!(seen, Seen::Asked(0, _))));
    assert!(pair.nodes[0].answers.len() < asked + 16);
    pair.freeze(1, false);
    until_back(&mut pair, 2);
    pair.finish();
    // In order, and none failed.
    let order: Vec<_> = pair
        .trace
        .iter()
        .filter_map(|seen| match seen {
            Seen::Asked(0, slot) if held.contains(slot) => Some(*slot),
            Seen::Asked(..)
            | Seen::Up(..)
            | Seen::Down(..)
            | Seen::Committed(_)
            | Seen::StartWriteBack
            | Seen::MakeDurable
            | Seen::StopAccepting
            | Seen::Replayed(..)
            | Seen::Renewed(_)
            | Seen::Gone => None,
        })
        .collect();
    assert_eq!(order, held);
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [PAUSE-3] PAUSE COMPLETE comes after the answers and after a flush of the initiator's own.
#[test]
fn what_is_unflushed_is_flushed_before_pause_complete() {
    let mut pair = Pair::sharing(1);
    pair.write(0, 1);
    pair.finish();
    assert!(pair.nodes[0].machine.view(pair.now).retained.1 > 0);
    pair.trace.clear();
    pair.order(restart(1));
    until_back(&mut pair, 2);
    let flush = pair.first(|seen| *seen == Seen::Up(0, Kind::Request));
    assert!(flush < pair.first(|seen| *seen == Seen::Up(0, Kind::PauseComplete)));
    assert_eq!(pair.nodes[0].machine.view(pair.now).retained, (0, 0));
}

/// [PAUSE-3] Nothing is said, and nothing flushed, before the last answer is there.
#[test]
fn pause_complete_waits_for_the_last_answer() {
    let mut pair = Pair::sharing(1);
    pair.lag = SECOND;
    pair.write(0, 1);
    pair.run(Duration::from_millis(1));
    pair.trace.clear();
    pair.order(restart(1));
    pair.run(SECOND / 2);
    let quiet = [Seen::Up(0, Kind::Request), Seen::Up(0, Kind::PauseComplete)];
    assert_eq!(quiet.map(|seen| pair.count(&seen)), [0, 0]);
    pair.until_phase(0, Phase::Flushing);
    assert!(pair.nodes[0].waiting.is_empty(), "it is answered");
    pair.until_phase(0, Phase::Paused);
    assert_eq!(pair.nodes[0].machine.view(pair.now).retained, (0, 0));
    until_back(&mut pair, 2);
    pair.finish();
}

/// [PAUSE-3] PAUSE said again, in whatever state it finds, is harmless.
#[test]
fn repeated_pause_is_harmless() {
    let mut pair = Pair::sharing(2);
    pair.load_all(8);
    pair.nodes[1].frozen = true;
    pair.order(restart(1));
    for _ in 0..400 {
        pair.run(Duration::from_micros(50));
        let again = Pause {
            restart: RestartId(1),
            span_ms: 20_000,
            downtime_ms: 5,
            reason: Default::default(),
        };
        if pair.phase(0) != Phase::Sharing {
            let conn = pair.wires[0].conn;
            pair.tell(0, initiator::Event::Received { conn, message: Message::from(again) });
        }
    }
    assert_eq!(pair.phase(0), Phase::Paused);
    pair.freeze(1, false);
    until_back(&mut pair, 2);
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [PAUSE-4] Until it completes, an initiator says at least once a second what it waits for.
#[test]
fn progress_is_said_at_least_once_a_second() {
    let mut pair = Pair::sharing(1);
    pair.lag = 6 * SECOND;
    pair.write(0, 3);
    pair.run(Duration::from_millis(1));
    pair.order(Order { on_timeout: OnTimeout::Wait, ..restart(1) });
    for second in 1..=5 {
        pair.run(SECOND);
        assert!(pair.count(&Seen::Up(0, Kind::PauseProgress)) >= second);
    }
    let rows = pair.target.as_ref().unwrap().rows(pair.now);
    let RowState::Draining(Some(progress)) = rows[0].state else { panic!("{rows:?}") };
    assert_eq!(progress.in_flight, 1);
    assert!(progress.oldest >= 4 * SECOND);
    until_back(&mut pair, 2);
    pair.finish();
}

/// [PAUSE-11] What belongs to another restart is ignored.
#[test]
fn stale_restart_ids_are_ignored() {
    let mut pair = Pair::sharing(2);
    pair.nodes[1].frozen = true;
    pair.order(restart(5));
    pair.until_phase(0, Phase::Paused);
    let conn = pair.wires[0].conn;
    let other = RestartId(4);
    let resume = lull_wire::messages::Resume { restart: other };
    pair.tell(0, initiator::Event::Received { conn, message: resume.into() });
    let disconnect = lull_wire::messages::Disconnect {
        restart: other,
        code: lull_wire::DisconnectCode::Restart,
        downtime_ms: 0,
        resource: Default::default(),
        where_to: Default::default(),
        detail: Default::default(),
    };
    pair.tell(0, initiator::Event::Received { conn, message: disconnect.into() });
    assert_eq!(pair.phase(0), Phase::Paused);
    let complete = lull_wire::messages::PauseComplete {
        restart: other,
        in_flight_at_pause: 0,
        not_executed: 0,
        retained: 0,
        retained_bytes: 0,
        drain_us: 0,
        flush_us: 0,
    };
    let at_target = lull_proto::ConnId(1);
    let progress = lull_wire::messages::PauseProgress {
        restart: other,
        in_flight: 77,
        oldest_ms: 0,
        unflushed: 0,
    };
    pair.tell_target(target::Event::Received { conn: at_target, message: progress.into() });
    pair.tell_target(target::Event::Received { conn: at_target, message: complete.into() });
    let rows = pair.target.as_ref().unwrap().rows(pair.now);
    assert!(matches!(rows[1].state, RowState::Draining(None)), "{:?}", rows[1].state);
    pair.freeze(1, false);
    until_back(&mut pair, 2);
}

/// [CONN-2] A connection that is lost after PAUSE counts as announced, with PAUSE's downtime.
#[test]
fn a_loss_after_pause_counts_as_announced() {
    let mut pair = Pair::sharing(2);
    pair.nodes[1].frozen = true;
    pair.order(Order { downtime: 900 * SECOND, ..restart(3) });
    pair.until_phase(0, Phase::Paused);
    pair.downtime = None;
    pair.crash();
    pair.run(SECOND);
    let Outage { why, since, deadline, .. } = pair.nodes[0].machine.view(pair.now).outage.unwrap();
    assert_eq!(why, Why::Restart(RestartId(3)));
    assert!(deadline.unwrap() >= since + 2700 * SECOND);
}

/// [PAUSE-10] A PAUSE that is followed by nothing within its span and a margin is a loss.
#[test]
fn silence_after_pause_is_a_loss() {
    let mut pair = Pair::sharing(2);
    pair.nodes[1].frozen = true;
    pair.order(Order { span: 20 * SECOND, ..restart(1) });
    pair.until_phase(0, Phase::Paused);
    // Keep-alive goes on, as if only the pause were forgotten.
    let until = pair.nodes[0].machine.view(pair.now).pause.unwrap().1;
    let conn = pair.wires[0].conn;
    while pair.now < until {
        assert_eq!(pair.phase(0), Phase::Paused);
        let message = lull_wire::messages::Pong { token: 0 }.into();
        pair.now = pair.now + SECOND;
        pair.tell(0, initiator::Event::Received { conn, message });
        pair.tell(0, initiator::Event::Tick);
    }
    assert_ne!(pair.phase(0), Phase::Paused);
}

/// [PAUSE-3] [SAFE-1] An initiator whose flush fails completes all the same and names what it retains: all of it.
#[test]
fn a_failed_flush_is_named_in_pause_complete() {
    let mut lone = crate::alone::Alone::sharing();
    lone.write_answered();
    lone.receive(crate::alone::pause(1));
    let flush = lone.transmitted().pop().expect("a flush of its own");
    lone.reply(flush.number, lull_wire::StatusCode::Io);
    let complete = lone.sent(Kind::PauseComplete).pop().expect("it completes");
    let Message::PauseComplete(complete) = complete else { unreachable!() };
    assert_eq!((complete.retained, complete.retained_bytes), (1, 4096));
}

/// [PAUSE-10] A pause for something else stays quiet until it is given up: everybody resumes.
#[test]
fn a_hold_is_quiet_until_it_is_given_up() {
    let mut pair = Pair::sharing(2);
    pair.load_all(4);
    pair.order(Order { purpose: Purpose::Hold, span: 5 * SECOND, ..restart(1) });
    pair.run(300 * SECOND);
    assert!((0..2).all(|at| pair.phase(at) == Phase::Paused));
    assert_eq!(pair.life, 1);
    pair.decide(Decision::Abort);
    pair.run(SECOND);
    assert!(pair.all_share());
    assert!(!pair.committed(&Change::Clean(RestartId(1))));
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-10] An unstoppable order turns a hold into a restart.
#[test]
fn an_unstoppable_order_ends_a_hold_by_a_restart() {
    let mut pair = Pair::sharing(2);
    pair.load_all(4);
    pair.order(Order { purpose: Purpose::Hold, ..restart(1) });
    pair.until(|pair| (0..2).all(|at| pair.phase(at) == Phase::Paused));
    pair.run(SECOND);
    pair.order(Order { unstoppable: true, ..restart(2) });
    until_back(&mut pair, 2);
    assert!(pair.committed(&Change::Clean(RestartId(1))));
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-10] Nothing holds a host that goes down: an unstoppable hold is a restart.
#[test]
fn an_unstoppable_hold_is_a_restart() {
    let mut pair = Pair::sharing(1);
    pair.order(Order { purpose: Purpose::Hold, unstoppable: true, ..restart(1) });
    until_back(&mut pair, 2);
}
