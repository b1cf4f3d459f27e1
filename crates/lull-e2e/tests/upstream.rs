//! Disks that another NBD server has: restarts of ours pass unnoticed, and so does that server's absence.

use std::fs::File;
use std::path::PathBuf;

use lull_e2e::{
    Fio, FioRounds, ForeignServer, Initiator, Load, PROMPT, Shape, Signal, Target, Use, World,
    wait_for, wait_until,
};

/// Mebibytes of the disk, all of which fio uses.
const SIZE: u64 = 32;

fn disk(world: &World) -> PathBuf {
    let path = world.path("disk.img");
    File::create(&path).expect("a file").set_len(SIZE << 20).expect("a size");
    path
}

/// A target on this backend and its user.
fn shared(world: &World, backend: &str) -> (Target, Initiator) {
    let target = world.target("stor").backend("db1", backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    (target, web)
}

fn fio(what: &str, web: &Initiator) -> Fio {
    Fio::new(what, &web.nbd())
}

/// A load that begins on a disk whose every block is one of fio's.
fn under_fio(web: &Initiator, arg: &str) -> FioRounds {
    let size = format!("{SIZE}M");
    fio("layout", web).lay_out(&size).run();
    fio("mixed", web).mixed(&size).arg(arg).rounds()
}

fn all_right(load: FioRounds, web: &Initiator) {
    eprintln!("{:?}", load.finish());
    assert_eq!(web.attachment().errors, 0);
    let report = fio("verify", web).verify_all(&format!("{SIZE}M")).run();
    assert_eq!(report.reads, SIZE * 256, "every block was read and right");
}

fn in_flight(web: &Initiator) {
    wait_until("requests are in flight", PROMPT, || web.attachment().in_flight > 0);
}

/// [PAUSE-7] [PAUSE-9] The server takes one client: the old process has let go when the new one comes.
#[test]
fn restarts_pass_on_a_disk_whose_server_takes_one_client() {
    let world = World::new();
    let server = ForeignServer::qemu(&world, &disk(&world));
    let (target, web) = shared(&world, &server.uri());
    let load = under_fio(&web, "--fsync=6");
    for _ in 0..4 {
        in_flight(&web);
        target.restart(&["--daemon"]);
        target.wait_all_sharing();
    }
    all_right(load, &web);
}

/// [CONN-3] Killed under load, with restarts of ours in between; nothing that was answered is lost or done twice.
#[test]
fn a_server_that_is_killed_and_comes_back_fails_nothing() {
    let world = World::new();
    let mut server = ForeignServer::nbdkit(&world, &disk(&world));
    let (target, web) = shared(&world, &format!("{},write-through", server.uri()));
    let load = under_fio(&web, "--fsync=32");
    for round in 0..4 {
        in_flight(&web);
        server.kill();
        let waits = wait_for("the status says so", PROMPT, || {
            target.status().resources.remove(0).waits_for
        });
        assert_eq!(waits.for_whom, server.uri());
        assert!(waits.since > 0 && waits.what.contains("again"), "{waits:?}");
        server.again();
        wait_until("it goes on", PROMPT, || target.status().resources[0].waits_for.is_none());
        if round % 2 == 1 {
            target.restart(&["--daemon"]);
            target.wait_all_sharing();
        }
    }
    all_right(load, &web);
    let log = target.log();
    assert!(log.contains("the connection was lost") && log.contains("back after"), "{log}");
}

/// [SAFE-2] A server that has lost what nobody had flushed is not read before that is there again.
#[test]
fn what_a_server_forgot_is_sent_again_before_it_is_read() {
    let world = World::new();
    let mut server = ForeignServer::forgetful(&world, "8M");
    let (target, web) = shared(&world, &server.uri());
    fio("layout", &web).lay_out("8M").run();
    // [SAFE-4] As often as it likes, since nothing has failed: nobody rests for it.
    for _ in 0..3 {
        server.kill();
        let waits = || target.status().resources[0].waits_for.is_some();
        wait_until("the status says so", PROMPT, waits);
        server.again();
        let report = fio("verify", &web).verify_all("8M").run();
        assert_eq!((report.reads, web.attachment().errors), (8 * 256, 0));
    }
    let log = target.log();
    assert_eq!(log.matches("whoever writes it replays").count(), 3, "{log}");
    assert!(!log.contains("could not be written back"), "{log}");
}

/// [PAUSE-10] [CHAIN-1] What it holds it gives back, and whoever asked keeps it.
#[test]
fn a_target_whose_server_is_away_ends_at_the_first_word() {
    let world = World::new();
    let mut server = ForeignServer::nbdkit(&world, &disk(&world));
    let (mut target, web) = shared(&world, &format!("{},write-through", server.uri()));
    let load = under_fio(&web, "--fsync=32");
    in_flight(&web);
    server.kill();
    wait_until("it is missed", PROMPT, || target.status().resources[0].waits_for.is_some());
    target.signal(Signal::TERM);
    target.wait_gone();
    server.again();
    target.start();
    target.wait_all_sharing();
    all_right(load, &web);
}

/// A chain of two targets by NBD: each restarts under load, and the lower one has no agent to pause.
#[test]
fn another_targets_disk_outlives_restarts_of_both() {
    let world = World::new();
    let lower = world.target("lower").nbd().file("disk", "32M").start();
    let (upper, web) = shared(&world, &format!("{},write-through", lower.nbd_uri("disk")));
    let load = Load::start(&web.nbd(), Shape::default());
    for target in [&lower, &upper, &lower, &upper] {
        load.wait_progress(50);
        target.restart(&["--daemon"]);
        target.wait_all_sharing();
    }
    load.wait_progress(50);
    load.finish().clean();
}

/// It is told whom to look for; once the server is there, it starts.
#[test]
fn a_target_without_its_server_does_not_start_and_names_it() {
    let world = World::new();
    let mut server = ForeignServer::nbdkit(&world, &disk(&world));
    server.kill();
    let mut target = world.target("stor").backend("db1", &server.uri()).prepare();
    target.spawn();
    assert!(!target.process().wait(PROMPT).success());
    let log = target.log();
    assert!(log.contains("db1") && log.contains(&server.uri()), "{log}");
    assert!(log.contains("nbdinfo --list"), "{log}");
    server.again();
    target.start();
}
