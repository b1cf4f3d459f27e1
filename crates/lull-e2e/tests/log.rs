//! The initiator's daemon is killed: what it had acknowledged and not flushed is kept by the next one.

use lull_admin::AlertKind;
use lull_e2e::{
    Consumer, Initiator, PROMPT, Signal, Target, Use, Versions, World, has_open, rounds, send,
    wait_until,
};

/// A target with a disk whose write cache dies with the process, and an initiator.
fn one(world: &World) -> (Target, Initiator) {
    let disk = world.path("db1.img");
    let backend = format!("faulty:volatile:file:{},size=64M", disk.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    (target, web)
}

fn told(web: &Initiator, words: &str) {
    wait_until(&format!("{} says `{words}`", web.name()), PROMPT, || web.log().contains(words));
}

/// [SAFE-10] [SAFE-2] First the initiator, then, while its successor shares, the target: nothing is lost.
#[test]
fn unflushed_writes_outlive_a_killed_initiator_and_then_its_target() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    Consumer::connect(&web.nbd()).write(2000);
    assert_eq!(web.attachment().unflushed, 2000 * Consumer::BLOCK);
    // Nothing that the successor does first makes it durable: the target is not there.
    target.signal(Signal::STOP);
    web.kill();
    web.spawn();
    told(&web, "left 2000 changes");
    assert_eq!(web.attachment().unflushed, 2000 * Consumer::BLOCK);
    target.kill();
    target.start();
    web.wait_sharing();
    assert_eq!(Consumer::connect(&web.nbd()).lost(2000), 0);
    told(&web, "are sent again");
    assert_eq!(web.keepers().len(), 1);
}

/// [SAFE-10] [SAFE-5] Killed in the middle of its work, with the target or before it: each block holds what was
/// acknowledged last, or something that was asked for later and never answered.
#[test]
fn a_daemon_that_is_killed_at_work_loses_nothing_and_takes_nothing_back() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    let mut versions = Versions::of(128);
    for round in 0..rounds(4) {
        let consumer = Consumer::connect(&web.nbd());
        consumer.churn(&mut versions, 700 + 100 * (round as u64 % 3), || web.kill());
        drop(consumer);
        if round % 2 == 0 {
            // The next life shares with the target that has it all, and only then is it all gone.
            web.start();
            let consumer = Consumer::connect(&web.nbd());
            assert_eq!(consumer.unexplained(&mut versions), [0; 0], "round {round}");
            target.kill();
            target.start();
            web.wait_sharing();
        } else {
            target.kill();
            target.start();
            web.start();
        }
        let consumer = Consumer::connect(&web.nbd());
        assert_eq!(consumer.unexplained(&mut versions), [0; 0], "round {round}");
    }
    eprintln!("{} changes were acknowledged", versions.acknowledged());
}

/// [SAFE-10] Both at the same time.
#[test]
fn unflushed_writes_outlive_both_daemons_killed_together() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    for round in 1..=3 {
        Consumer::connect(&web.nbd()).write(500 * round);
        web.kill();
        target.kill();
        target.start();
        web.start();
        assert_eq!(Consumer::connect(&web.nbd()).lost(500 * round), 0, "round {round}");
    }
}

/// [SAFE-10] Killed again and again before its target is back, the log is handed from life to life.
#[test]
fn a_log_is_inherited_over_several_lives_that_never_met_the_target() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    Consumer::connect(&web.nbd()).write(300);
    target.kill();
    web.kill();
    for _ in 0..3 {
        web.spawn();
        wait_until("it has the log", PROMPT, || {
            let status = web.try_status().and_then(|status| status.initiator);
            status.is_some_and(|one| one.attachments[0].unflushed == 300 * Consumer::BLOCK)
        });
        web.kill();
    }
    target.start();
    web.start();
    assert_eq!(Consumer::connect(&web.nbd()).lost(300), 0);
}

/// [SAFE-10] A stop while the target is away leaves the log to the next start, too.
#[test]
fn a_stop_without_the_target_leaves_what_is_unflushed_to_the_next_start() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    Consumer::connect(&web.nbd()).write(100);
    target.kill();
    web.process().signal(Signal::TERM);
    web.process().signal(Signal::TERM);
    web.process().wait(PROMPT);
    told(&web, "are kept for the next start");
    target.start();
    web.start();
    assert_eq!(Consumer::connect(&web.nbd()).lost(100), 0);
}

