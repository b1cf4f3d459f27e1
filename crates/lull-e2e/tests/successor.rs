//! A successor that fails: nobody is left paused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lull_admin::{AttachmentPhase, OutcomeKind, RestartPhase, SessionPhase};
use lull_e2e::{
    Initiator, Load, PROMPT, Running, Shape, Signal, Target, Use, World, is_running, limit_files,
    lull, send, wait_for, wait_until,
};

/// A copy of the command that a test may replace while it runs.
fn own_binary(world: &World) -> PathBuf {
    let path = world.path("lull");
    if std::fs::hard_link(lull(), &path).is_err() {
        std::fs::copy(lull(), &path).expect("a copy of the command");
    }
    path
}

/// Puts another program in the place of one that runs.
fn replace(path: &Path, script: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, script).expect("a script can be written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&new, mode).expect("a script can be made a program");
    std::fs::rename(&new, path).expect("a program can be replaced");
}

/// A restart whose successor does not pass its own check: exit status 1 with `reason`, and nobody was paused.
fn refused_before_the_pause(target: &Target, load: &Load, reason: &str) -> String {
    let pid = target.pid();
    load.take_window();
    let said = target.lull(&["restart", "--daemon"]).code(1).says(reason);
    eprintln!("{}", said.stderr.lines().last().unwrap_or_default());
    let record = target.history().pop().expect("a record");
    let outcome = record.outcome.as_ref().expect("an outcome");
    assert_ne!(outcome.kind, OutcomeKind::Completed);
    let names: Vec<_> = record.messages.iter().map(|message| &*message.name).collect();
    assert!(!names.contains(&"PAUSE"), "somebody was paused: {names:?}");
    assert!(record.rows.iter().all(|row| row.pause_complete_ms.is_none()), "{record:?}");
    assert_eq!(target.pid(), pid);
    target.wait_all_sharing();
    load.wait_progress(100);
    assert!(target.children().is_empty(), "no successor is left");
    said.stderr
}

/// [PAUSE-9]
#[test]
fn a_binary_that_fails_at_once_pauses_nobody() {
    let world = World::new();
    let binary = own_binary(&world);
    let target = world.target("stor").file("db1", "16M").binary(&binary).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    replace(&binary, "#!/bin/sh\necho 'this release does not start here' >&2\nexit 1\n");
    refused_before_the_pause(&target, &load, "exit status: 1");
    assert!(target.log().contains("this release does not start here"), "{}", target.log());
    std::fs::remove_file(&binary).expect("a program can be removed");
    refused_before_the_pause(&target, &load, "could not be started");
    // What is good again is found at the same place.
    own_binary(&world);
    target.restart(&["--daemon"]);
    load.finish().clean();
}

/// [PAUSE-9]
#[test]
fn a_configuration_that_became_wrong_pauses_nobody() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").by_file().start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let good = std::fs::read_to_string(world.path("stor.toml")).expect("its configuration");
    world.write("stor.toml", &good.replace("pause-timeout", "pause-timeuot"));
    let place = format!("{}:7: ", world.path("stor.toml").display());
    let said = refused_before_the_pause(&target, &load, &place);
    assert!(said.contains("`pause-timeuot`"), "what is wrong: {said}");
    assert!(said.contains("did you mean `pause-timeout`?"), "the next step: {said}");
    assert!(target.log().contains("pause-timeuot"), "the log shows the line: {}", target.log());
    // What a file may hold, and this host has not.
    world.write("stor.toml", &good.replace("db1.img,size=16M", "db9.img"));
    refused_before_the_pause(&target, &load, "db9.img does not exist");
    world.write("stor.toml", &good);
    target.restart(&["--daemon"]);
    load.finish().clean();
}

