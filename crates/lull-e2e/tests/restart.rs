//! Planned restarts under load: consumers notice a lull and nothing else.

use std::time::Duration;

use lull_admin::{
    OutcomeKind, RestartKind, RestartPhase, RestartRecord, SessionPhase, TargetPhase,
};
use lull_e2e::{
    Fio, FioRounds, Initiator, Load, PROMPT, Shape, Signal, Target, Use, World, has_program,
    rounds, wait_for, wait_until,
};

const DISKS: [&str; 3] = ["db1", "db2", "db3"];

/// Mebibytes of each disk that fio uses: so few that blocks are written in many rounds, and not the same number, so that
/// the moments between two rounds do not come together.
const REGIONS: [u64; 3] = [24, 32, 40];

/// Restarts that may find all three fios between two rounds; they do not count.
const IDLE: usize = 10;

/// A target with three disks, and an initiator for each.
fn three(world: &World, tcp: bool) -> (Target, Vec<Initiator>) {
    let builder = world.target("stor");
    let builder = if tcp { builder.tcp() } else { builder };
    let target = DISKS.iter().fold(builder, |builder, disk| builder.file(disk, "64M")).start();
    let initiator = |(number, disk): (usize, &&str)| {
        let one = Use::of(&target, disk);
        let one = if tcp { one.over_tcp() } else { one };
        world.initiator(&format!("web{}", number + 1)).uses(one).start()
    };
    let initiators = DISKS.iter().enumerate().map(initiator).collect();
    (target, initiators)
}

/// Restarts under fio, with every block right in the end.
fn many_restarts_under_fio(tcp: bool) {
    assert!(has_program("fio"), "fio is not installed: `apt-get install fio`");
    let world = World::new();
    let (target, initiators) = three(&world, tcp);
    let disks: Vec<_> = initiators.iter().zip(REGIONS).collect();
    let job = |what: &str, web: &Initiator| Fio::new(&format!("{what}-{}", web.name()), &web.nbd());
    let size = |region: u64| format!("{region}M");
    let layouts: Vec<_> = disks
        .iter()
        .map(|(web, region)| job("layout", web).lay_out(&size(*region)))
        .map(|job| (job.start(), job))
        .collect();
    for (running, job) in layouts {
        job.judge(running);
    }
    let mixed = |(web, region): &(&Initiator, u64)| {
        job("mixed", web).mixed(&size(*region)).arg("--fsync=6")
    };
    let loads: Vec<FioRounds> = disks.iter().map(|disk| mixed(disk).rounds()).collect();
    let (wanted, mut done, mut busy) = (rounds(20), 0, 0);
    while busy < wanted {
        wait_until("requests are in flight", PROMPT, || {
            initiators.iter().any(|web| web.attachment().in_flight > 8)
        });
        done += 1;
        assert!(done <= wanted + IDLE, "only {busy} restarts found requests in flight");
        let record = target.restart(&["--daemon", "--reason", "the next in a row"]);
        let counts = show(done, &record);
        busy += usize::from(counts.iter().any(|&count| count > 0));
        target.wait_all_sharing();
    }
    for (load, web) in loads.into_iter().zip(&initiators) {
        let rounds = load.rounds();
        let report = load.finish();
        eprintln!("{}: {report:?} in {rounds} whole rounds and one", web.name());
        assert_eq!(web.attachment().errors, 0, "{} counted errors", web.name());
    }
    for (web, region) in disks {
        let report = job("verify", web).verify_all(&size(region)).run();
        assert_eq!(report.reads, region * 256, "every block was read and right");
    }
    assert_eq!(target.history().len(), done);
}

/// Prints a restart's line; gives the requests that were in flight at each when PAUSE came.
fn show(number: usize, record: &RestartRecord) -> Vec<u64> {
    let counts: Vec<_> = record.rows.iter().map(|row| row.in_flight_at_pause).collect();
    let stalls: Vec<_> = record.rows.iter().map(|row| row.stall_ms.unwrap_or(0)).collect();
    eprintln!("restart {number:2}: in flight at PAUSE {counts:?}, longest stalls {stalls:?} ms");
    counts
}

/// [PAUSE-7] [CONN-3]
#[test]
fn many_restarts_in_a_row_fail_nothing_over_unix_sockets() {
    many_restarts_under_fio(false);
}

/// [PAUSE-7] [CONN-3]
#[test]
fn many_restarts_in_a_row_fail_nothing_over_tcp() {
    many_restarts_under_fio(true);
}

