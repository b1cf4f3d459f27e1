//! Changes that overlap, and changes that are durable by themselves, at every death that may come between them. The table
//! of all cases is in docs/simulated.md.

use crate::scene::Scene;
use lull_proto::initiator::{Config, Phase, Retain};
use lull_sim::disk::Death;
use lull_sim::world::World;
use lull_wire::{OpCode, RequestFlags};
use std::time::Duration;

/// A way in which the target dies, and comes back.
type Dies = fn(&mut Scene);

/// Its process, after which the cache is what it was; its system, with all of the cache or with some of it; the connection,
/// after which nothing is missing; the target's process and the initiator's daemon, whose heir goes on.
const DEATHS: [(&str, Dies); 5] = [
    ("process", Scene::kill_target),
    ("power", Scene::power_cut),
    ("torn", |scene| scene.0.power_cut(0, Death::Torn, Duration::from_millis(300))),
    ("connection", |scene| {
        if let Some(wire) = scene.wire_of(0) {
            scene.cut(wire);
        }
    }),
    ("both", |scene| {
        scene.kill_target();
        scene.kill_node(0);
    }),
];

/// It dies, and everybody shares again.
fn dies_and_returns(scene: &mut Scene, dies: Dies) {
    dies(scene);
    let lost = |world: &World| world.attachments[0].phase() != Some(Phase::Sharing);
    scene.wait(Duration::from_secs(60), lost);
    scene.until_all_share();
}

fn durable() -> RequestFlags {
    RequestFlags::none().with(RequestFlags::FUA)
}

fn held(scene: &Scene, first: u64, count: u64) -> Vec<u64> {
    scene.targets[0].disks[0].read(first, count)
}

/// Every way in which a second range can lie to 8 sectors from the eighth on: apart, beside, over either end, within,
/// the same, around.
const SECOND: [(u64, u64); 8] =
    [(0, 4), (4, 4), (4, 8), (12, 8), (10, 4), (8, 8), (4, 16), (16, 4)];

/// [SAFE-2] [SAFE-3] Overlapping changes that were answered one after the other are replayed in that order, however often
/// the replay is cut short, and whatever became of them before.
#[test]
fn retained_changes_that_overlap_are_replayed_in_their_order() {
    for (name, dies) in DEATHS {
        for (first, count) in SECOND {
            for op in [OpCode::Write, OpCode::WriteZeroes, OpCode::Discard] {
                let mut scene = Scene::new(1);
                scene.written(0, 8, 8);
                scene.ask(0, op, first, count);
                scene.until_quiet();
                scene.written(0, first + 1, 1);
                // What was discarded reads as anything.
                let sure = if op == OpCode::Discard { (first + 1, 1) } else { (0, 24) };
                let newest = held(&scene, sure.0, sure.1);
                dies(&mut scene);
                scene.pass(Duration::from_millis(301));
                dies_and_returns(&mut scene, dies);
                let kept = held(&scene, sure.0, sure.1);
                assert_eq!(kept, newest, "{name}: {op} at {first}, {count}");
                scene.verify();
            }
        }
    }
}

/// [SAFE-1] A durable change over what is retained waits for a flush of it, and is not sent while that is unanswered, nor
/// while an older change that it overlaps is: whenever the target dies, the newest is what is there in the end, and stays.
#[test]
fn a_durable_change_over_older_ones_is_the_newest_whenever_the_target_dies() {
    for (name, dies) in DEATHS {
        for (first, count) in SECOND {
            for op in [OpCode::Write, OpCode::WriteZeroes] {
                for moment in [1, 30, 60, 90, 150] {
                    let mut scene = Scene::new(1);
                    scene.written(0, 8, 4);
                    scene.targets[0].service = Duration::from_millis(20);
                    scene.targets[0].sync = Duration::from_millis(40);
                    // One that is retained, one that is unanswered.
                    scene.write(0, 12, 4);
                    scene.ask_with(0, op, first, count, durable());
                    scene.pass(Duration::from_millis(moment));
                    dies_and_returns(&mut scene, dies);
                    scene.until_quiet();
                    let newest = held(&scene, first, count);
                    dies_and_returns(&mut scene, dies);
                    assert_eq!(held(&scene, first, count), newest, "{name} after {moment} ms");
                    scene.verify();
                }
            }
        }
    }
}

/// [SAFE-1] A change over a durable one is retained like any other: the replay puts it over that again.
#[test]
fn a_change_over_a_durable_one_is_replayed_over_it() {
    for (name, dies) in DEATHS {
        for (first, count) in SECOND {
            let mut scene = Scene::new(1);
            scene.ask_with(0, OpCode::Write, 8, 8, durable());
            scene.until_quiet();
            scene.written(0, first, count);
            let newest = held(&scene, 0, 24);
            for _ in 0..3 {
                dies_and_returns(&mut scene, dies);
                assert_eq!(held(&scene, 0, 24), newest, "{name}: {first}, {count}");
            }
            scene.verify();
        }
    }
}

/// [SAFE-1] [SAFE-2] A durable change that was unanswered at the crash is durable when it is answered after it, and what is
/// replayed before it stays under it.
#[test]
fn a_durable_change_that_is_sent_again_is_durable() {
    for (name, dies) in DEATHS {
        if name == "both" {
            continue; // Nobody sends again what a daemon was not answered.
        }
        let mut scene = Scene::new(1);
        scene.written(0, 0, 8);
        scene.targets[0].service = Duration::from_millis(50);
        scene.ask_with(0, OpCode::Write, 16, 4, durable());
        scene.pass(Duration::from_millis(10));
        dies_and_returns(&mut scene, dies);
        scene.until_quiet();
        let newest = held(&scene, 16, 4);
        scene.power_cut();
        scene.pass(Duration::from_millis(1));
        assert_eq!(held(&scene, 16, 4), newest, "{name}: it was answered, and is not durable");
        scene.verify();
    }
}

