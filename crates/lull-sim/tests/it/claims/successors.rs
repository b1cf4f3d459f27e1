//! Claims about a daemon that is replaced under its consumers.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use lull_sim::disk::Death;
use std::time::Duration;

/// [INIT-1] What was sent and what was held is answered by the next one, whose target is away all the time.
#[test]
fn what_waits_when_a_daemon_is_replaced_is_answered_by_the_next() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    scene.targets[0].service = Duration::from_secs(20);
    scene.write(0, 4, 8);
    scene.pass(Duration::from_millis(2));
    assert!(scene.attachments[0].slots.iter().all(|entry| entry.number.is_some()), "it is sent");
    scene.0.power_cut(0, Death::Bare, Duration::from_secs(20));
    scene.until_phase(0, Phase::Dialling);
    scene.targets[0].service = Duration::from_millis(1);
    scene.write(0, 8, 8);
    for life in 2..4 {
        scene.replace_node(0, Duration::ZERO);
        scene.pass(Duration::from_millis(5));
        assert_eq!((scene.attachments[0].life, scene.attachments[0].slots.taken()), (life, 2));
    }
    scene.until_quiet();
    scene.verify();
}

/// [INIT-1] [SAFE-10] The log goes along: a crash of the target right after loses nothing.
#[test]
fn what_was_acknowledged_outlives_a_replaced_daemon_and_then_its_target() {
    let mut scene = Scene::new(1);
    scene.attachments[0].log.is_kept = false;
    scene.written(0, 4, 8);
    scene.replace_node(0, Duration::from_millis(10));
    scene.pass(Duration::from_millis(10));
    scene.power_cut();
    scene.verify();
    assert_eq!(scene.attachments[0].life, 2);
}

/// [TIMER-5] The restart timer is the one that it was.
#[test]
fn a_replaced_daemon_holds_until_the_same_deadline() {
    let mut scene = Scene::new(1);
    scene.0.kill_target(0);
    scene.until_phase(0, Phase::Away);
    let deadline = |scene: &Scene| {
        let machine = scene.attachments[0].machine.as_ref().expect("a daemon");
        machine.view(scene.now).outage.expect("its target is away").deadline
    };
    let before = deadline(&scene);
    scene.pass(Duration::from_secs(20));
    scene.replace_node(0, Duration::from_secs(1));
    scene.pass(Duration::from_secs(2));
    assert_eq!((scene.attachments[0].life, deadline(&scene)), (2, before));
    scene.0.start_target(0);
    scene.verify();
}
