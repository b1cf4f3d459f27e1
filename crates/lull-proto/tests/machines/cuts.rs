//! Connections that break, targets that crash, at any moment.

use crate::pair::{Cut, Order, Pair, Side, restart};
use lull_proto::initiator::Why;
use lull_proto::target::OnTimeout;
use lull_proto::{ConnId, target};
use lull_wire::messages::Ping;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A bring-up, load, a restart, with one connection cut; whether the cut came to pass.
fn survives(cut: Cut, on_timeout: OnTimeout) -> bool {
    let mut pair = Pair::new(2);
    pair.seed(cut.after as u64 * 31 + 7);
    pair.cut = Some(cut);
    for at in 0..2 {
        pair.tell(at, lull_proto::initiator::Event::Begin);
    }
    pair.until_all_share();
    pair.load_all(4);
    pair.run(Duration::from_millis(6));
    pair.nodes.iter_mut().for_each(|node| node.load = 0);
    for block in 0..4 {
        pair.write(0, block);
    }
    pair.order(Order { on_timeout, span: 3 * SECOND, ..restart(1) });
    pair.run(5 * SECOND);
    pair.until_within(20 * SECOND, Pair::all_share);
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
    pair.cut.is_none()
}

/// [PAUSE-7] [CONN-3] Wherever a connection breaks in a bring-up and a restart: everybody shares again, and each
/// request is answered once, without an error.
#[test]
fn a_cut_after_any_frame_is_survived() {
    for side in [Side::Target, Side::Node] {
        for on_timeout in [OnTimeout::Abort, OnTimeout::Proceed] {
            let mut after = 1;
            while survives(Cut { node: 0, side, after }, on_timeout) {
                after += 1;
            }
            assert!(after > 20, "only {after} frames on the way to {side:?}");
        }
    }
}

/// [CONN-2] [CONN-3] A target that crashes at any moment comes back to the same requests.
#[test]
fn unannounced_crashes_lose_no_request() {
    let mut pair = Pair::sharing(3);
    pair.load_all(8);
    for crash in 0..50 {
        pair.run(Duration::from_micros(1_700 + 913 * crash));
        pair.crash();
        pair.until(|pair| pair.life == crash + 2 && pair.all_share());
    }
    pair.finish();
    for node in &pair.nodes {
        assert_eq!(node.errors(), 0);
        assert!(node.reports.iter().any(|report| matches!(
            report,
            lull_proto::initiator::Report::Sharing(cost) if cost.why == Why::Lost && cost.again.requests > 0
        )));
    }
}

/// [PAUSE-5] A crash in the middle of a restart, wherever it is, ends with everybody sharing.
#[test]
fn a_crash_during_a_restart_is_survived() {
    for after in 0..60 {
        let mut pair = Pair::sharing(2);
        pair.load_all(6);
        pair.run(Duration::from_millis(5));
        pair.order(restart(1));
        pair.run(Duration::from_micros(130 * after));
        if pair.target.is_some() {
            pair.crash();
        }
        pair.until_within(20 * SECOND, |pair| pair.life >= 2 && pair.all_share());
        pair.finish();
        assert!(pair.nodes.iter().all(|node| node.errors() == 0));
    }
}

/// [SAFE-3] Overlapping changes are never outstanding together, sent again or not (the lanes look).
#[test]
fn overlapping_changes_wait_for_each_other() {
    let mut pair = Pair::sharing(1);
    for round in 0..20 {
        for _ in 0..30 {
            pair.write(0, round % 3);
        }
        pair.run(Duration::from_millis(1));
        pair.cut_now(0);
    }
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [CONN-2] A peer that is silent for four rounds is lost at both ends, though no end of the connection is heard.
#[test]
fn keep_alive_finds_a_dead_peer() {
    let mut pair = Pair::sharing(1);
    pair.nodes[0].mute = true;
    pair.write(0, 0);
    pair.run(9 * SECOND);
    assert!(pair.nodes[0].machine.view(pair.now).outage.is_some());
    let silent = |report: &_| matches!(report, lull_proto::target::Report::Silent { .. });
    assert!(pair.reports.iter().any(silent));
    pair.nodes[0].mute = false;
    pair.until_all_share();
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [SEC-4] No message is a sign of life by itself: the daemon, which sees what a peer keeps, says which are.
#[test]
fn who_sends_but_is_not_said_to_live_is_lost() {
    let mut pair = Pair::sharing(1);
    let conn = ConnId(pair.wires.len() as u64 - 1);
    let target = pair.target.as_mut().unwrap();
    let mut actions = Vec::new();
    for round in 1..10 {
        let (now, message) = (pair.now + round * SECOND, Ping { token: round.into() }.into());
        target.handle(now, target::Event::Received { conn, message }, &mut actions);
        target.handle(now, target::Event::Tick, &mut actions);
    }
    let silent =
        |action: &_| matches!(action, target::Action::Report(target::Report::Silent { .. }));
    assert!(actions.iter().any(silent));
}

/// [TIMER-6] [CONN-2] Who slept for an hour gives its peer a whole round before it takes it for lost.
#[test]
fn a_machine_that_slept_does_not_lose_its_peer() {
    let mut pair = Pair::sharing(1);
    pair.run(5 * SECOND);
    let wires = pair.wires.len();
    pair.target_frozen = true;
    pair.nodes[0].frozen = true;
    pair.now = pair.now + 3600 * SECOND;
    pair.freeze_target(false);
    pair.freeze(0, false);
    pair.run(20 * SECOND);
    assert_eq!(pair.wires.len(), wires, "it never dialled again");
    assert!(pair.all_share());
}

/// [CONN-6] A dial to a target that accepts and says nothing is given up after 5 s.
#[test]
fn a_dial_takes_five_seconds_at_most() {
    let mut pair = Pair::new(1);
    pair.freeze_target(true);
    pair.tell(0, lull_proto::initiator::Event::Begin);
    pair.run(Duration::from_millis(4_990));
    assert_eq!(pair.wires.len(), 1);
    pair.run(Duration::from_millis(30));
    assert_eq!(pair.wires.len(), 2);
    pair.freeze_target(false);
    pair.until_all_share();
}

/// [CONN-1] Retries start in milliseconds and end at one a second.
#[test]
fn retries_start_fast_and_slow_down() {
    let mut pair = Pair::sharing(1);
    pair.downtime = None;
    pair.crash();
    pair.run(Duration::from_millis(20));
    assert!(pair.wires.len() >= 4, "{}", pair.wires.len());
    pair.run(60 * SECOND);
    let before = pair.wires.len();
    pair.run(60 * SECOND);
    assert!((60..=121).contains(&(pair.wires.len() - before)));
}
