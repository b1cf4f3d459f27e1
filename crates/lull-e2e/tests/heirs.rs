//! The initiator's daemon is replaced under its consumers [INIT-1]: they see a wait, and never an end or an error.

use lull_admin::AttachmentPhase;
use lull_e2e::tools::start;
use lull_e2e::{Initiator, Load, PROMPT, Shape, Target, Use, World, rounds, wait_until};

fn one(world: &World, tcp: bool) -> (Target, Initiator) {
    let backend = format!("faulty:volatile:file:{},size=64M", world.path("db1.img").display());
    let target = world.target("stor").backend("db1", &backend).start();
    let one = Use::of(&target, "db1");
    let one = if tcp { one.over_tcp() } else { one };
    let web = world.initiator("web1").uses(one).flag("--adopt").start();
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
        let told = web.lull(&["history", "initiator", "1"]).ok();
        assert!(told.stdout.contains("restart 1 of web1"), "{}", told.stdout);
        let told = web.lull(&["history", "initiator", "99"]).code(1);
        told.says(&format!("`lull history initiator --admin {}`", web.admin()));
    }
}

/// [INIT-1] [TIMER-5] What is held is held on by the next process, with its payload, and so is what was acknowledged.
/// [SAFE-5] [SAFE-8] An operator's word about the disk was for the first one.
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

/// [INIT-1] [PAUSE-9] Whoever cannot take over is found out before anybody waits, or costs a wait and nothing else.
#[test]
fn a_successor_that_cannot_take_over_leaves_the_old_process_at_work() {
    let world = World::new();
    let target = world.target("stor").file("db1", "64M").start();
    let one = Use::of(&target, "db1").named("disk");
    let web = world.initiator("web1").uses(one).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let pid = web.pid();
    let good = std::fs::read_to_string(world.path("web1.toml")).expect("its configuration");
    let refused = |text: &str, reason: &str| {
        world.write("web1.toml", text);
        web.lull(&["restart", "initiator"]).code(1).says(reason);
        assert_eq!(web.pid(), pid, "the old process goes on");
        load.wait_progress(100);
    };
    refused(&good.replace("\"disk\"", "\"other\""), "`lull detach disk` first");
    // It passes its check, and cannot listen where it is to.
    refused(&good.replace("web1-admin.sock", "web1.toml/admin.sock"), "the old process goes on");
    refused(&good.replace("keep-alive", "keep-alove"), "; did you mean `keep-alive`?");
    world.write("web1.toml", &good);
    web.restart();
    load.wait_progress(100);
    load.finish().clean();
    assert_eq!(web.attachment().errors, 0);
}

/// [INIT-1] The connection of an NBD client ends with a daemon that is killed; QEMU comes again, with what was unanswered.
#[test]
fn a_client_that_connects_again_is_served_by_the_daemon_that_is_started_next() {
    let world = World::new();
    let disk = world.path("db1.img");
    let backend = format!("faulty:delay=20ms:file:{},size=64M", disk.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let place = world.path("web1-db1.nbd");
    let image = format!(
        "driver=raw,file.driver=nbd,file.reconnect-delay=60,file.server.type=unix,file.server.path={},file.export=db1",
        place.display()
    );
    let orders: Vec<String> = (0..60)
        .flat_map(|at| {
            [format!("write -P {} {at}M 64k", at + 1), format!("read -P {} {at}M 64k", at + 1)]
        })
        .collect();
    let mut args = vec!["--image-opts", &image];
    orders.iter().for_each(|order| args.extend(["-c", order]));
    let running = start("qemu-io", &args);
    for _ in 0..2 {
        wait_until("a request is in flight", PROMPT, || web.attachment().in_flight > 0);
        web.kill();
        web.start();
    }
    let said = running.finish(4 * PROMPT).ok();
    assert!(!said.stdout.contains("failed"), "{said:?}");
    assert_eq!(said.stdout.matches("read 65536/65536").count(), 60, "{said:?}");
}