/// [SAFE-2] What was unanswered goes behind what is retained, which it overlaps, and is not lost or undone by the replay.
#[test]
fn an_unanswered_change_over_retained_ones_goes_behind_them() {
    for (name, dies) in DEATHS {
        for (first, count) in SECOND {
            for moment in [1, 15, 45] {
                let mut scene = Scene::new(1);
                scene.written(0, 8, 8);
                scene.written(0, 12, 8);
                scene.targets[0].service = Duration::from_millis(30);
                scene.write(0, first, count);
                scene.pass(Duration::from_millis(moment));
                dies_and_returns(&mut scene, dies);
                scene.until_quiet();
                let newest = held(&scene, 0, 24);
                dies_and_returns(&mut scene, Scene::power_cut);
                assert_eq!(held(&scene, 0, 24), newest, "{name}: {first}, {count}, {moment} ms");
                scene.verify();
            }
        }
    }
}

/// [SAFE-3] A change that overlaps an outstanding one waits, and what came after it, a flush, a read and one that overlaps
/// nothing, waits behind it: none is answered before it.
#[test]
fn what_came_after_a_change_that_waits_waits_behind_it() {
    for (name, dies) in DEATHS {
        for moment in [1, 40, 70, 110, 160] {
            let mut scene = Scene::new(1);
            scene.targets[0].service = Duration::from_millis(30);
            for first in [0, 4, 2, 8] {
                scene.write(0, first, 8);
            }
            scene.ask(0, OpCode::Flush, 0, 0);
            scene.ask(0, OpCode::Read, 4, 8);
            scene.write(0, 30, 2);
            scene.pass(Duration::from_millis(moment));
            dies_and_returns(&mut scene, dies);
            scene.until_quiet();
            let newest = held(&scene, 0, 32);
            dies_and_returns(&mut scene, Scene::power_cut);
            assert_eq!(held(&scene, 0, 32), newest, "{name} after {moment} ms");
            scene.verify();
        }
    }
}

/// [SAFE-1] [SAFE-3] At the bound of the log, where changes wait for room, and for one that is larger than the bound: the
/// same, for each of them over each other.
#[test]
fn at_the_bound_of_the_log_nothing_comes_under_what_it_overwrote() {
    for (name, dies) in DEATHS {
        for moment in [5, 50, 120, 400] {
            let habits = |config| Config { retain: Retain::UpTo(4096), ..config };
            let mut scene = Scene::with(1, habits);
            scene.targets[0].service = Duration::from_millis(5);
            scene.targets[0].sync = Duration::from_millis(20);
            for first in [0, 4, 8, 2] {
                scene.write(0, first, 6);
                scene.ask_with(0, OpCode::Write, first + 1, 2, durable());
                scene.write(0, first, 20);
            }
            scene.pass(Duration::from_millis(moment));
            dies_and_returns(&mut scene, dies);
            scene.until_quiet();
            let newest = held(&scene, 0, 32);
            dies_and_returns(&mut scene, dies);
            assert_eq!(held(&scene, 0, 32), newest, "{name} after {moment} ms");
            scene.verify();
        }
    }
}

/// [SAFE-3] One that is larger than the whole log goes as a durable one, when nothing is retained that could be replayed
/// over it.
#[test]
fn a_change_that_is_larger_than_the_log_is_not_undone_by_its_replay() {
    for (name, dies) in DEATHS {
        for (first, count) in SECOND {
            let habits = |config| Config { retain: Retain::UpTo(4096), ..config };
            let mut scene = Scene::with(1, habits);
            // Too little to be flushed for room's sake.
            scene.written(0, first, count.min(2));
            scene.written(0, first / 2, 16);
            let newest = held(&scene, 0, 24);
            dies_and_returns(&mut scene, dies);
            assert_eq!(held(&scene, 0, 24), newest, "{name}: over {first}, {count}");
            scene.verify();
        }
    }
}

/// [SAFE-3] Of two changes that overlap the later one is not executed before the earlier one is, although the target would
/// have been faster with it.
#[test]
fn a_later_change_does_not_overtake_an_earlier_one_that_it_overlaps() {
    for (first, count) in SECOND {
        let mut scene = Scene::new(1);
        for _ in 0..8 {
            scene.targets[0].service = Duration::from_secs(40);
            scene.write(0, 8, 8);
            scene.pass(Duration::from_millis(2));
            scene.targets[0].service = Duration::from_millis(1);
            scene.write(0, first, count);
            scene.ask(0, OpCode::WriteZeroes, first + 1, 1);
            scene.until_quiet();
            assert_eq!(held(&scene, first + 1, 1), [0], "{first}, {count}");
        }
        scene.verify();
    }
}

/// [SAFE-1] [SAFE-4] The flush that a durable change waits for fails: what it should have covered is replayed, flushed in
/// the next life, and only then overwritten.
#[test]
fn a_durable_change_waits_for_the_flush_after_one_that_failed() {
    for fails in 1..3 {
        let mut scene = Scene::new(1);
        scene.written(0, 8, 8);
        scene.targets[0].disks[0].syncs_fail = fails;
        scene.ask_with(0, OpCode::Write, 10, 2, durable());
        scene.until_phase(0, Phase::Sharing);
        scene.until_quiet();
        let newest = held(&scene, 8, 8);
        scene.targets[0].disks[0].evict();
        assert_eq!(held(&scene, 8, 8), newest, "all of it is on the medium");
        scene.power_cut();
        scene.verify();
        assert_eq!(held(&scene, 8, 8), newest);
    }
}
