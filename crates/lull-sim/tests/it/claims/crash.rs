//! A crash of the target looks like a restart that took a little longer.

use crate::scene::Scene;
use lull_proto::initiator::{Config, Phase, Retain};
use lull_wire::{OpCode, RequestFlags};
use std::time::Duration;

/// [SAFE-1] [SAFE-2]
#[test]
fn ten_thousand_acknowledged_sectors_outlive_a_power_cut() {
    let mut scene = Scene::new(1);
    for round in 0..200 {
        for nth in 0..8 {
            scene.write(0, nth * 8, 8);
        }
        scene.until_quiet();
        if round % 50 == 49 {
            scene.power_cut();
            scene.verify();
        }
    }
}

/// [SAFE-2] What is replayed stays retained until it is flushed where it is now.
#[test]
fn a_second_power_cut_during_the_replay_loses_nothing_either() {
    let mut scene = Scene::new(1);
    for first in 0..60 {
        scene.write(0, first, 3);
    }
    scene.until_quiet();
    scene.power_cut();
    scene.until_phase(0, Phase::Replaying);
    scene.power_cut();
    scene.until_phase(0, Phase::Replaying);
    scene.power_cut();
    scene.verify();
}

/// [SAFE-2] An incarnation that everything was replayed in may end before a flush.
#[test]
fn a_power_cut_right_after_the_replay_starts_it_over() {
    let mut scene = Scene::new(1);
    scene.written(0, 3, 5);
    for _ in 0..3 {
        scene.power_cut();
        scene.until_all_share();
    }
    scene.verify();
}

/// [SAFE-1] A flush covers what was answered before it was sent, and not what was outstanding beside it.
#[test]
fn a_change_that_was_outstanding_beside_a_flush_is_kept_over_it() {
    let mut scene = Scene::new(1);
    for first in 0..16 {
        scene.write(0, first, 1);
        scene.ask(0, OpCode::Flush, 0, 0);
    }
    scene.until_quiet();
    scene.power_cut();
    scene.verify();
}

/// [SAFE-1] A durable write over an older one that is retained is not undone by the replay.
#[test]
fn the_replay_does_not_put_an_older_write_over_a_durable_one() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    let durable = RequestFlags::none().with(RequestFlags::FUA);
    scene.ask_with(0, OpCode::Write, 6, 2, durable);
    scene.until_quiet();
    scene.kill_target();
    scene.pass(Duration::from_millis(10));
    scene.verify();
}

/// [SAFE-3] At the bound of its log an initiator flushes by itself; nothing is dropped.
#[test]
fn a_small_log_is_flushed_in_time_and_loses_nothing() {
    for retain in [0, 1024, 10_000] {
        let mut scene = Scene::with(1, |config| Config { retain: Retain::UpTo(retain), ..config });
        for first in 0..48 {
            scene.write(0, first, 16);
        }
        scene.until_quiet();
        scene.power_cut();
        scene.verify();
    }
}

/// [CONN-3] Requests of every kind that are outstanding at the crash are answered once, and with success.
#[test]
fn what_is_outstanding_at_a_crash_is_answered_after_it() {
    let mut scene = Scene::new(2);
    for node in 0..2 {
        let all =
            [OpCode::Write, OpCode::Read, OpCode::WriteZeroes, OpCode::Discard, OpCode::Write];
        for (nth, op) in all.into_iter().enumerate() {
            scene.ask(node, op, nth as u64 * 3, 20);
        }
        scene.ask(node, OpCode::Flush, 0, 0);
    }
    scene.pass(Duration::from_micros(400));
    scene.power_cut();
    scene.until_quiet();
    scene.verify();
}

/// [SAFE-1] A request in several pieces that a crash interrupts is there as a whole once it is answered.
#[test]
fn the_first_piece_of_a_long_write_is_not_lost_by_a_crash_before_its_last() {
    let mut scene = Scene::new(1);
    scene.write(0, 0, 60);
    for _ in 0..3 {
        scene.pass(Duration::from_millis(2));
        scene.power_cut();
        scene.until_phase(0, Phase::Sharing);
    }
    scene.until_quiet();
    scene.verify();
}

/// [CONN-2] A dead connection that nobody reports is found by its silence.
#[test]
fn a_target_whose_power_is_cut_without_a_word_is_found_out() {
    let mut scene = Scene::new(1);
    scene.written(0, 1, 1);
    scene.0.power_cut(0, lull_sim::disk::Death::Torn, Duration::from_secs(30));
    scene.write(0, 2, 1);
    scene.until_phase(0, Phase::Dialling);
    scene.until_quiet();
    scene.verify();
}
