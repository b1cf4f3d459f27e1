//! Who is on a target's roster: comings, goings, heirs, and who is not let in.

use std::path::Path;

use lull_admin::{Access, SessionPhase};
use lull_e2e::{Load, PROMPT, Shape, Target, Use, World, check_disk, wait_for, wait_until};

fn target(world: &World) -> Target {
    world.target("stor").file("db1", "16M").file("db2", "16M").start()
}

/// [CONN-5] Its disk is free for others at once.
#[test]
fn who_detaches_leaves_no_ghost() {
    let world = World::new();
    let target = target(&world);
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    load.wait_progress(200);
    load.finish().clean();
    web.lull(&["detach", "db1"]).ok();
    assert!(target.session("web1").is_none(), "{:?}", target.status().initiators);
    assert!(web.process().wait(PROMPT).success(), "a daemon without attachments ends");
    let other = world.initiator("web2").uses(Use::of(&target, "db1")).start();
    check_disk(&other.nbd(), Shape::default());
    target.restart(&["--daemon"]);
    let names: Vec<_> = target.status().initiators.into_iter().map(|one| one.initiator).collect();
    assert_eq!(names, ["web2"], "nor does a new process know it");
}

/// [SAFE-7] The place of one that was lost is kept until an operator ends it.
#[test]
fn a_lost_writers_disk_is_kept_for_it_until_it_is_evicted() {
    let world = World::new();
    let target = target(&world);
    let mut web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    Load::start(&web1.nbd(), Shape::default()).finish().clean();
    web1.kill();
    target.wait_session("web1", SessionPhase::Lost);
    let mut web2 = world.initiator("web2").uses(Use::of(&target, "db1")).prepare();
    web2.spawn();
    wait_until("web2 is told for whom it waits", PROMPT, || web2.log().contains("web1"));
    eprintln!("{}", web2.log());
    target.lull(&["evict", "web1"]).code(2).says("--yes");
    let ended = target.lull(&["evict", "web1", "--yes"]).ok();
    assert!(ended.stderr.contains("web1"), "{}", ended.stderr);
    if web2.process().ended().is_some() {
        web2.spawn();
    }
    web2.wait_sharing();
    check_disk(&web2.nbd(), Shape::default());
    // [SAFE-5] [SAFE-7] The evicted one does not come back by itself.
    web1.spawn();
    let why = "another writer was let in";
    wait_until("web1 is told why it is refused", PROMPT, || web1.log().contains(why));
    assert_eq!(web1.process().wait(PROMPT).code(), Some(1), "a final refusal ends it");
    let state = web1.state_dir().join("db1.json");
    let log = web1.log();
    assert!(log.contains(&state.display().to_string()), "it says what to remove: {log}");
    assert_eq!(target.session("web2").map(|one| one.phase), Some(SessionPhase::Sharing));
    target.lull(&["evict", "nobody"]).code(1).says("nobody is not on the roster\n");
    target.lull(&["evict", "db1"]).code(1).says("\"db1\" is a resource");
}

/// [SAFE-5] The state directory makes it the heir: no waiting for the reservation's end.
#[test]
fn a_killed_initiator_started_again_is_its_own_heir() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let before = target.session("web1").expect("its place");
    web.kill();
    drop(load);
    web.start();
    let after = target.session("web1").expect("its place");
    assert_eq!(after.phase, SessionPhase::Sharing);
    assert!(after.epoch > before.epoch, "{before:?} {after:?}");
    assert_ne!(after.instance, before.instance);
    assert_eq!(target.status().initiators.len(), 1, "one place, not two");
    check_disk(&web.nbd(), Shape::default());
    let reading = Load::start(&web.nbd(), Shape { read_only: true, ..Shape::default() });
    target.restart(&["--daemon"]);
    reading.wait_progress(100);
    reading.finish().clean();
}

/// [SAFE-5] So is one whose predecessor was let in and killed before it could note that.
#[test]
fn a_daemon_killed_before_it_could_note_that_it_was_let_in_has_an_heir() {
    let world = World::new();
    let mut target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    load.wait_progress(200);
    drop(load);
    let first = target.session("web1").expect("its place").instance;
    target.kill();
    web.kill();
    web.spawn();
    wait_until("it has begun", PROMPT, || web.try_status().is_some());
    // Where its state would be written is something else from now on.
    let in_the_way = web.state_dir().join("db1.json.new");
    std::fs::create_dir(&in_the_way).expect("a directory");
    target.start();
    wait_until("it is let in", PROMPT, || {
        target.session("web1").is_some_and(|place| place.instance != first)
    });
    web.kill();
    std::fs::remove_dir(&in_the_way).expect("the directory");
    web.start();
    check_disk(&web.nbd(), Shape::default());
    assert_eq!(target.status().initiators.len(), 1, "one place, not two");
}