/// [SAFE-10] What is left in memory is left in a file, too: it outlives its keeper, as it would this host, and is there once.
#[test]
fn a_stop_without_the_target_leaves_what_is_unflushed_to_the_next_boot() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    let file = web.state_dir().join("db1.unflushed");
    Consumer::connect(&web.nbd()).write(100);
    target.kill();
    web.process().signal(Signal::TERM);
    web.process().wait(PROMPT);
    assert!(file.exists(), "{}", web.log());
    end_keepers(&web);
    target.start();
    web.start();
    assert!(!file.exists(), "what is written from here on is newer");
    assert_eq!(Consumer::connect(&web.nbd()).lost(100), 0);
}

fn end_keepers(web: &Initiator) {
    web.keepers().into_iter().for_each(|keeper| send(keeper, Signal::KILL));
    wait_until("the keeper is gone", PROMPT, || web.keepers().is_empty());
}

/// [SAFE-10] [SAFE-5] Whoever was let in since has written what is newer, a release for instance that does not look for the
/// file: nothing of it is sent, however that one has ended; what was in it is told and set aside.
#[test]
fn a_log_that_somebody_has_overtaken_is_told_and_never_sent() {
    for detaches in [false, true] {
        let world = World::new();
        let (mut target, mut web) = one(&world);
        let (file, hidden) = (web.state_dir().join("db1.unflushed"), world.path("hidden"));
        assert!(Consumer::connect(&web.nbd()).put(100, 1));
        target.kill();
        web.process().signal(Signal::TERM);
        web.process().signal(Signal::TERM);
        web.process().wait(PROMPT);
        end_keepers(&web);
        std::fs::rename(&file, &hidden).unwrap();
        target.start();
        web.start();
        let consumer = Consumer::connect(&web.nbd());
        assert!(consumer.put(100, 2));
        consumer.flush();
        drop(consumer);
        if detaches {
            assert!(web.lull(&["detach", "db1"]).status.success());
            web.process().wait(PROMPT);
        } else {
            web.kill();
            end_keepers(&web);
        }
        std::fs::rename(&hidden, &file).unwrap();
        // Whatever is sent again is seen.
        target.kill();
        target.start();
        web.start();
        assert_eq!(Consumer::connect(&web.nbd()).other_than(100, 2), 0, "detached: {detaches}");
        told(
            &web,
            "100 changes (400 KiB) that were acknowledged and not flushed between bytes 0 and 409600",
        );
        assert!(!file.exists() && web.state_dir().join("db1.overtaken.1").exists());
        wait_until("the alert stands", PROMPT, || {
            let alerts = web.try_status().map(|status| status.alerts).unwrap_or_default();
            alerts.iter().any(|alert| alert.kind == AlertKind::LogLost)
        });
    }
}

/// [SAFE-10] Where the log is gone as well the loss is told; with a target that kept its memory nothing is lost.
#[test]
fn a_lost_log_is_told_and_is_a_loss_only_where_the_target_lost_its_memory() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    let lose_the_log = |web: &mut Initiator| {
        let keepers = web.keepers();
        web.kill();
        keepers.into_iter().for_each(|keeper| send(keeper, Signal::KILL));
        wait_until("the keeper is gone", PROMPT, || web.keepers().is_empty());
    };
    Consumer::connect(&web.nbd()).write(100);
    lose_the_log(&mut web);
    web.start();
    told(&web, "they are flushed first");
    target.kill();
    target.start();
    web.wait_sharing();
    let consumer = Consumer::connect(&web.nbd());
    assert_eq!(consumer.lost(100), 0, "flushed before anything else");
    consumer.write(200);
    target.kill();
    lose_the_log(&mut web);
    target.start();
    web.start();
    told(&web, "an unknown number of them is lost");
    assert_eq!(Consumer::connect(&web.nbd()).lost(200), 100, "this test can see a loss");
    wait_until("the alert stands", PROMPT, || {
        let alerts = web.try_status().map(|status| status.alerts).unwrap_or_default();
        alerts.iter().any(|alert| alert.kind == AlertKind::LogLost)
    });
}

