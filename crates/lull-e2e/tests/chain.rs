//! Three nodes in a line: what the first has, the second shares on, and the third uses. Whoever of them restarts or dies,
//! the consumer waits, and nothing fails or is lost.

use lull_admin::AttachmentPhase;
use lull_e2e::{
    Fio, FioRounds, Initiator, Load, PROMPT, Running, Shape, Signal, Target, Use, World, rounds,
    wait_for, wait_until,
};

/// Mebibytes of the disk, all of which fio uses.
const SIZE: u64 = 24;

struct Line {
    top: Target,
    middle: Target,
    leaf: Initiator,
}

impl Line {
    fn on(world: &World, backend: &str) -> Self {
        let top = world.target("top").backend("d", backend).start();
        let middle = world.target("middle").backend("d", &top.uri("d")).start();
        let leaf = world.initiator("leaf").uses(Use::of(&middle, "d")).start();
        Self { top, middle, leaf }
    }

    fn start(world: &World) -> Self {
        Self::on(world, &format!("file:{},size={SIZE}M", world.path("d.img").display()))
    }

    /// All share, from one end to the other.
    #[track_caller]
    fn wait_sharing(&self) {
        self.top.wait_all_sharing();
        self.middle.wait_all_sharing();
        self.leaf.wait_sharing();
    }

    /// A load at the leaf that begins on a disk whose every block is one of fio's.
    fn under_fio(&self) -> FioRounds {
        let size = format!("{SIZE}M");
        Fio::new("layout", &self.leaf.nbd()).lay_out(&size).run();
        Fio::new("mixed", &self.leaf.nbd()).mixed(&size).arg("--fsync=16").rounds()
    }

    #[track_caller]
    fn all_right(&self, load: FioRounds) {
        let rounds = load.rounds();
        eprintln!("{:?} in {rounds} whole rounds and one", load.finish());
        assert_eq!(self.leaf.attachment().errors, 0);
        let report = Fio::new("verify", &self.leaf.nbd()).verify_all(&format!("{SIZE}M")).run();
        assert_eq!(report.reads, SIZE * 256, "every block was read and right");
    }

    #[track_caller]
    fn in_flight(&self) {
        wait_until("requests are in flight", PROMPT, || self.leaf.attachment().in_flight > 0);
    }
}

/// [CHAIN-1] [CHAIN-2]
#[test]
fn restarts_of_either_target_fail_nothing() {
    let world = World::new();
    let line = Line::start(&world);
    let load = line.under_fio();
    for _ in 0..rounds(3) {
        for target in [&line.top, &line.middle] {
            line.in_flight();
            target.restart(&["--daemon"]);
            line.wait_sharing();
        }
    }
    line.all_right(load);
}

/// [CHAIN-2] [CHAIN-4] Killed under load, one after the other and both at once.
#[test]
fn targets_that_are_killed_and_come_back_fail_nothing() {
    let world = World::new();
    let mut line = Line::start(&world);
    let load = line.under_fio();
    for round in 0..rounds(6) {
        line.in_flight();
        let (top, middle) = (round % 3 != 1, round % 3 != 0);
        if top {
            line.top.kill();
        }
        if middle {
            line.middle.kill();
        }
        if middle {
            line.middle.spawn();
        }
        if top {
            line.top.spawn();
        }
        line.wait_sharing();
    }
    line.all_right(load);
}

/// [SAFE-1] [CHAIN-4] What the first acknowledged and lost with its power is written again by the third, which is all
/// that still has it.
#[test]
fn power_cuts_at_the_far_end_lose_nothing() {
    let world = World::new();
    let path = world.path("d.img");
    let disk = format!("faulty:volatile:file:{},size={SIZE}M", path.display());
    let mut line = Line::on(&world, &disk);
    let load = line.under_fio();
    for _ in 0..rounds(4) {
        line.in_flight();
        line.top.kill();
        line.top.spawn();
        line.wait_sharing();
    }
    line.all_right(load);
    assert!(line.leaf.log().contains("are sent again"), "{}", line.leaf.log());
}

/// [SAFE-10] [CHAIN-4] The third is killed under load, alone and together with either of those before it. Its next life
/// finds what it had acknowledged, and its consumer, who connects again, finds it too, while the first's disk forgets.
#[test]
fn a_leaf_that_is_killed_finds_what_it_had_acknowledged() {
    let world = World::new();
    let path = world.path("d.img");
    let disk = format!("faulty:volatile:file:{},size={SIZE}M", path.display());
    let mut line = Line::on(&world, &disk);
    let shape = Shape { depth: 16, returns: true, ..Shape::default() };
    let load = Load::start(&line.leaf.nbd(), shape);
    let mut found = 0;
    for round in 0..rounds(6) {
        load.wait_progress(300);
        wait_until("much is retained", PROMPT, || line.leaf.attachment().retaining.changes > 50);
        let (top, middle) = (round % 3 == 1, round % 3 == 2);
        if top {
            line.top.kill();
        }
        if middle {
            line.middle.kill();
        }
        line.leaf.kill();
        line.leaf.spawn();
        found += line.leaf.attachment().retaining.changes;
        if middle {
            line.middle.spawn();
        }
        if top {
            line.top.spawn();
        }
        line.wait_sharing();
        load.judge();
    }
    line.top.kill();
    line.top.start();
    line.wait_sharing();
    let report = load.finish().clean();
    assert!(report.returns >= rounds(6) as u64, "its consumer connected again: {report:?}");
    assert!(found > 0, "no life found anything");
    eprintln!(
        "{} requests, {found} changes found in logs, longest gap {:?}",
        report.done, report.longest_gap
    );
}