/// [SAFE-5] One without the owner's state, or with an old copy of it, is a stranger of the same name.
#[test]
fn a_stranger_of_the_same_name_is_refused_unless_it_takes_over() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let one = || world.initiator("web1").uses(Use::of(&target, "db1"));
    web.kill();
    for copy in ["copy", "taker"] {
        copy_dir(web.state_dir(), &world.path(&format!("{copy}.state")));
    }
    web.start();
    let load = Load::start(&web.nbd(), Shape::default());
    for place in ["stranger", "copy"] {
        let mut stranger = one().place(place).prepare();
        stranger.spawn();
        wait_until("the stranger is refused", PROMPT, || stranger.log().contains("refused"));
        eprintln!("{place}: {}", stranger.log());
        load.wait_progress(100);
        assert_eq!(load.errors(), 0, "the owner is not disturbed");
        assert_eq!(target.status().initiators.len(), 1);
    }
    let taker = one().place("taker").flag("--take-over").start();
    check_disk(&taker.nbd(), Shape::default());
    assert_eq!(web.process().wait(PROMPT).code(), Some(1), "the fenced one ends and says so");
    eprintln!("{}", web.log());
    let roster = target.status().initiators;
    assert_eq!(roster.len(), 1, "{roster:?}");
    drop(load);
}

/// [SAFE-5] Of several attachments the operator names those that are meant.
#[test]
fn an_older_copy_of_a_daemon_with_several_attachments_takes_over_those_that_are_named() {
    let world = World::new();
    let target = target(&world);
    let two = |place: &str| {
        let both = ["db1", "db2"].map(|disk| Use::of(&target, disk));
        both.into_iter().fold(world.initiator("web1").place(place), |all, one| all.uses(one))
    };
    let mut own = two("own").start();
    own.kill();
    copy_dir(own.state_dir(), &world.path("copy.state"));
    own.start();
    own.kill();
    let take = ["--take-over", "db1", "--take-over", "db2"];
    let copy = take.iter().fold(two("copy"), |all, word| all.flag(word)).start();
    check_disk(&copy.nbd_of("db1"), Shape::default());
    check_disk(&copy.nbd_of("db2"), Shape::default());
    assert_eq!(target.status().initiators.len(), 2);
}

