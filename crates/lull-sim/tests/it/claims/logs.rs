//! Claims about a log that outlives its daemon.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use std::time::Duration;

/// [SAFE-10] The daemon dies first, then its target's system, before the next daemon has said a word: all is replayed.
#[test]
fn what_was_acknowledged_outlives_a_daemon_and_then_its_target() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    scene.written(0, 6, 8);
    scene.kill_node(0);
    scene.power_cut();
    scene.verify();
}

/// [SAFE-10] Killed in the middle of the replay of what it had inherited, it leaves all of it to the next one.
#[test]
fn an_inherited_log_outlives_a_replay_that_its_heir_does_not_finish() {
    let mut scene = Scene::new(1);
    for first in [0, 8, 4, 12] {
        scene.written(0, first, 8);
    }
    scene.targets[0].service = Duration::from_millis(50);
    scene.power_cut();
    scene.kill_node(0);
    for _ in 0..3 {
        scene.until_phase(0, Phase::Replaying);
        scene.power_cut();
        scene.kill_node(0);
    }
    scene.verify();
}

/// [SAFE-10] A log that is lost before anybody heard of the life that found it missing is reported by the one after.
#[test]
fn a_lost_log_is_reported_by_whichever_life_meets_the_target() {
    let mut scene = Scene::new(1);
    scene.written(0, 4, 8);
    scene.attachments[0].log.is_kept = false;
    scene.kill_node(0);
    scene.attachments[0].log.is_kept = true;
    scene.power_cut();
    scene.until_phase(0, Phase::Dialling);
    scene.kill_node(0);
    scene.until_all_share();
    assert_eq!(scene.attachments[0].log.lost_in, None, "it was told");
}
