//! The timers end when they should, and not by themselves.

use crate::scene::Scene;
use lull_proto::initiator::{Config, DIAL_LIMIT, Phase, Policy};
use lull_sim::disk::Death;
use lull_sim::world::queue::Happening;
use std::time::Duration;

fn impatient(config: Config) -> Config {
    let (restart_timeout, resume_timeout) = (Duration::from_secs(2), Duration::from_secs(2));
    Config { policy: Policy::Error, restart_timeout, resume_timeout, ..config }
}

/// [TIMER-1] [TIMER-3]
#[test]
fn a_target_that_stays_away_lets_the_policy_run_and_is_welcome_later() {
    let mut scene = Scene::with(1, impatient);
    scene.written(0, 3, 2);
    scene.0.power_cut(0, Death::Bare, Duration::from_secs(60));
    scene.write(0, 8, 2);
    scene.until_quiet();
    assert!(scene.attachments[0].watch.failing, "held requests were given errors");
    // [TIMER-6] The dial under way says nothing; the one after the timer's end has to fail as a whole.
    let since_loss = scene.now.since(scene.attachments[0].watch.gone.unwrap());
    assert!(since_loss <= Duration::from_secs(2) + 2 * DIAL_LIMIT, "{since_loss:?}");
    scene.until_phase(0, Phase::Sharing);
    assert!(!scene.attachments[0].watch.failing);
    scene.verify();
}

/// [TIMER-4] However long an announced downtime was said to be, nobody waits for it, and a short timer does not end it.
#[test]
fn a_restart_may_be_faster_than_announced_and_slower_than_a_timer() {
    for downtime in [1, 5_000] {
        let mut scene = Scene::with(2, impatient);
        scene.restart(false);
        scene.targets[0].after.downtime = Duration::from_millis(downtime / 2);
        scene.until_target("dead");
        for node in 0..2 {
            scene.write(node, 1, 4);
        }
        scene.until_quiet();
        assert!(scene.attachments.iter().all(|node| !node.watch.failing));
        scene.verify();
    }
}

/// [TIMER-4] [INIT-1] The same for those whose daemon is killed before it hears that its target goes, and finds it gone.
#[test]
fn a_daemon_that_is_killed_in_a_pause_leaves_word_of_how_long_its_target_stays_away() {
    let mut scene = Scene::with(1, impatient);
    scene.restart(false);
    scene.targets[0].after.downtime = Duration::from_millis(2800);
    scene.until_target("sealing");
    scene.0.kill_node(0, false);
    scene.0.after(Duration::from_millis(500), Happening::StartNode { attachment: 0 });
    scene.pass(Duration::from_secs(1));
    let node = &scene.attachments[0];
    let outage = node.machine.as_ref().and_then(|machine| machine.view(scene.now).outage);
    let outage = outage.expect("its target is away");
    let span = outage.deadline.map(|deadline| deadline.since(outage.since));
    assert!(span >= Some(Duration::from_secs(3)), "three times what was announced: {span:?}");
    scene.write(0, 1, 4);
    scene.until_quiet();
    assert!(!scene.attachments[0].watch.failing);
    scene.verify();
}
