//! The initiator's daemon is replaced under its consumers [INIT-1]: they see a wait, and never an end or an error.

use lull_admin::AttachmentPhase;
use lull_e2e::{Initiator, Load, PROMPT, Shape, Target, Use, World, rounds, wait_until};

fn one(world: &World, tcp: bool) -> (Target, Initiator) {
    let backend = format!("faulty:volatile:file:{},size=64M", world.path("db1.img").display());
    let target = world.target("stor").backend("db1", &backend).start();
    let one = Use::of(&target, "db1");
    let one = if tcp { one.over_tcp() } else { one };
    let web = world.initiator("web1").uses(one).start();
    (target, web)
}

fn stalls(record: &lull_admin::RestartRecord) -> Vec<Option<u64>> {
    record.rows.iter().map(|row| row.stall_ms).collect()
}

/// [INIT-1] [SAFE-2] In between its target is restarted, and loses its memory.
#[test]
fn connected_clients_outlive_restarts_of_both_daemons() {
    for tcp in [false, true] {
        let world = World::new();
        let (mut target, web) = one(&world, tcp);
        let load = Load::start(&web.nbd(), Shape::default());
        for _ in 0..rounds(2) {
            load.take_window();
            let record = web.restart();
            load.wait_progress(100);
            let gap = load.take_window().longest_gap;
            eprintln!("the daemon says {:?} ms, the consumer {gap:?}", stalls(&record));
            target.restart(&["--daemon"]);
            load.wait_progress(100);
            target.kill();
            target.start();
            load.wait_progress(100);
        }
        load.finish().clean();
        assert_eq!(web.attachment().errors, 0);
    }
}

/// [INIT-1] [TIMER-5] What is held is held on by the next process, with its payload, and so is what was acknowledged.
#[test]
fn a_daemon_is_replaced_while_its_target_is_away_and_nothing_is_lost() {
    let world = World::new();
    let (mut target, web) = one(&world, false);
    let load = Load::start(&web.nbd(), Shape::default());
    load.wait_progress(500);
    target.kill();
    wait_until("requests are held", PROMPT, || web.attachment().held > 0);
    let (before, since) = (web.attachment(), web.attachment().outage.expect("an outage").since);
    for _ in 0..2 {
        web.restart();
        let after = web.attachment();
        assert_eq!(after.phase, AttachmentPhase::Away);
        assert_eq!((after.held, after.unflushed), (before.held, before.unflushed));
        let outage = after.outage.expect("the same outage");
        assert!(outage.since.abs_diff(since) < 100, "it began {since}, and now {}", outage.since);
        assert_eq!(outage.deadline.is_some(), before.outage.as_ref().unwrap().deadline.is_some());
    }
    target.start();
    load.wait_progress(500);
    load.finish().clean();
    assert_eq!(web.attachment().errors, 0);
}