/// One target, one initiator, and a load on it.
fn one(world: &World) -> (Target, Initiator, Load) {
    let target = world.target("stor").file("db1", "64M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    (target, web, load)
}

/// [PAUSE-9] The admin socket is the same one throughout, and the process is another.
#[test]
fn the_successor_is_another_process_at_the_same_places() {
    let world = World::new();
    let (target, _web, load) = one(&world);
    let before = target.pid();
    target.restart(&["--daemon", "--reason", "a new release"]);
    assert_ne!(target.pid(), before);
    assert!(target.process().wait(PROMPT).success(), "the old process ends well");
    let record = target.history().pop().expect("a record");
    assert_eq!((record.kind, &*record.reason), (RestartKind::Daemon, "a new release"));
    let names: Vec<_> = record.messages.iter().map(|message| &*message.name).collect();
    for name in ["PAUSE", "PAUSE COMPLETE", "DISCONNECT", "ATTACH", "READY", "RESUME"] {
        assert!(names.contains(&name), "{name} is in {names:?}");
    }
    load.finish().clean();
}

/// [CONN-2] [TIMER-4] The state directory tells of both daemon and history while it is down.
#[test]
fn a_stopped_target_is_resumed_by_whoever_starts_it_next() {
    let world = World::new();
    let (mut target, web, load) = one(&world);
    let state = target.state_dir().display().to_string();
    target.lull(&["restart", "--stop", "--expect", "1m"]).ok().says("whoever starts it next");
    target.wait_gone();

    let offline = target.lull(&["status", "--state", &state, "--json"]).ok().says("no daemon");
    assert_eq!(offline.json()["target"]["initiators"][0]["initiator"], "web1");
    let offline = target.lull(&["history", "--state", &state, "--json"]).ok().says("no daemon");
    assert_eq!(offline.json()[0]["kind"], "stop");
    target.lull(&["history", "1", "--state", &state]).ok();
    let attachment = web.attachment();
    let outage = attachment.outage.expect("it holds for a reason");
    assert!(outage.deadline.is_some(), "no hold without a deadline: {outage:?}");

    target.start();
    load.wait_progress(100);
    let record = wait_for("the restart has its outcome", PROMPT, || {
        target.history().pop().filter(|record| record.outcome.is_some())
    });
    assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
    load.finish().clean();
}

/// [PAUSE-9] The command has the machine to itself.
#[test]
fn a_command_runs_while_the_target_is_down() {
    let world = World::new();
    let (target, _web, load) = one(&world);
    let seen = world.path("seen");
    let disk = world.path("db1.img");
    // Nobody holds the disk's lock while it runs.
    let command = format!("flock -n {} true && echo free > {}", disk.display(), seen.display());
    let record = target.restart(&["--exec", &command]);
    assert_eq!(record.kind, RestartKind::Exec);
    assert_eq!(std::fs::read_to_string(seen).expect("the command ran").trim(), "free");
    load.wait_progress(100);
    load.finish().clean();
}

/// [PAUSE-10]
#[test]
fn a_terminated_target_pauses_everybody_first() {
    let world = World::new();
    let (mut target, web, load) = one(&world);
    target.signal(Signal::TERM);
    assert!(target.process().wait(PROMPT).success());
    let outage = web.attachment().outage.expect("it holds");
    assert!(outage.why.contains("restart"), "the loss was announced: {outage:?}");
    target.start();
    load.wait_progress(100);
    load.finish().clean();
    let record = target.history().pop().expect("the stop has its record");
    assert!(record.rows[0].pause_complete_ms.is_some(), "{record:#?}");
}

/// [PAUSE-10] The first signal waits for the frozen initiator, the second does not.
#[test]
fn a_second_signal_hurries_a_terminated_target() {
    let world = World::new();
    let mut target = world
        .target("stor")
        .file("db1", "64M")
        .set("pause-timeout", "60s")
        .set("keep-alive", "60s")
        .start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    web.freeze();
    target.signal(Signal::TERM);
    target.wait_restart(RestartPhase::Pausing);
    target.signal(Signal::TERM);
    assert!(target.process().wait(PROMPT).success());
    target.start();
    web.thaw();
    load.wait_progress(100);
    load.finish().clean();
}

/// [PAUSE-2] [PAUSE-6]
#[test]
fn the_halves_of_a_restart_hold_and_let_go() {
    let world = World::new();
    let (target, web, load) = one(&world);
    let since = || target.status().initiators[0].since;
    let came = since();
    target.lull(&["pause", "--reason", "the disk shelf moves"]).ok().says("all are paused");
    assert_eq!(target.status().phase, TargetPhase::Paused);
    let paused = since();
    assert!(paused > came, "the phase began with the pause");
    assert_eq!(web.attachment().phase, lull_admin::AttachmentPhase::Paused);
    load.take_window();
    let text = target.lull(&["status"]).ok().stdout;
    assert!(text.contains("paused"), "{text}");
    assert_eq!(load.take_window().done, 0, "nothing is served during a pause");
    target.lull(&["resume"]).ok();
    load.wait_progress(100);
    assert!(since() > paused, "and sharing with its end");
    let text = target.lull(&["history", "1"]).ok().stdout;
    assert!(text.contains("decided: resume"), "nobody gave it up: {text}");
    assert!(!text.contains("has not come back"), "nobody was away: {text}");
    target.lull(&["resume"]).code(1);
    target.lull(&["pause"]).ok();
    target.lull(&["abort"]).ok();
    load.wait_progress(100);
    let kinds: Vec<_> =
        target.history().iter().filter_map(|one| Some(one.outcome.as_ref()?.kind)).collect();
    assert_eq!(kinds, [OutcomeKind::Completed, OutcomeKind::Aborted]);
    let text = target.lull(&["history", "2"]).ok().stdout;
    assert!(text.contains("decided: abort"), "it was given up: {text}");
    load.finish().clean();
}

/// [PAUSE-9] A pause that something else makes a restart of: the process is killed and started.
#[test]
fn a_paused_target_may_be_killed_and_loses_nothing() {
    let world = World::new();
    let (mut target, _web, load) = one(&world);
    target.lull(&["pause", "--expect", "10s"]).ok();
    target.kill();
    target.start();
    load.wait_progress(100);
    load.finish().clean();
    target.wait_session("web1", SessionPhase::Sharing);
}

/// A crash is survived as one: [SAFE-1] [CONN-2]
#[test]
fn a_killed_target_is_resumed_when_it_is_back() {
    let world = World::new();
    let (mut target, web, load) = one(&world);
    for _ in 0..rounds(1) {
        target.kill();
        wait_for("the loss is known", Duration::from_secs(5), || web.attachment().outage);
        target.start();
        target.wait_all_sharing();
        load.wait_progress(100);
    }
    load.finish().clean();
}