/// [CHAIN-1] [TIMER-5] While the first is away the third is told by the second whom it waits for, and why.
#[test]
fn who_waits_is_told_for_whom_and_the_way_to_it() {
    let world = World::new();
    let mut line = Line::start(&world);
    let leaf = wait_for("the way is known", PROMPT, || {
        Some(line.leaf.attachment()).filter(|leaf| leaf.path.len() == 2)
    });
    assert_eq!(leaf.path, ["middle/d", "top/d"]);
    assert_eq!(line.middle.status().resources[0].path, ["middle/d", "top/d"]);
    line.top.lull(&["restart", "--stop", "--expect", "1m", "--reason", "a new disk"]).ok();
    line.top.wait_gone();
    let held = line.leaf.wait_phase(AttachmentPhase::Held);
    let wait = held.waits_for.expect("whom it waits for");
    assert_eq!(wait.for_whom, "top/d");
    assert!(wait.what.contains("restarts"), "{wait:?}");
    let above = held.held_above.expect("what an alert would say");
    assert!(above.why.starts_with("top/d, which restarts"), "{above:?}");
    let said = line.leaf.lull(&["status"]).ok().stdout;
    assert!(said.contains("d leads through middle/d, top/d"), "{said}");
    let waits = line.middle.status().resources.remove(0).waits_for.expect("the same there");
    assert!(waits.what.contains("restarts"), "{waits:?}");
    let upper = line.middle.status_document().initiator.expect("it uses a resource as well");
    assert_eq!(upper.attachments[0].phase, AttachmentPhase::Away);
    assert!(upper.attachments[0].outage.is_some());
    line.top.start();
    line.wait_sharing();
}

/// [CHAIN-1] The second gives back what it cannot pass on: it need not wait for the first to restart.
#[test]
fn the_middle_restarts_while_the_first_is_away() {
    let world = World::new();
    let mut line = Line::start(&world);
    let load = line.under_fio();
    for _ in 0..rounds(2) {
        line.in_flight();
        line.top.kill();
        line.leaf.wait_phase(AttachmentPhase::Held);
        let before = line.middle.pid();
        let restart = line.middle.begin(&["restart", "--daemon"]);
        wait_until("another process is the middle", PROMPT, || line.middle.pid() != before);
        line.leaf.wait_phase(AttachmentPhase::Attaching);
        line.top.start();
        restart.finish(PROMPT).ok();
        line.wait_sharing();
    }
    line.all_right(load);
}

/// [CHAIN-1] [PAUSE-10] So it ends, and begins, without it.
#[test]
fn the_middle_ends_at_the_first_word_and_begins_while_the_first_is_away() {
    let world = World::new();
    let mut line = Line::start(&world);
    let load = line.under_fio();
    line.in_flight();
    line.top.kill();
    line.leaf.wait_phase(AttachmentPhase::Held);
    line.middle.signal(Signal::TERM);
    line.middle.wait_gone();
    line.middle.start();
    line.leaf.wait_phase(AttachmentPhase::Attaching);
    line.top.start();
    line.wait_sharing();
    line.all_right(load);
}

/// [CHAIN-4] In any order: who comes first waits.
#[test]
fn a_line_that_is_started_from_its_end_shares_when_the_first_is_there() {
    let world = World::new();
    let mut top = world.target("top").file("d", "16M").prepare();
    let middle = world.target("middle").backend("d", &top.uri("d")).start();
    let mut leaf = world.initiator("leaf").uses(Use::of(&middle, "d")).prepare();
    leaf.spawn();
    wait_until("it is told for whom it waits", PROMPT, || {
        let attachment = leaf.try_status().and_then(|status| status.initiator?.attachments.pop());
        attachment.and_then(|one| one.waits_for).is_some_and(|it| it.for_whom.contains("top.sock"))
    });
    top.start();
    leaf.wait_sharing();
    assert_eq!(leaf.attachment().size, 16 << 20);
}

/// [CHAIN-3] A resource that would rest on itself is refused, and the way is named.
#[test]
fn a_circle_is_refused_and_named() {
    let world = World::new();
    let one = world.target("one").prepare();
    let two = world.target("two").backend("d", &one.uri("d")).start();
    drop(one);
    let one = world.target("one").backend("d", &two.uri("d")).start();
    let leaf = world.initiator("leaf").uses(Use::of(&one, "d")).prepare();
    let finished = Running::start(leaf.command()).finish(PROMPT);
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("one/d → two/d"), "{}", finished.stderr);
    drop(two);
}
