//! The policy that shuts the using host down, with commands that only write into a file.

use std::path::PathBuf;

use lull_admin::{AttachmentStatus, HookOutcome, ShutdownPhase};
use lull_e2e::{Initiator, Load, PROMPT, Shape, Target, Use, World, wait_for, wait_until};

/// A host whose shutdown writes `down` into a file, and its last resort `forced`.
struct Stage {
    world: World,
    seen: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let seen = world.path("seen");
        Self { world, seen }
    }

    fn writes(&self, word: &str) -> String {
        format!("echo {word} >> {}", self.seen.display())
    }

    fn seen(&self) -> String {
        std::fs::read_to_string(&self.seen).unwrap_or_default()
    }

    /// A target, an initiator that uses its disk with this hook and this command, and a load.
    fn begin(&self, hook: &str, command: &str) -> (Target, Initiator, Load) {
        let target = self.world.target("stor").file("db1", "16M").start();
        let web = self.world.initiator("web1").uses(with_hook(&target, "db1", hook));
        let web = web.set("shutdown-command", command).set("shutdown-deadline", "2s");
        let web = web.set("shutdown-last-resort", &self.writes("forced")).start();
        let load = Load::start(&web.nbd(), Shape::default());
        (target, web, load)
    }
}

fn with_hook(target: &Target, resource: &str, hook: &str) -> Use {
    with_hook_of(target, resource, hook, "10s")
}

/// An attachment with this hook, and this time for it.
fn with_hook_of(target: &Target, resource: &str, hook: &str, limit: &str) -> Use {
    let one = Use::of(target, resource).set("on-timeout", &format!("shutdown:{hook}"));
    let one = one.set("restart-timeout", "1s").set("resume-timeout", "1s");
    one.set("hold", "10m").set("hook-timeout", limit)
}

/// Waits until the shutdown is so far.
fn phase(web: &Initiator, phase: ShutdownPhase) -> AttachmentStatus {
    wait_for(&format!("the shutdown is {phase}"), PROMPT, || {
        let attachment = web.attachment();
        attachment.shutdown.as_ref().is_some_and(|down| down.phase == phase).then_some(attachment)
    })
}

/// [TIMER-1] [TIMER-2]
#[test]
fn held_requests_fail_then_the_hook_runs_then_the_command() {
    let stage = Stage::new();
    let hook = stage.writes("$LULL_POLICY $LULL_TIMER $LULL_ATTACHMENT");
    let (mut target, web, load) = stage.begin(&hook, &stage.writes("down"));
    target.kill();
    wait_until("errors reach the consumer", PROMPT, || load.errors() > 10);
    let attachment = phase(&web, ShutdownPhase::Begun);
    assert_eq!(attachment.held, 0, "nothing blocks: {attachment:?}");
    let hook = attachment.hook.expect("it ran");
    assert_eq!((hook.outcome, hook.why), (HookOutcome::Done, None));
    wait_until("the command has run", PROMPT, || stage.seen() == "shutdown restart db1\ndown\n");
    // It is told why where the lost disk is not needed.
    let file = web.state_dir().join("db1.shutdown.log");
    wait_until("the reason is kept", PROMPT, || {
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        kept.contains("shutdown_prepared") && kept.contains("to be shut down")
    });
    assert!(web.log().contains("db1: this host is to be shut down"), "{}", web.log());
    load.finish().right();
}

/// [TIMER-2] [TIMER-3]
#[test]
fn a_return_while_the_hook_runs_cancels_the_shutdown() {
    let stage = Stage::new();
    let go = stage.world.path("go");
    let hook =
        format!("until test -e {}; do sleep 0.05; done; {}", go.display(), stage.writes("hook"));
    let (mut target, web, load) = stage.begin(&hook, &stage.writes("down"));
    target.kill();
    let attachment = phase(&web, ShutdownPhase::Preparing);
    assert_eq!(attachment.hook.map(|hook| hook.outcome), Some(HookOutcome::Running));
    target.start();
    web.wait_sharing();
    assert_eq!(web.attachment().shutdown, None);
    std::fs::write(&go, "").expect("written");
    wait_until("the hook ends all the same", PROMPT, || {
        web.attachment().hook.is_some_and(|hook| hook.outcome == HookOutcome::Done)
    });
    load.wait_progress(500);
    assert_eq!(stage.seen(), "hook\n");
    assert!(web.log().contains("this host stays up"), "{}", web.log());
    load.finish().right();
}

/// [TIMER-2] Neither a hook that hangs nor what it has started holds the shutdown up.
#[test]
fn a_hook_that_hangs_is_killed_and_the_shutdown_goes_on() {
    let stage = Stage::new();
    let mut target = stage.world.target("stor").file("db1", "16M").start();
    let hook = format!("echo begins; (sleep 1000; {}) & sleep 1000", stage.writes("late"));
    let one = with_hook_of(&target, "db1", &hook, "1s");
    let web = stage.world.initiator("web1").uses(one);
    let web = web.set("shutdown-command", &stage.writes("down")).start();
    target.kill();
    wait_until("the command has run", PROMPT, || stage.seen() == "down\n");
    let hook = web.attachment().hook.expect("it ran");
    assert_eq!(hook.outcome, HookOutcome::Failed);
    assert!(hook.why.is_some_and(|why| why.contains("was killed")));
    assert_eq!(hook.output, ["begins"]);
}

/// [TIMER-2] The deadline is hard: a host that is still up then is forced down.
#[test]
fn a_command_that_fails_or_hangs_is_followed_by_the_last_resort() {
    for command in ["exit 3", "sleep 1000"] {
        let stage = Stage::new();
        let (mut target, web, load) = stage.begin("true", command);
        target.kill();
        wait_until("the last resort has run", PROMPT, || stage.seen() == "forced\n");
        phase(&web, ShutdownPhase::Failed);
        // A test's host stays up; who uses it further is served.
        target.start();
        load.wait_progress(100);
        web.wait_sharing();
        assert_eq!(web.attachment().shutdown, None);
        load.finish().right();
    }
}

/// [TIMER-2] One host is shut down once, whichever of its disks is lost.
#[test]
fn two_lost_disks_shut_the_host_down_once() {
    let stage = Stage::new();
    let mut target = stage.world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let web = stage.world.initiator("web1").set("shutdown-command", &stage.writes("down"));
    let web = web.uses(with_hook(&target, "db1", "true")).uses(with_hook(&target, "db2", "true"));
    let web = web.start();
    target.kill();
    for name in ["db1", "db2"] {
        wait_until(&format!("{name} wants it"), PROMPT, || {
            let down = web.attachment_named(name).shutdown;
            down.is_some_and(|down| down.phase == ShutdownPhase::Begun)
        });
    }
    wait_until("the command has run", PROMPT, || !stage.seen().is_empty());
    assert_eq!(stage.seen(), "down\n");
}
