//! Two daemons that are the same initiator by name and by state: one serves, the other is told why it does not.

use std::path::Path;

use lull_admin::SessionPhase;
use lull_e2e::{
    Consumer, Initiator, Load, PROMPT, Shape, Target, Use, World, wait_for, wait_until,
};

/// Changes that are acknowledged and not flushed.
const UNFLUSHED: u64 = 200;

/// A target with a disk whose write cache dies with it.
fn target(world: &World) -> Target {
    let disk = format!("faulty:volatile:file:{},size=8M", world.path("db1.img").display());
    world.target("stor").backend("db1", &disk).start()
}

/// The daemon `web1` under this place of the world.
fn at(world: &World, target: &Target, place: &str) -> Initiator {
    world.initiator("web1").uses(Use::of(target, "db1")).place(place).prepare()
}

/// The files of a state directory; what its daemon keeps open is no file.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a state directory").map(|entry| entry.expect("it"))
    {
        if entry.file_type().expect("its kind").is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

/// Waits until this one has ended because it was refused, in these words.
#[track_caller]
fn refused(one: &Initiator, words: &str) {
    assert_eq!(one.process().wait(PROMPT).code(), Some(1), "{}", one.log());
    let log = one.log();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains(words), "not `{words}`:\n{log}");
    eprintln!("{last}");
}

/// The one of two that shares when the other has ended, and that other.
fn one_shares([first, second]: [Initiator; 2]) -> (Initiator, Initiator) {
    let first_ended = wait_for("one of two ends", PROMPT, || {
        match (first.process().ended(), second.process().ended()) {
            (Some(_), Some(_)) => panic!("none serves:\n{}\n{}", first.log(), second.log()),
            (Some(_), None) => Some(true),
            (None, Some(_)) => Some(false),
            (None, None) => None,
        }
    });
    let (shares, ended) = if first_ended { (second, first) } else { (first, second) };
    shares.wait_sharing();
    (shares, ended)
}

/// [SAFE-5] [SAFE-10] A killed daemon's state was copied, and both are started: each is its heir, and the first to come
/// is the owner. What was acknowledged is there for whichever that is, also when the target's cache is lost then.
#[test]
fn of_two_heirs_of_one_daemon_the_first_serves_and_the_other_is_told() {
    for (round, order) in [["mine", "copy"], ["copy", "mine"]].into_iter().enumerate() {
        for together in [false, true] {
            let world = World::new();
            let mut target = target(&world);
            let mut mine = at(&world, &target, "mine");
            mine.start();
            Consumer::connect(&mine.nbd()).write(UNFLUSHED);
            mine.kill();
            copy(mine.state_dir(), &world.path("copy.state"));
            let mut both = order.map(|place| at(&world, &target, place));
            for one in &mut both {
                one.spawn();
                if !together {
                    let sharing = |phase| phase == SessionPhase::Sharing;
                    wait_until("the first is let in", PROMPT, || {
                        target.session("web1").is_some_and(|place| sharing(place.phase))
                    });
                }
            }
            let (shares, ended) = one_shares(both);
            refused(&ended, "another instance of web1");
            assert_eq!(target.status().initiators.len(), 1, "one place, round {round}");
            assert_eq!(Consumer::connect(&shares.nbd()).lost(UNFLUSHED), 0, "{order:?}");
            target.kill();
            target.start();
            shares.wait_sharing();
            assert_eq!(Consumer::connect(&shares.nbd()).lost(UNFLUSHED), 0, "{order:?} later");
        }
    }
}

/// [SAFE-5] An old copy does not become the owner because the owner's target, or its connection, is away for a while.
#[test]
fn an_old_copy_is_not_let_in_while_its_owner_waits_for_the_target() {
    let world = World::new();
    let mut target = target(&world);
    let mut mine = at(&world, &target, "mine");
    mine.start();
    mine.kill();
    copy(mine.state_dir(), &world.path("copy.state"));
    mine.start();
    let load = Load::start(&mine.nbd(), Shape::default());
    for owner_is_late in [false, true] {
        target.kill();
        let mut copy = at(&world, &target, "copy");
        copy.spawn();
        wait_until("the copy dials", PROMPT, || copy.try_status().is_some());
        if owner_is_late {
            mine.freeze();
        }
        target.start();
        refused(&copy, "another instance of web1");
        if owner_is_late {
            mine.thaw();
        }
        mine.wait_sharing();
        load.wait_progress(100);
        load.judge();
    }
    load.finish().clean();
}

/// [SAFE-5] On one state directory a second daemon does not begin, and says who is there.
#[test]
fn a_second_daemon_on_the_same_state_says_who_uses_it() {
    let world = World::new();
    let target = target(&world);
    let mut mine = at(&world, &target, "mine");
    mine.start();
    let load = Load::start(&mine.nbd(), Shape::default());
    std::os::unix::fs::symlink(mine.state_dir(), world.path("second.state")).expect("a link");
    let mut second = at(&world, &target, "second");
    second.spawn();
    refused(&second, &format!("another daemon (pid {}) uses", mine.process().pid()));
    load.wait_progress(100);
    load.finish().clean();
}
