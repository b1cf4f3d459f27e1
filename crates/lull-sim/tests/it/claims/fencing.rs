//! Who was replaced reaches the disk no more.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use lull_sim::world::World;
use std::time::Duration;

/// [SAFE-5] Requests that are under way on a dead connection are done, or impossible, before ATTACHED.
#[test]
fn slow_requests_of_a_lost_connection_do_not_overtake_those_sent_again() {
    let mut scene = Scene::new(1);
    scene.targets[0].service = Duration::from_secs(3);
    for _ in 0..10 {
        scene.write(0, 5, 4);
        scene.pass(Duration::from_millis(1));
        let wire = scene.wire_of(0).unwrap();
        scene.cut(wire);
        scene.pass(Duration::from_millis(700));
    }
    scene.targets[0].service = Duration::from_millis(1);
    scene.until_quiet();
    scene.verify();
}

/// [SAFE-5] Of two daemons under one name one serves, and the other does not come back by itself.
#[test]
fn of_two_daemons_under_one_name_one_serves() {
    let mut scene = Scene::new(1);
    scene.write(0, 5, 4);
    scene.take_over(0);
    scene.wait(Duration::from_secs(20), |world| {
        matches!(world.attachments[0].phase(), Some(Phase::Ended(_)))
            && world.attachments[1].phase() == Some(Phase::Sharing)
    });
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.attachments[1].phase(), Some(Phase::Sharing));
    scene.0.read_all(1);
    scene.until_quiet();
}

/// [SAFE-5] A daemon that finds its predecessor's state is let in as its heir, also while the target does not know yet
/// that the predecessor is gone.
#[test]
fn the_heir_of_a_killed_daemon_is_let_in() {
    let mut scene = Scene::new(1);
    for _ in 0..5 {
        scene.written(0, 9, 2);
        scene.kill_node(0);
        scene.pass(Duration::from_millis(60));
        scene.until_all_share();
    }
    scene.verify();
}

/// [SAFE-5] So is one whose predecessors died before they could note that they were let in.
#[test]
fn the_heir_of_daemons_that_could_not_note_themselves_is_let_in() {
    let mut scene = Scene::new(1);
    scene.written(0, 9, 2);
    scene.attachments[0].keeping = Duration::from_secs(1000);
    for _ in 0..4 {
        scene.kill_node(0);
        scene.pass(Duration::from_millis(60));
        scene.until_phase(0, Phase::Ready);
    }
    scene.attachments[0].keeping = Duration::from_millis(1);
    scene.kill_node(0);
    scene.pass(Duration::from_millis(60));
    scene.verify();
}

/// [SAFE-9] A client without an agent does not write beside a writer.
#[test]
fn a_client_without_an_agent_only_reads_beside_a_writer() {
    let mut scene = Scene::new(1);
    let load = lull_sim::node::load::Load { left: 20, ..lull_sim::node::load::Load::none() };
    for _ in 0..10 {
        scene.write(0, 0, 8);
    }
    scene.client_comes(0, 0, load);
    assert!(scene.clients[0].read_only);
    let left = |world: &World| world.clients.iter().all(|client| !client.here);
    scene.wait(Duration::from_secs(10), left);
}
