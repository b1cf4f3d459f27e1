//! What is not promised yet, each as the schedule that shows it. A test here fails when its promise is kept: then it
//! turns round and moves to its place among the others, and the preset's excuse goes.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use lull_wire::{OpCode, RequestFlags};
use std::time::Duration;

/// What a scene's judges find within a minute.
fn found(scene: &mut Scene) -> &'static str {
    scene.0.until(Duration::from_secs(60), |world| world.finding.is_some());
    let finding = scene.finding.as_ref();
    finding.map_or("nothing", |finding| finding.rule)
}

/// [SAFE-1] A replay puts an older write over a newer one before it puts that there again. If target and initiator die
/// in between, a write that was durable by itself is gone.
#[test]
fn an_unfinished_replay_takes_back_a_durable_write() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    let durable = RequestFlags::none().with(RequestFlags::FUA);
    scene.ask_with(0, OpCode::Write, 6, 2, durable);
    scene.until_quiet();
    let newer = scene.targets[0].disks[0].read(6, 2);
    scene.kill_target();
    scene.wait(Duration::from_secs(10), |world| world.targets[0].disks[0].read(6, 2) != newer);
    scene.kill_target();
    scene.kill_node(0);
    scene.until_all_share();
    scene.0.read_all(0);
    assert_eq!(found(&mut scene), "history");
}

/// [SAFE-5] A daemon that was let in and dies before it has noted so has no heir.
#[test]
fn the_heir_of_a_daemon_that_could_not_note_itself_is_refused() {
    let mut scene = Scene::new(1);
    scene.pass(Duration::from_secs(1));
    scene.kill_node(0);
    scene.attachments[0].keeping = Duration::from_secs(1000);
    scene.until_phase(0, Phase::Ready);
    scene.kill_node(0);
    assert_eq!(found(&mut scene), "SAFE-5");
}
