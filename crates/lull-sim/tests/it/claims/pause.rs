//! A planned restart: everybody is quiet, everything is durable, nobody is given an error.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use lull_proto::target::{Decision, Event};
use std::time::Duration;

fn under_load(scene: &mut Scene) {
    for node in 0..scene.attachments.len() {
        for first in 0..30 {
            scene.write(node, first, 5);
        }
    }
}

/// [PAUSE-3] [PAUSE-5] [PAUSE-7]
#[test]
fn after_a_planned_restart_everything_is_there_though_the_system_lost_its_cache() {
    let mut scene = Scene::new(3);
    for _ in 0..3 {
        under_load(&mut scene);
        scene.pass(Duration::from_millis(3));
        scene.restart(true);
        scene.until_target("dead");
        under_load(&mut scene);
        scene.until_quiet();
        scene.verify();
    }
}

/// [PAUSE-6] [PAUSE-11]
#[test]
fn a_restart_that_is_given_up_leaves_everybody_sharing() {
    for phase in ["pausing", "settling", "sealing"] {
        let mut scene = Scene::new(2);
        scene.targets[0].commit = Duration::from_millis(400);
        scene.targets[0].sync = Duration::from_millis(200);
        under_load(&mut scene);
        scene.restart(false);
        scene.until_target(phase);
        scene.tell_target(0, Event::Decide(Decision::Abort));
        scene.until_target("serving");
        scene.until_quiet();
        scene.verify();
        assert_eq!(scene.targets[0].life, 1, "nobody went anywhere");
    }
}

/// [PAUSE-8] Who lost its connection in a pause is let in again, replays, drains and completes.
#[test]
fn a_connection_that_is_lost_in_every_phase_of_a_pause_delays_it_and_no_more() {
    for phase in [Phase::Draining, Phase::Flushing, Phase::Paused] {
        let mut scene = Scene::new(2);
        scene.targets[0].service = Duration::from_millis(50);
        scene.targets[0].sync = Duration::from_millis(50);
        under_load(&mut scene);
        scene.restart(true);
        scene.until_phase(0, phase);
        let wire = scene.wire_of(0).unwrap();
        scene.cut(wire);
        scene.wait(Duration::from_secs(60), |world| world.targets[0].life == 2);
        scene.until_quiet();
        scene.verify();
    }
}

/// [PAUSE-5] The target dies in every phase of its own restart.
#[test]
fn a_target_that_dies_in_any_phase_of_its_restart_loses_nothing() {
    for phase in ["intending", "pausing", "settling", "sealing"] {
        let mut scene = Scene::new(2);
        scene.targets[0].service = Duration::from_millis(50);
        scene.targets[0].sync = Duration::from_millis(50);
        scene.targets[0].commit = Duration::from_millis(50);
        under_load(&mut scene);
        scene.restart(false);
        scene.until_target(phase);
        scene.power_cut();
        scene.until_quiet();
        scene.verify();
    }
}

/// [PROCEED-1] Who is left behind is told, holds, and goes on afterwards.
#[test]
fn a_target_that_proceeds_without_a_slow_initiator_loses_nothing_of_it() {
    let mut scene = Scene::new(2);
    scene.targets[0].service = Duration::from_secs(4);
    under_load(&mut scene);
    scene.restart(false);
    scene.until_target("pausing");
    scene.tell_target(0, Event::Decide(Decision::Proceed));
    scene.targets[0].service = Duration::from_millis(1);
    scene.wait(Duration::from_secs(60), |world| world.targets[0].life == 2);
    scene.until_quiet();
    scene.verify();
}

/// [PAUSE-10] A paused initiator whose target falls silent does not wait for ever.
#[test]
fn a_pause_that_nobody_ends_ends_by_itself() {
    let mut scene = Scene::new(1);
    under_load(&mut scene);
    scene.restart(false);
    scene.until_phase(0, Phase::Draining);
    scene.targets[0].frozen = true;
    scene.pass(Duration::from_secs(60));
    assert_ne!(scene.attachments[0].phase(), Some(Phase::Paused));
    scene.thaw_target(0);
    scene.until_quiet();
    scene.verify();
}

/// [TIMER-6] A machine that was itself suspended wakes to a returned target, not to its own expired timers.
#[test]
fn a_suspended_initiator_wakes_to_its_target_and_not_to_its_timers() {
    let short = |config| lull_proto::initiator::Config {
        policy: lull_proto::initiator::Policy::Error,
        restart_timeout: Duration::from_secs(2),
        resume_timeout: Duration::from_secs(2),
        ..config
    };
    let mut scene = Scene::with(1, short);
    under_load(&mut scene);
    scene.kill_target();
    scene.until_phase(0, Phase::Dialling);
    scene.attachments[0].frozen = true;
    scene.pass(Duration::from_secs(900));
    scene.thaw_node(0);
    scene.until_quiet();
    assert!(!scene.attachments[0].watch.failing);
    scene.verify();
}
