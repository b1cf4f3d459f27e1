//! Three nodes in a line: target-0 has the disk, target-1 lies on it, a consumer's initiator uses that.

use crate::scene::Scene;
use lull_proto::initiator::{Config, Phase, Policy};
use lull_proto::target::{Decision, Event, OnTimeout, Order, Purpose};
use lull_sim::disk::Death;
use lull_sim::node::Attachment;
use lull_sim::preset;
use lull_sim::target::{After, TargetHost};
use lull_sim::world::World;
use lull_sim::world::queue::Happening;
use lull_wire::messages::Prose;
use lull_wire::{Access, RestartId};
use std::time::Duration;

/// The attachment of the consumer; the one before it is the middle's.
const LEAF: usize = 1;

fn lie(scene: &mut Scene, at: usize, above: (usize, usize)) {
    let habits = preset::plain(scene.targets[at].host, above.1, 100 + at as u8);
    preset::lie(scene, at, above, habits, 64);
}

fn line() -> Scene {
    line_with(|config| config)
}

fn line_with(habits: impl Fn(Config) -> Config) -> Scene {
    let mut scene = Scene::empty();
    for disks in [1, 0] {
        let (host, at) = (scene.add_host(), scene.targets.len());
        scene.targets.push(TargetHost::new(host, format!("target-{at}"), disks, 64));
        scene.judge.add_target(disks);
    }
    lie(&mut scene, 1, (0, 0));
    let host = scene.add_host();
    let config = habits(preset::plain(host, 0, 9));
    scene.attachments.push(Attachment::new(host, 1, 0, config));
    for target in 0..2 {
        scene.start_target(target);
    }
    scene.start_node(LEAF);
    scene.until_all_share();
    scene
}

/// An operator restarts a target, whose system dies after its clean end where `power` says so.
fn restart(scene: &mut Scene, target: usize, power: bool) {
    scene.targets[target].after = After {
        downtime: Duration::from_millis(50),
        power: power.then_some(Death::Bare),
        socket_stays: !power,
    };
    let order = Order {
        id: RestartId(scene.targets[target].life * 100 + scene.events % 97 + 1),
        purpose: Purpose::Restart,
        reason: Prose::clipped("a scene"),
        downtime: Duration::from_secs(1),
        span: Duration::from_secs(30),
        on_timeout: OnTimeout::Abort,
        unstoppable: false,
    };
    scene.order(target, order);
}

fn under_load(scene: &mut Scene) {
    for first in 0..30 {
        scene.write(LEAF, first, 5);
    }
}

fn lives(world: &World) -> [u64; 2] {
    [world.targets[0].life, world.targets[1].life]
}

/// Whether the consumer's attachment is told to hold.
fn is_held(world: &World) -> bool {
    let machine = world.attachments[LEAF].machine.as_ref();
    machine.is_some_and(|machine| machine.view(world.now).held_by.is_some())
}

/// [CHAIN-1] Nobody below pauses; who uses it is told to hold, and everything is there afterwards.
#[test]
fn a_restart_above_is_a_hold_below() {
    let mut scene = line();
    for round in 2..5 {
        under_load(&mut scene);
        restart(&mut scene, 0, true);
        scene.wait(Duration::from_secs(60), is_held);
        assert_eq!(scene.attachments[LEAF].watch.pausing, None);
        scene.wait(Duration::from_secs(60), |world| lives(world) == [round, 1]);
        under_load(&mut scene);
        scene.until_quiet();
        scene.verify();
    }
}

/// [CHAIN-2] [PAUSE-7] The middle restarts as any target does.
#[test]
fn a_restart_of_the_middle_is_a_pause_below() {
    let mut scene = line();
    under_load(&mut scene);
    restart(&mut scene, 1, true);
    scene.wait(Duration::from_secs(60), |world| lives(world) == [1, 2]);
    scene.until_quiet();
    scene.verify();
}