/// [SAFE-5] [SAFE-7] One that lost its state is told that its own name is in the way, and what helps does help.
#[test]
fn who_lost_its_state_is_told_that_the_place_is_its_own_and_what_ends_it() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let mut same = world.initiator("web1").uses(Use::of(&target, "db1")).place("new").prepare();
    same.spawn();
    assert_eq!(same.process().wait(PROMPT).code(), Some(1), "who is connected is not waited for");
    assert!(same.log().contains("which is this node's name"), "{}", same.log());
    web.kill();
    target.wait_session("web1", SessionPhase::Lost);
    same.spawn();
    let why = "is reserved for web1";
    wait_until("it is told for whom its disk is reserved", PROMPT, || same.log().contains(why));
    let log = same.log();
    for told in ["which is this node's name", "--state", "--attachment-name"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert!(log.contains("lull evict web1 --resource db1 at the target"), "{log}");
    target.lull(&["evict", "web1", "--resource", "db1", "--yes"]).ok();
    same.wait_sharing();
    check_disk(&same.nbd(), Shape::default());
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a state directory") {
        let entry = entry.expect("a file in it");
        // Who keeps a killed daemon's log listens there.
        if !entry.file_type().expect("its kind").is_file() {
            continue;
        }
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Several resources of several targets through one daemon, each with a face of its own.
#[test]
fn one_daemon_uses_several_resources_of_several_targets() {
    let world = World::new();
    let one = target(&world);
    let two = world.target("stor2").tcp().file("db3", "16M").start();
    let web = world
        .initiator("web1")
        .uses(Use::of(&one, "db1").named("first"))
        .uses(Use::of(&one, "db2").named("second").over_tcp())
        .uses(Use::of(&two, "db3").named("third"))
        .start();
    let loads = ["first", "second", "third"].map(|name| {
        let seed = u64::from(name.as_bytes()[0]);
        Load::start(&web.nbd_of(name), Shape { seed, ..Shape::default() })
    });
    let record = one.restart(&["--daemon"]);
    assert_eq!(record.rows.len(), 2, "both attachments: {record:?}");
    two.restart(&["--daemon"]);
    loads.iter().for_each(|load| load.wait_progress(100));
    let [first, second, third] = loads;
    for load in [second, third] {
        load.finish().clean();
    }
    web.lull(&["detach", "second"]).ok();
    first.wait_progress(100);
    first.finish().clean();
    let left: Vec<_> = one.status().initiators.into_iter().map(|one| one.resource).collect();
    assert_eq!(left, ["db1"]);
}

/// Nobody finds out by a write that fails.
#[test]
fn who_may_only_read_is_told_so() {
    let world = World::new();
    let file = world.path("db1.img");
    std::fs::write(&file, [0; 1 << 20]).expect("a disk");
    let spec = format!("file:{},read-only", file.display());
    let target = world.target("stor").backend("db1", &spec).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    assert_eq!(web.attachment().access, Access::Ro);
    assert!(web.log().contains("only read"), "{}", web.log());
    let status = target.status();
    assert_eq!(status.initiators[0].access, Access::Ro);
    assert_eq!(status.resources[0].held_by, ["web1 ro"]);
}

/// [SAFE-9]
#[test]
fn readers_share_beside_a_writer_and_a_second_writer_is_refused_by_name() {
    let world = World::new();
    let target = target(&world);
    let writer = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&writer.nbd(), Shape::default());
    let readers = ["web2", "web3"].map(|name| {
        let one = Use::of(&target, "db1").set("access", "ro");
        world.initiator(name).uses(one).start()
    });
    let reading = readers
        .each_ref()
        .map(|reader| Load::start(&reader.nbd(), Shape { read_only: true, ..Shape::default() }));
    let accesses: Vec<_> = target.status().initiators.into_iter().map(|one| one.access).collect();
    assert_eq!(accesses.iter().filter(|&&access| access == Access::Ro).count(), 2);

    let mut second = world.initiator("web4").uses(Use::of(&target, "db1")).prepare();
    second.spawn();
    wait_until("the second writer is told who holds it", PROMPT, || {
        let log = second.log();
        log.contains("web1") && log.contains("db1")
    });
    eprintln!("{}", second.log());
    target.restart(&["--daemon"]);
    reading.iter().for_each(|load| load.wait_progress(100));
    load.wait_progress(100);
    load.finish().clean();
    for load in reading {
        load.finish().clean();
    }
    readers.iter().for_each(|reader| check_disk(&reader.nbd(), Shape::default()));
    // A reader's consumer cannot write.
    let refused = Load::begin(&readers[0].nbd(), Shape::default());
    wait_until("writes of a reader fail", PROMPT, || refused.errors() > 0);
    drop(refused);
    wait_for("the holder is shown", PROMPT, || {
        let status = target.status();
        let disk = status.resources.iter().find(|one| one.name == "db1")?;
        disk.held_by.iter().any(|who| who.contains("web1")).then_some(())
    });
}

/// [CONN-2] Each side's loss is shown, with its span, until it ends.
#[test]
fn events_tell_every_coming_and_going() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    web.kill();
    target.wait_session("web1", SessionPhase::Lost);
    web.start();
    target.restart(&["--daemon"]);
    let told = target.lull(&["events", "--json"]).ok();
    for line in told.stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("one document per line");
        assert!(event["node"] == "stor", "{event}");
    }
    let here = target.lull(&["events"]).ok().stdout;
    assert!(here.contains("web1"), "{here}");
    let listed = target.lull(&["history"]).ok().stdout;
    assert!(listed.contains("completed"), "{listed}");
    let drawn = target.lull(&["history", "1"]).ok().stdout;
    assert!(drawn.contains("PAUSE COMPLETE"), "{drawn}");
}

/// On one host both daemons bear its name, unless they are told otherwise.
#[test]
fn an_initiator_of_its_targets_own_name_is_told_apart_from_it() {
    let world = World::new();
    let target = target(&world);
    let web = world.initiator("stor").place("user").uses(Use::of(&target, "db1")).start();
    target.restart(&["--daemon"]);
    let told = target.lull(&["history", "1"]).ok().stdout;
    assert!(told.contains(" stor (initiator): paused: "), "{told}");
    assert!(told.contains("  stor (initiator)\n"), "a column of its own: {told}");
    let process = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    assert_eq!(process(target.pid()).expect("a process"), "lull-target\n");
    assert_eq!(process(web.pid()).expect("a process"), "lull-initiator\n");
}
