//! Connections on several threads of one target.

use std::collections::BTreeSet;

use lull_admin::OutcomeKind;
use lull_e2e::{Load, Shape, Target, Use, World};

const DISKS: [&str; 3] = ["db1", "db2", "db3"];

/// A target of three threads.
fn target(world: &World) -> Target {
    let builder = world.target("stor").nbd().set("threads", "3");
    DISKS.iter().fold(builder, |builder, disk| builder.file(disk, "16M")).start()
}

/// The numbers of the threads that have the target's connections.
fn threads(target: &Target) -> BTreeSet<u64> {
    let status = target.status();
    let initiators = status.initiators.iter().map(|session| session.thread);
    initiators.chain(status.agentless.iter().map(|client| client.thread)).collect()
}

/// [PAUSE-3] and [CONN-3], wherever a connection lives: what is under way on any thread when a restart begins is
/// answered once, and every thread lets go of its media before the successor takes them [PAUSE-9].
#[test]
fn a_restart_under_load_on_several_threads_loses_nothing() {
    let world = World::new();
    let target = target(&world);
    let initiator = |(number, disk): (usize, &&str)| {
        world.initiator(&format!("web{}", number + 1)).uses(Use::of(&target, disk)).start()
    };
    let initiators: Vec<_> = DISKS.iter().enumerate().map(initiator).collect();
    let load = |(seed, web): (usize, &lull_e2e::Initiator)| {
        Load::start(&web.nbd(), Shape { seed: seed as u64 + 1, ..Shape::default() })
    };
    let loads: Vec<_> = initiators.iter().enumerate().map(load).collect();
    assert_eq!(threads(&target), BTreeSet::from([0, 1, 2]), "each connection has its own thread");
    for _ in 0..3 {
        let record = target.restart(&["--daemon"]);
        assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
        target.wait_all_sharing();
        assert_eq!(threads(&target), BTreeSet::from([0, 1, 2]));
        loads.iter().for_each(|load| load.wait_progress(20));
    }
    for load in loads {
        load.finish().clean();
    }
}

/// [SAFE-9] A client without an agent is counted by the machine, on whichever thread it is served.
#[test]
fn clients_without_an_agent_are_served_on_every_thread_and_let_go() {
    let world = World::new();
    let target = target(&world);
    let load = |(seed, disk): (usize, &&str)| {
        let shape = Shape { seed: seed as u64 + 1, ..Shape::default() };
        Load::start(&target.nbd_uri(disk), shape)
    };
    let loads: Vec<_> = DISKS.iter().enumerate().map(load).collect();
    let clients = target.status().agentless;
    assert_eq!(clients.len(), 3);
    assert_eq!(threads(&target), BTreeSet::from([0, 1, 2]), "{clients:?}");
    for load in loads {
        load.finish().clean();
    }
    let gone = || target.status().agentless.is_empty().then_some(());
    lull_e2e::wait_for("the target counts nobody any more", lull_e2e::PROMPT, gone);
    assert_eq!(target.restart(&["--daemon"]).rows.len(), 0);
}