/// [CHAIN-1] [CHAIN-2] The middle goes while the target above is away: what it holds is given back, and nobody fails.
#[test]
fn a_middle_that_restarts_while_it_holds_gives_back_what_it_keeps() {
    let mut scene = line();
    under_load(&mut scene);
    scene.pass(Duration::from_millis(1));
    scene.0.power_cut(0, Death::Bare, Duration::from_secs(40));
    scene.wait(Duration::from_secs(20), is_held);
    restart(&mut scene, 1, false);
    scene.wait(Duration::from_secs(20), |world| lives(world) == [1, 2]);
    scene.until_quiet();
    assert_eq!(lives(&scene), [2, 2]);
    scene.verify();
}

/// [CHAIN-2] Both at the same time, in every combination of going well and of dying.
#[test]
fn two_that_go_at_once_come_back_and_all_share() {
    for (above, middle) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut scene = line();
        under_load(&mut scene);
        scene.pass(Duration::from_millis(2));
        for (target, dies) in [(0, above), (1, middle)] {
            if dies {
                let host = scene.targets[target].host;
                scene.0.power_cut(host, Death::Bare, Duration::from_millis(300));
            } else {
                restart(&mut scene, target, false);
            }
        }
        scene.wait(Duration::from_secs(120), |world| lives(world) == [2, 2]);
        scene.until_quiet();
        scene.verify();
    }
}

/// [CHAIN-4] What was acknowledged and not flushed outlives the system that has the disk, through a node that keeps
/// nothing.
#[test]
fn a_power_cut_above_is_replayed_through_the_middle() {
    let mut scene = line();
    for _ in 0..3 {
        for first in 0..12 {
            scene.written(LEAF, first * 5, 5);
        }
        scene.power_cut();
        scene.until_phase(LEAF, Phase::Replaying);
        scene.verify();
    }
    assert_eq!(scene.targets[1].life, 1, "it went nowhere");
}

/// [CHAIN-4] The replay through the middle is itself cut short, at each end of the chain.
#[test]
fn a_second_loss_during_the_replay_loses_nothing() {
    for target in [0, 1] {
        let mut scene = line();
        for first in 0..60 {
            scene.write(LEAF, first, 3);
        }
        scene.until_quiet();
        scene.power_cut();
        scene.until_phase(LEAF, Phase::Replaying);
        let host = scene.targets[target].host;
        scene.0.power_cut(host, Death::Bare, Duration::from_millis(300));
        scene.pass(Duration::from_millis(50));
        scene.verify();
    }
}

/// [CHAIN-1] [TIMER-4] No timer below ends because of a target further up, however long it stays away.
#[test]
fn timers_below_stand_still_while_somebody_above_is_away() {
    let mut scene = line_with(|config| Config {
        policy: Policy::Error,
        restart_timeout: Duration::from_secs(2),
        resume_timeout: Duration::from_secs(2),
        ..config
    });
    scene.written(LEAF, 3, 4);
    scene.0.power_cut(0, Death::Bare, Duration::from_secs(300));
    scene.wait(Duration::from_secs(20), is_held);
    under_load(&mut scene);
    // It comes back in the middle of it and is kept waiting.
    let wire = scene.wire_of(LEAF).unwrap();
    scene.cut(wire);
    scene.pass(Duration::from_secs(200));
    assert_eq!(scene.attachments[LEAF].phase(), Some(Phase::Attaching));
    scene.wait(Duration::from_secs(200), |world| world.attachments[LEAF].slots.taken() == 0);
    assert!(!scene.attachments[LEAF].watch.failing);
    scene.verify();
}

/// [SAFE-2] Who only reads at the middle waits until the replay has come through it.
#[test]
fn a_reader_at_the_middle_waits_for_the_replay() {
    let mut scene = line();
    let host = scene.add_host();
    let config = Config { access: Access::ReadOnly, ..preset::plain(host, 0, 8) };
    scene.attachments.push(Attachment::new(host, 1, 0, config));
    let reader = scene.attachments.len() - 1;
    scene.start_node(reader);
    scene.until_all_share();
    scene.written(LEAF, 4, 8);
    scene.power_cut();
    scene.attachments[LEAF].frozen = true;
    scene.pass(Duration::from_secs(30));
    assert_ne!(scene.attachments[reader].phase(), Some(Phase::Sharing));
    scene.thaw_node(LEAF);
    scene.until_phase(reader, Phase::Sharing);
    scene.0.read_all(reader);
    scene.until_quiet();
}

