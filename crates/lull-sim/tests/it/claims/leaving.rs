//! The end of an attachment: what was accepted before is finished, whatever comes between.

use crate::scene::Scene;
use lull_proto::initiator::{End, Phase};
use lull_sim::world::World;
use lull_wire::{OpCode, StatusCode};
use std::time::Duration;

/// What comes between.
type Comes = fn(&mut Scene);

const COMES: [(&str, Comes); 5] = [
    ("nothing", |_| {}),
    ("restart", |scene| scene.restart(true)),
    ("crash", Scene::kill_target),
    ("power", Scene::power_cut),
    ("loss", |scene| {
        if let Some(wire) = scene.wire_of(0) {
            scene.cut(wire);
        }
    }),
];

/// So many pieces of a request are done.
fn until_done(scene: &mut Scene, pieces: u64) {
    let done =
        |world: &World| world.attachments[0].slots.iter().all(|one| one.before >= pieces * 16);
    scene.wait(Duration::from_secs(60), done);
}

/// [CONN-5] Zeroes that the target takes in four pieces, an operator who ends the attachment between them, and something
/// else before that or after it.
#[test]
fn a_request_of_several_pieces_is_finished_before_its_attachment_ends() {
    for (name, comes) in COMES {
        for (leaves, moment) in (0..4).flat_map(|one| (0..4).map(move |other| (one, other))) {
            let what = format!("{name} after {moment} pieces, detach after {leaves}");
            let mut scene = Scene::new(1);
            scene.written(0, 0, 64);
            scene.ask(0, OpCode::WriteZeroes, 2, 60);
            let told = format!("request {} is answered {}", scene.requests, StatusCode::Done);
            if moment < leaves {
                until_done(&mut scene, moment);
                comes(&mut scene);
            }
            until_done(&mut scene, leaves);
            assert_eq!(scene.attachments[0].slots.taken(), 1, "{what}: it is on its way");
            scene.detach(0, false);
            if moment >= leaves {
                until_done(&mut scene, moment);
                comes(&mut scene);
            }
            scene.until_phase(0, Phase::Ended(End::Detached));
            let left = scene.targets[0].disks[0].read(2, 60);
            assert!(left.iter().all(|sector| *sector == 0), "{what}: {left:?}");
            let trace = scene.trace.as_ref().expect("a scene has one");
            assert!(trace.iter().any(|line| line.contains(&told)), "{what}: {told}");
        }
    }
}

/// [CONN-5] A target that goes while DETACH is on its way is asked once more, and not waited for until it is back.
#[test]
fn a_detach_that_a_restart_crosses_is_over_in_seconds() {
    let mut crossed = 0;
    for moment in 0..80 {
        let mut scene = Scene::new(1);
        scene.written(0, 0, 8);
        scene.targets[0].commit = Duration::from_millis(2);
        scene.restart(true);
        scene.targets[0].after.downtime = Duration::from_secs(30);
        scene.until_target("sealing");
        scene.pass(Duration::from_micros(50 * moment));
        scene.detach(0, false);
        let ended = |phase| matches!(phase, Some(Phase::Ended(_)));
        scene.wait(Duration::from_secs(10), |world| ended(world.attachments[0].phase()));
        let trace = scene.trace.take().unwrap_or_default();
        crossed += u32::from(trace.iter().any(|line| line.contains("leaving: true")));
    }
    assert!(crossed > 0, "one of them met it");
}