/// [SAFE-10] A keeper that is ended while its daemon runs is replaced, and ends with the attachment.
#[test]
fn a_keeper_is_there_for_as_long_as_the_attachment_is() {
    let world = World::new();
    let (mut target, mut web) = one(&world);
    let [first] = web.keepers()[..] else { panic!("one keeper: {:?}", web.keepers()) };
    send(first, Signal::KILL);
    wait_until("another keeper has the log", PROMPT, || {
        web.keepers().iter().any(|keeper| *keeper != first && has_open(*keeper, "/memfd:"))
    });
    Consumer::connect(&web.nbd()).write(100);
    web.kill();
    target.kill();
    target.start();
    web.start();
    assert_eq!(Consumer::connect(&web.nbd()).lost(100), 0);
    let done = web.lull(&["detach", "db1"]);
    assert!(done.status.success(), "{done:?}");
    wait_until("no keeper is left", PROMPT, || web.keepers().is_empty());
}

/// [SAFE-10] A life that never reached its target has nothing to leave where the one before left nothing; nobody misses a log then.
#[test]
fn a_life_without_a_target_that_owes_nothing_leaves_no_keeper() {
    for handed_over in [true, false] {
        let world = World::new();
        let (mut target, mut web) = one(&world);
        if handed_over {
            target.kill();
            web.restart();
            assert_eq!(web.keepers().len(), 1);
            web.lull(&["detach", "db1"]).code(3);
        } else {
            web.process().signal(Signal::TERM);
            assert!(web.process().wait(PROMPT).success());
            target.kill();
            web.spawn();
            told(&web, "trying again");
            assert_eq!(web.keepers().len(), 1);
            web.process().signal(Signal::TERM);
            assert!(web.process().wait(PROMPT).success());
        }
        wait_until("no keeper is left", PROMPT, || web.keepers().is_empty());
        target.start();
        web.start();
        Consumer::connect(&web.nbd()).write(1);
        assert!(!web.log().contains("left no log"), "{}", web.log());
    }
}

/// [SAFE-10] Nobody keeps the log of a disk that was never had, nor of a daemon that could not start.
#[test]
fn an_attachment_that_never_came_to_be_leaves_no_keeper() {
    let world = World::new();
    let (mut target, web) = one(&world);
    target.kill();
    let mut late = world.initiator("late").uses(Use::of(&target, "db1")).prepare();
    late.spawn();
    wait_until("somebody keeps its log", PROMPT, || !late.keepers().is_empty());
    told(&late, "trying again");
    late.process().signal(Signal::TERM);
    assert!(late.process().wait(PROMPT).success());
    told(&late, "left before it was attached");
    wait_until("no keeper is left", PROMPT, || late.keepers().is_empty());

    let admin = web.admin().to_string();
    let nbd = format!("unix:{}", world.path("more.nbd").display());
    let state = world.path("more.state").display().to_string();
    let uri = target.uri("db1");
    let words = ["attach", &uri, "--nbd", &nbd, "--admin", &admin, "--state", &state];
    world.lull(&words).code(1).says("another daemon answers there");
    assert!(!world.path("more.state/db1.keeper").exists());
}

/// [SAFE-10] Where a service manager is there it keeps the log, and no process of ours does.
#[test]
fn a_service_manager_keeps_the_log_where_there_is_one() {
    let world = World::new();
    let (mut target, idle) = one(&world);
    let mut web = world.initiator("web2").uses(Use::of(&target, "db1")).prepare();
    drop(idle.lull(&["detach", "db1"]));
    let manager = world.service_manager();
    web.start();
    Consumer::connect(&web.nbd()).write(100);
    while !manager.next().is_ready() {}
    assert_eq!((manager.stored().len(), web.keepers().len()), (1, 0));
    target.kill();
    web.kill();
    target.start();
    web.spawn_by(&manager);
    web.wait_sharing();
    assert_eq!(Consumer::connect(&web.nbd()).lost(100), 0);
    drop(web.lull(&["detach", "db1"]));
    web.process().wait(PROMPT);
    assert!(manager.stored().is_empty());
}