/// [PAUSE-9] [CONN-8] An older release is put in the place of one that has brought the state up to a later format.
#[test]
fn a_release_too_old_for_the_state_pauses_nobody() {
    let world = World::new();
    let binary = own_binary(&world);
    let target = world.target("stor").file("db1", "16M").binary(&binary).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    // What a later release would say of its state, in place of what this one says.
    let later = "LULL_STATE_FORMAT='99 99 lull 9.0.0' exec";
    replace(&binary, &format!("#!/bin/sh\n{later} {} \"$@\"\n", lull().display()));
    let reason = "target.redb has format 99, written by lull 9.0.0";
    refused_before_the_pause(&target, &load, reason);
    own_binary(&world);
    target.restart(&["--daemon"]);
    load.finish().clean();
}

/// [PAUSE-9]
#[test]
fn a_medium_that_is_gone_pauses_nobody() {
    let world = World::new();
    let disk = world.path("disk.img");
    std::fs::File::create(&disk).and_then(|file| file.set_len(16 << 20)).expect("a disk");
    let backend = format!("file:{}", disk.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let aside = world.path("aside.img");
    std::fs::rename(&disk, &aside).expect("a disk can be moved");
    refused_before_the_pause(&target, &load, "disk.img");
    std::fs::rename(&aside, &disk).expect("a disk can be moved back");
    target.restart(&["--daemon"]);
    load.finish().clean();
}

/// [PAUSE-9] Given up, a restart leaves no process behind, however that one hangs.
#[test]
fn a_successor_that_hangs_ends_with_its_restart() {
    let world = World::new();
    let binary = own_binary(&world);
    let target = world.target("stor").file("db1", "16M").binary(&binary).start();
    replace(&binary, "#!/bin/sh\nexec sleep 1000\n");
    let running = target.begin(&["restart", "--daemon"]);
    let successor = wait_for("a successor", PROMPT, || {
        target.children().first().copied().filter(|pid| hangs(*pid))
    });
    let text = target.lull(&["status"]).ok().stdout;
    assert!(text.contains("target stor: starting its successor ("), "{text}");
    let ended = "the process that was to take over was ended";
    target.lull(&["abort"]).ok().says(ended);
    wait_until("its end", PROMPT, || !is_running(successor));
    running.finish(PROMPT).code(1).says(ended);
    own_binary(&world);
    target.restart(&["--daemon"]);
}

/// Whether it is the program that never says anything.
fn hangs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

/// A restart that stands in its pause: its successor has passed its check and waits, and one initiator is frozen.
struct Waiting {
    running: Running,
    successor: u32,
    load: Load,
    frozen: Initiator,
    web: Initiator,
    target: Target,
}

fn waiting(world: &World) -> Waiting {
    let builder = world.target("stor").file("db1", "16M").file("db2", "16M");
    let target = builder.set("keep-alive", "30s").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let frozen = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    frozen.freeze();
    let words = ["restart", "--daemon", "--pause-timeout", "60s", "--on-pause-timeout", "abort"];
    let running = target.begin(&words);
    target.wait_restart(RestartPhase::Pausing);
    let children = target.children();
    let [successor] = children[..] else { panic!("one successor waits: {children:?}") };
    Waiting { running, successor, load, frozen, web, target }
}

impl Waiting {
    /// The frozen one wakes, the pause completes, and the handover fails: the old process serves again.
    fn fails_and_everybody_shares(self, reason: &str) {
        let pid = self.target.pid();
        self.frozen.thaw();
        let said = self.running.finish(PROMPT).code(1).says(reason).stderr;
        eprintln!("{}", said.lines().last().unwrap_or_default());
        self.target.wait_all_sharing();
        self.load.wait_progress(100);
        self.web.wait_sharing();
        self.frozen.wait_sharing();
        assert_eq!(self.target.pid(), pid, "the old process serves again");
        assert!(self.target.children().is_empty(), "no successor is left");
        let record = self.target.history().pop().expect("a record");
        let outcome = record.outcome.expect("an outcome");
        assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
        assert!(outcome.why.is_some_and(|why| why.contains("successor")));
        // And the next one is as good as any.
        let next = self.target.restart(&["--daemon"]);
        assert_eq!(next.rows.len(), 2);
        self.load.wait_progress(100);
        self.load.finish().clean();
    }
}

/// [PAUSE-9]
#[test]
fn a_successor_that_dies_while_it_waits_leaves_nobody_paused() {
    let world = World::new();
    let scene = waiting(&world);
    let successor = scene.successor;
    send(successor, Signal::KILL);
    wait_until("the successor's end", PROMPT, || !is_running(successor));
    // At once: whoever is frozen is not waited for before others go on.
    scene.load.wait_progress(100);
    scene.fails_and_everybody_shares("the successor ended while it waited");
}

/// [PAUSE-9] It has passed its check, and cannot open anything when its turn comes.
#[test]
fn a_successor_that_cannot_take_over_leaves_nobody_paused() {
    let world = World::new();
    let scene = waiting(&world);
    limit_files(scene.successor, 1);
    scene.fails_and_everybody_shares("the successor ended before it served");
}

/// [PAUSE-9] A disk that went while all were pausing: whoever ordered it reads what the successor found, and the old process
/// serves again as soon as it is back.
#[test]
fn a_successor_whose_disk_went_says_so_to_whoever_ordered_it() {
    let world = World::new();
    let scene = waiting(&world);
    let (disk, aside) = (world.path("db1.img"), world.path("aside.img"));
    std::fs::rename(&disk, &aside).expect("a disk can be moved");
    scene.frozen.thaw();
    wait_until("nobody can serve", PROMPT, || {
        scene.target.try_status().and_then(|status| status.target?.trouble).is_some()
    });
    std::fs::rename(&aside, &disk).expect("a disk can be moved back");
    scene.fails_and_everybody_shares("the successor could not take over: db1: ");
}

/// [PAUSE-9] [CONN-2] The old process and its successor die together in the middle: an ordinary crash.
#[test]
fn both_dying_in_the_middle_is_an_ordinary_crash() {
    let world = World::new();
    let Waiting { running, load, frozen, mut target, web: _web, .. } = waiting(&world);
    target.kill();
    drop(running);
    frozen.thaw();
    target.start();
    load.wait_progress(100);
    target.wait_session("web1", SessionPhase::Sharing);
    target.wait_session("web2", SessionPhase::Sharing);
    let records = wait_for("the restart has an outcome", Duration::from_secs(5), || {
        Some(target.history()).filter(|all| all.iter().all(|record| record.outcome.is_some()))
    });
    assert_eq!(records.len(), 1, "{records:?}");
    load.finish().clean();
}

/// [PAUSE-9] What a restart would lose keeps it from beginning, as long as somebody uses it.
#[test]
fn memory_that_is_attached_pauses_nobody() {
    let world = World::new();
    let target = world.target("stor").backend("db1", "mem:16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    for kind in ["--daemon", "--stop"] {
        let refused = target.lull(&["restart", kind]);
        assert!(!refused.status.success(), "{}", refused.stderr);
        assert!(refused.stderr.contains("\"db1\" is memory and is attached"), "{}", refused.stderr);
    }
    assert_eq!(web.attachment().phase, AttachmentPhase::Sharing);
}

/// [PAUSE-9] Nor does it begin where somebody came to use it while it was being prepared.
#[test]
fn memory_that_is_attached_in_the_middle_of_a_preparation_pauses_nobody() {
    let world = World::new();
    let hangs = "faulty:hang-flush=1+5s:mem:16M";
    let target = world.target("stor").backend("db1", "mem:16M").backend("db2", hangs).start();
    let running = target.begin(&["restart", "--daemon"]);
    wait_until("it is being prepared", PROMPT, || {
        target.log().contains("starting the successor, which checks itself")
    });
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    running.finish(PROMPT).says("\"db1\" is memory and is attached");
    assert_eq!(web.attachment().phase, AttachmentPhase::Sharing);
}
