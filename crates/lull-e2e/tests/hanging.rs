//! A disk that does not answer once everybody is paused.

use lull_admin::{AttachmentPhase, OutcomeKind, RestartPhase, TargetPhase};
use lull_e2e::{Initiator, Load, PROMPT, Shape, Signal, Target, Use, World, wait_for};

/// The flushes in advance of a restart, the most there are: each takes so long that another one follows, on any machine.
const IN_ADVANCE: u32 = 4;

/// A target whose disk takes very long for its flush of that number, and two initiators that have nothing to flush.
fn scene(world: &World, number: u32) -> (Target, [Initiator; 2]) {
    let disk =
        |name: &str| format!("file:{},size=16M", world.path(&format!("{name}.img")).display());
    let hangs = format!("faulty:delay=25ms,hang-flush={number}+3000s:{}", disk("db1"));
    let builder = world.target("stor").set("pause-timeout", "3s").backend("db1", &hangs);
    let target = builder.backend("db2", &disk("db2")).start();
    let one = |name: &str, disk: &str| world.initiator(name).uses(Use::of(&target, disk)).start();
    let initiators = [one("web1", "db1"), one("web2", "db2")];
    (target, initiators)
}

/// [PAUSE-10] [TIMER-5] A disk that hangs after the last PAUSE COMPLETE is named, and the pause is given up with the
/// timer.
#[test]
fn a_restart_over_a_disk_that_hangs_is_given_up_by_name() {
    let world = World::new();
    let (target, webs) = scene(&world, IN_ADVANCE + 1);
    let words = ["restart", "--daemon", "--on-pause-timeout", "abort"];
    let running = target.begin(&words);
    let settling = target.wait_restart(RestartPhase::Settling);
    let waits = wait_for("what it waits for is named", PROMPT, || {
        let restart = target.try_status()?.target?.restart?;
        restart.waits.into_iter().find(|wait| wait.what.contains("db1"))
    });
    assert_eq!(waits.for_whom, "stor");
    assert!(waits.then.contains("abort"), "{waits:?}");
    assert!(waits.deadline.is_some_and(|until| until > settling.started), "{waits:?}");
    let said = running.finish(PROMPT).code(3).says("db1").stderr;
    let last = said.lines().last().unwrap_or_default();
    assert!(!last.contains("db2"), "the other one is flushed: {last}");
    eprintln!("{said}");
    for web in &webs {
        web.wait_phase(AttachmentPhase::Sharing);
    }
    // The other disk is used as ever.
    Load::start(&webs[1].nbd(), Shape::default()).finish().clean();
}

/// [PAUSE-10] Somebody who is asked about the disk may go on without it. [PAUSE-9] What is flushed in advance is before.
#[test]
fn who_is_asked_about_a_disk_that_hangs_may_proceed() {
    let world = World::new();
    let (mut target, webs) = scene(&world, IN_ADVANCE + 1);
    let order = lull_admin::RestartOrder {
        kind: lull_admin::RestartKind::Stop,
        interactive: true,
        ..lull_admin::RestartOrder::default()
    };
    let started = target.call(async |client| client.restart(&order).await).expect("an order");
    let asking = target.wait_restart(RestartPhase::Asking).question.expect("a question");
    assert_eq!(asking.not_ready.len(), 1, "{asking:?}");
    assert_eq!(asking.not_ready[0].attachment, "db1");
    let answered =
        target.call(async |client| client.decide(started.id, lull_admin::Decision::Proceed).await);
    answered.expect("an answer");
    assert!(target.process().wait(PROMPT).success());
    target.start();
    for web in &webs {
        web.wait_phase(AttachmentPhase::Sharing);
    }
}

/// [PAUSE-10] A host that goes down does not wait for its disk beyond the timer.
#[test]
fn a_terminated_target_goes_without_a_disk_that_hangs() {
    let world = World::new();
    let (mut target, webs) = scene(&world, 1);
    target.signal(Signal::TERM);
    let phase = |target: &Target| target.try_status()?.target.map(|target| target.phase);
    wait_for("it makes everything durable", PROMPT, || {
        (phase(&target) == Some(TargetPhase::Settling)).then_some(())
    });
    assert!(target.process().wait(PROMPT).success());
    target.start();
    for web in &webs {
        web.wait_phase(AttachmentPhase::Sharing);
    }
    let outcome =
        wait_for("the restart has its outcome", PROMPT, || target.history().pop()?.outcome);
    assert_eq!(outcome.kind, OutcomeKind::Completed, "{outcome:?}");
}