/// [CHAIN-1] [PAUSE-6] A restart of the middle that is given up while it holds: what it gave back is asked again.
#[test]
fn a_pause_that_is_given_up_while_holding_leaves_everybody_sharing() {
    let mut scene = line();
    under_load(&mut scene);
    scene.pass(Duration::from_millis(1));
    scene.0.kill_target(0);
    scene.wait(Duration::from_secs(20), is_held);
    scene.targets[1].commit = Duration::from_millis(400);
    restart(&mut scene, 1, false);
    scene.wait(Duration::from_secs(20), |world| world.targets[1].phase() == "sealing");
    scene.tell_target(1, Event::Decide(Decision::Abort));
    scene.wait(Duration::from_secs(20), |world| world.targets[1].phase() == "serving");
    scene.0.after(Duration::from_secs(3), Happening::StartTarget { target: 0 });
    scene.until_quiet();
    assert_eq!(lives(&scene), [2, 1]);
    scene.verify();
}

/// [CHAIN-2] Two that lie on each other's disks go down together, each waiting for the other.
#[test]
fn hosts_in_a_ring_that_restart_together_all_come_back() {
    let mut scene = Scene::empty();
    for at in 0..2 {
        let host = scene.add_host();
        scene.targets.push(TargetHost::new(host, format!("target-{at}"), 1, 64));
        scene.judge.add_target(1);
    }
    // Whoever is last lies on the other, and through it on a disk of its own host.
    lie(&mut scene, 1, (0, 0));
    lie(&mut scene, 0, (1, 1));
    let host = scene.add_host();
    scene.attachments.push(Attachment::new(host, 0, 1, preset::plain(host, 1, 9)));
    let leaf = scene.attachments.len() - 1;
    for target in 0..2 {
        scene.start_target(target);
    }
    scene.start_node(leaf);
    scene.until_all_share();
    for _ in 0..3 {
        for first in 0..30 {
            scene.write(leaf, first, 5);
        }
        scene.pass(Duration::from_millis(3));
        let before = lives(&scene);
        for target in 0..2 {
            restart(&mut scene, target, false);
        }
        scene.wait(Duration::from_secs(120), |world| {
            lives(world).into_iter().zip(before).all(|(now, then)| now > then)
        });
        scene.until_quiet();
        scene.verify();
    }
}

/// [SAFE-5] [CHAIN-1] The middle is evicted above: nothing that its user asked fails or is lost, it is refused for good
/// with words, and its own timer runs: it is not held without end.
#[test]
fn a_middle_that_is_evicted_refuses_who_uses_it_and_fails_nobody() {
    let mut scene = line_with(|config| Config {
        policy: Policy::Error,
        restart_timeout: Duration::from_secs(40),
        ..config
    });
    under_load(&mut scene);
    scene.pass(Duration::from_millis(1));
    scene.0.evict(0);
    scene.wait(Duration::from_secs(5), |world| world.attachments[0].watch.ended);
    scene.write(LEAF, 40, 3);
    scene.pass(Duration::from_secs(30));
    assert!(scene.attachments[LEAF].slots.taken() > 0, "it keeps what was not executed");
    assert!(!is_held(&scene), "nobody says that it will be back");
    let refused = scene.trace.as_ref().expect("it is traced").iter().rev().take(400);
    let refused = refused.filter(|line| line.contains("target-1") && line.contains("REFUSED"));
    assert!(refused.count() > 1, "it is told that this is final");
    scene.wait(Duration::from_secs(30), |world| world.attachments[LEAF].watch.failing);
}
