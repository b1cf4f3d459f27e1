//! Claims about the lives of a resource's promise: who must replay, who waits for that, and what a failed write-back is.

use crate::scene::Scene;
use lull_proto::initiator::{Config, Phase};
use lull_sim::node::Attachment;
use lull_sim::preset;
use lull_wire::{Access, OpCode, RequestFlags};
use std::time::Duration;

/// [SAFE-2] A reader is served when the writer has replayed, and sees what was acknowledged.
#[test]
fn a_reader_waits_for_the_writers_replay() {
    let mut scene = Scene::new(1);
    let host = scene.add_host();
    let config = Config { access: Access::ReadOnly, ..preset::plain(host, 0, 9) };
    scene.attachments.push(Attachment::new(host, 0, 0, config));
    scene.start_node(1);
    scene.written(0, 4, 8);
    scene.power_cut();
    scene.attachments[0].frozen = true;
    scene.pass(Duration::from_secs(20));
    assert_ne!(scene.attachments[1].phase(), Some(Phase::Sharing));
    scene.thaw_node(0);
    scene.until_phase(1, Phase::Sharing);
    scene.0.read_all(1);
    scene.until_quiet();
}

/// [SAFE-4] What a failed write-back dropped is written again before anybody hears of it.
#[test]
fn what_a_failed_write_back_dropped_is_written_again() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    scene.targets[0].disks[0].syncs_fail = 1;
    scene.ask(0, OpCode::Flush, 0, 0);
    scene.until_quiet();
    scene.targets[0].disks[0].evict();
    scene.0.read_all(0);
    scene.until_quiet();
}

/// [SAFE-1] No replay puts an older write over one that was durable by itself: not even one that nobody finishes.
#[test]
fn a_replay_that_nobody_finishes_takes_back_no_durable_write() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    let durable = RequestFlags::none().with(RequestFlags::FUA);
    scene.ask_with(0, OpCode::Write, 6, 2, durable);
    scene.until_quiet();
    let newer = scene.targets[0].disks[0].read(6, 2);
    for _ in 0..3 {
        scene.kill_target();
        scene.kill_node(0);
        scene.until_all_share();
        assert_eq!(scene.targets[0].disks[0].read(6, 2), newer);
    }
    scene.0.read_all(0);
    scene.until_quiet();
}
