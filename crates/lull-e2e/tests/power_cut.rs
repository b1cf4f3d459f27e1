//! The target's memory is gone: what was acknowledged to consumers is not.

use lull_e2e::{Consumer, Initiator, Load, PROMPT, Shape, Target, Use, World, rounds, wait_until};

/// A target with a disk whose write cache dies with the process, and an initiator.
fn one(world: &World) -> (Target, Initiator) {
    let target = world.target("stor").backend("db1", &volatile(world, "db1")).nbd().start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1").set("retain", "256M")).start();
    (target, web)
}

fn volatile(world: &World, disk: &str) -> String {
    format!("faulty:volatile:file:{},size=64M", world.path(&format!("{disk}.img")).display())
}

/// [SAFE-1] [SAFE-2] Acknowledged, not flushed, and the power is cut: every write is there.
fn all_are_kept(blocks: u64) {
    let world = World::new();
    let (mut target, web) = one(&world);
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(blocks);
    assert_eq!(
        web.attachment().unflushed,
        blocks * Consumer::BLOCK,
        "nothing was flushed on the way"
    );
    target.kill();
    target.start();
    assert_eq!(consumer.lost(blocks), 0);
    consumer.flush();
    assert_eq!(web.attachment().unflushed, 0);
    let log = web.log();
    let said = log.lines().find(|line| line.contains("are sent again"));
    eprintln!("{}", said.expect("the replay is told"));
}

#[test]
fn a_hundred_and_forty_nine_unflushed_writes_outlive_a_power_cut() {
    all_are_kept(149);
}

#[test]
fn ten_thousand_unflushed_writes_outlive_a_power_cut() {
    all_are_kept(10_000);
}

/// [SAFE-4] The disk loses what it was given and says so once: nobody hears of it, everything is there.
#[test]
fn a_failed_write_back_loses_nothing() {
    let world = World::new();
    let path = world.path("db1.img");
    let backend = format!("faulty:volatile,fail-flush=1:file:{},size=64M", path.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let before = web.attachment().incarnation;
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(500);
    consumer.flush();
    assert_eq!(consumer.lost(500), 0);
    let now = web.attachment();
    assert_ne!(now.incarnation, before, "it is another life");
    assert_eq!((now.unflushed, now.errors), (0, 0));
    let log = target.log();
    assert!(log.contains("could not be written back"), "{log}");
}

/// [SAFE-2] A reader sees what was acknowledged or nothing: it waits for the writer that was lost with the target.
#[test]
fn a_reader_waits_for_the_writers_replay() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(200);
    web.freeze();
    target.kill();
    target.start();
    let reader = world.initiator("reader").uses(Use::of(&target, "db1").set("access", "ro"));
    let mut reader = reader.prepare();
    reader.spawn();
    wait_until("the reader is told for whom it waits", PROMPT, || {
        reader.log().contains("waits for web1")
    });
    // Another attachment of the same name is told that it is not meant.
    let namesake = world.initiator("web1").place("web1-reader");
    let namesake = namesake.uses(Use::of(&target, "db1").set("access", "ro"));
    let mut namesake = namesake.prepare();
    namesake.spawn();
    wait_until("it is told for whom it waits", PROMPT, || {
        let log = namesake.log();
        log.contains("which is this node's name") && log.contains("--attachment-name")
    });
    namesake.kill();
    web.thaw();
    reader.wait_sharing();
    assert_eq!(Consumer::connect(&reader.nbd()).lost(200), 0);
    assert_eq!(consumer.lost(200), 0);
    reader.kill();
    web.kill();
}

/// What the tests above see is there to be seen: a client that talks to the target by itself loses what it wrote.
#[test]
fn a_client_without_an_agent_loses_what_it_did_not_flush() {
    let world = World::new();
    let mut target = world.target("stor").backend("db1", &volatile(&world, "db1")).nbd().start();
    Consumer::connect(&target.nbd_uri("db1")).write(149);
    target.kill();
    target.start();
    assert_eq!(Consumer::connect(&target.nbd_uri("db1")).lost(149), 149);
}

/// [SAFE-1] [CONN-3] Under load, again and again: no error, and every block right.
#[test]
fn power_cuts_under_load_lose_nothing() {
    let world = World::new();
    let disks = ["db1", "db2", "db3"];
    let builder = world.target("stor");
    let builder =
        disks.iter().fold(builder, |builder, disk| builder.backend(disk, &volatile(&world, disk)));
    let mut target = builder.start();
    let started = |(number, disk): (usize, &&str)| {
        world.initiator(&format!("web{}", number + 1)).uses(Use::of(&target, disk)).start()
    };
    let webs: Vec<Initiator> = disks.iter().enumerate().map(started).collect();
    let shape = |seed| Shape { depth: 32, seed, ..Shape::default() };
    let loads: Vec<Load> =
        webs.iter().zip(1..).map(|(web, seed)| Load::start(&web.nbd(), shape(seed))).collect();
    for _ in 0..rounds(5) {
        target.kill();
        target.start();
        target.wait_all_sharing();
        loads.iter().for_each(|load| load.wait_progress(400));
    }
    for load in loads {
        let report = load.finish().clean();
        eprintln!(
            "{} requests, {} blocks right, longest gap {:?}",
            report.done, report.verified, report.longest_gap
        );
    }
}
