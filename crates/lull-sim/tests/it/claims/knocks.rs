//! Knocks help where they arrive, and do no harm wherever they come from.

use crate::scene::Scene;
use lull_proto::initiator::{Config, Phase};
use lull_sim::fault::{Fault, Kind};
use lull_sim::knocks;
use std::time::Duration;

/// [CONN-1] [SEC-3] Knocks that are lost, repeated, or anybody's: before a target is back, while it comes back, while
/// all share, in a pause. Everybody comes back, and nobody is disturbed.
#[test]
fn knocks_by_anybody_do_no_harm() {
    let host = |config: &Config| usize::from(config.attachment.0[0]);
    let reachable = |config: Config| Config { callback: knocks::address(host(&config)), ..config };
    let mut scene = Scene::with(3, reachable);
    let storm = |scene: &mut Scene| {
        for attachment in 0..3 {
            scene.strike(Fault { kind: Kind::Knocks, target: 0, attachment });
        }
    };
    for round in 0..10 {
        for node in 0..3 {
            scene.write(node, round, 4);
        }
        storm(&mut scene);
        scene.pass(Duration::from_millis(500));
        if round % 2 == 0 {
            scene.0.kill_target(0);
            let target = lull_sim::world::queue::Happening::StartTarget { target: 0 };
            scene.after(Duration::from_secs(round), target);
        } else {
            scene.restart(false);
        }
        storm(&mut scene);
        for node in 0..3 {
            scene.until_phase(node, Phase::Sharing);
        }
        scene.until_quiet();
    }
    let heard = |line: &&String| line.ends_with("is knocked");
    assert!(scene.trace.iter().flatten().filter(heard).count() > 100, "too few to mean anything");
    scene.verify();
}
