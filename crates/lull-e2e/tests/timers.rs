//! The initiator's own timers: what each policy does when a target stays away, and that a late return still counts.

use std::time::Duration;

use lull_admin::{AttachmentPhase, AttachmentStatus, TimeoutPolicy};
use lull_e2e::{
    Initiator, Load, PROMPT, Shape, Signal, Target, Use, Withhold, World, wait_for, wait_until,
};

/// One target, one initiator with a short timer and this policy, and a load.
fn one(world: &World, policy: &str) -> (Target, Initiator, Load) {
    let target = world.target("stor").file("db1", "16M").start();
    let one = Use::of(&target, "db1").set("on-timeout", policy).set("hold", "10m");
    let one = one.set("restart-timeout", "1s").set("resume-timeout", "1s");
    let web = world.initiator("web1").uses(one).start();
    let load = Load::start(&web.nbd(), Shape::default());
    (target, web, load)
}

/// Waits until the timer has ended and the policy has run.
fn expired(web: &Initiator) -> AttachmentStatus {
    wait_for("the timer has ended", PROMPT, || {
        let attachment = web.attachment();
        attachment.outage.as_ref().is_some_and(|outage| outage.expired).then_some(attachment)
    })
}

/// [TIMER-1] [TIMER-3] [TIMER-5]
#[test]
fn wait_holds_on_after_the_restart_timer_and_goes_on_at_a_late_return() {
    let world = World::new();
    let (mut target, web, load) = one(&world, "wait");
    target.kill();
    let attachment = expired(&web);
    let outage = attachment.outage.clone().expect("an outage");
    assert_eq!(outage.policy, TimeoutPolicy::Wait);
    assert_eq!(attachment.phase, AttachmentPhase::Expired);
    assert!(attachment.held > 0, "it holds on: {attachment:?}");
    let wait = attachment.waits_for.expect("no hold without an owner");
    assert!(wait.for_whom.contains("stor"), "{wait:?}");
    assert_eq!(load.errors(), 0);
    target.start();
    load.wait_progress(100);
    load.finish().clean();
}

/// [TIMER-1] [TIMER-3]
#[test]
fn error_fails_requests_after_the_restart_timer_and_serves_again_at_a_late_return() {
    let world = World::new();
    let (mut target, web, load) = one(&world, "error");
    target.kill();
    wait_until("errors reach the consumer", PROMPT, || load.errors() > 10);
    let attachment = expired(&web);
    assert_eq!(attachment.held, 0, "nothing is held: {attachment:?}");
    assert_eq!(attachment.outage.map(|outage| outage.policy), Some(TimeoutPolicy::Error));
    target.start();
    load.wait_progress(100);
    web.wait_sharing();
    let errors = load.errors();
    load.wait_progress(500);
    assert_eq!(load.errors(), errors, "no error after the return");
    load.finish().right();
}

/// [TIMER-1] [TIMER-3] The command runs once, and requests are held on.
#[test]
fn a_hook_runs_once_after_the_restart_timer_and_requests_are_held_on() {
    let world = World::new();
    let seen = world.path("seen");
    let (mut target, web, load) = one(&world, &format!("hook:echo gone >> {}", seen.display()));
    target.kill();
    let read = || std::fs::read_to_string(&seen).unwrap_or_default();
    wait_until("the command has run", PROMPT, || read() == "gone\n");
    let attachment = expired(&web);
    assert!(attachment.held > 0, "{attachment:?}");
    target.start();
    load.wait_progress(100);
    assert_eq!(read(), "gone\n", "it ran once");
    // A second outage is another one.
    target.kill();
    wait_until("the command has run again", PROMPT, || read() == "gone\ngone\n");
    target.start();
    load.wait_progress(100);
    load.finish().clean();
}

/// [TIMER-4] A stop that was announced as longer is not cut short by the timer of unannounced losses.
#[test]
fn an_announced_downtime_is_waited_for() {
    let world = World::new();
    let (mut target, web, load) = one(&world, "error");
    target.lull(&["restart", "--stop", "--expect", "20s"]).ok();
    target.wait_gone();
    let outage = web.attachment().outage.expect("an outage");
    let span = outage.deadline.expect("a deadline") - outage.since;
    assert!(span >= 59_000, "three times what was announced: {span} ms");
    wait_until("the short timer would have ended", PROMPT, || {
        let status = web.try_status().expect("it answers");
        status.at > outage.since + 2_500
    });
    assert_eq!(load.errors(), 0);
    target.start();
    load.wait_progress(100);
    load.finish().clean();
}

/// An initiator whose target has come back and does not let it go on: CONNECT has come, RESUME does not.
struct Unresumed {
    load: Load,
    web: Initiator,
    proxy: Withhold,
    target: Target,
}

fn unresumed(world: &World, policy: &str) -> Unresumed {
    let target = world.target("stor").file("db1", "16M").start();
    let proxy = Withhold::start(world.path("proxy.sock"), target.listen());
    let one = Use::at(&proxy.addr(), "db1").set("on-timeout", policy).set("hold", "10m");
    // The restart timer is so long that only the resume timer can end.
    let one = one.set("restart-timeout", "10m").set("resume-timeout", "1s");
    let web = world.initiator("web1").uses(one).start();
    let load = Load::start(&web.nbd(), Shape::default());
    proxy.close();
    let running = target.begin(&["restart", "--daemon"]);
    wait_until("RESUME is kept back", PROMPT, || proxy.keeps_any());
    drop(running);
    Unresumed { load, web, proxy, target }
}

/// [TIMER-1] [TIMER-3]
#[test]
fn wait_holds_on_after_the_resume_timer_and_goes_on_at_a_late_resume() {
    let world = World::new();
    let Unresumed { load, web, proxy, target } = unresumed(&world, "wait");
    let attachment = expired(&web);
    assert!(attachment.held > 0, "it holds on: {attachment:?}");
    let outage = attachment.outage.expect("an outage");
    assert_eq!(outage.policy, TimeoutPolicy::Wait);
    proxy.open();
    load.wait_progress(100);
    target.wait_all_sharing();
    load.finish().clean();
}

/// [TIMER-1] [TIMER-3] [TIMER-6]
#[test]
fn error_fails_requests_after_the_resume_timer_and_serves_again_at_a_late_resume() {
    let world = World::new();
    let Unresumed { load, web, proxy, target: _target } = unresumed(&world, "error");
    wait_until("errors reach the consumer", PROMPT, || load.errors() > 10);
    assert_eq!(expired(&web).held, 0);
    proxy.open();
    web.wait_sharing();
    load.wait_progress(100);
    let errors = load.errors();
    load.wait_progress(500);
    assert_eq!(load.errors(), errors, "no error after the resume");
    load.finish().right();
}

/// [TIMER-1] [TIMER-3]
#[test]
fn a_hook_runs_once_after_the_resume_timer_and_requests_are_held_on() {
    let world = World::new();
    let seen = world.path("seen");
    let policy = format!("hook:echo stuck >> {}", seen.display());
    let Unresumed { load, web, proxy, target: _target } = unresumed(&world, &policy);
    let read = || std::fs::read_to_string(&seen).unwrap_or_default();
    wait_until("the command has run", PROMPT, || read() == "stuck\n");
    assert!(expired(&web).held > 0);
    proxy.open();
    load.wait_progress(100);
    assert_eq!(read(), "stuck\n", "it ran once");
    load.finish().clean();
}

/// A frozen target accepts connections, so that each dial is up to its limit.
const FROZEN: Duration = Duration::from_secs(40);

/// [CONN-6] [TIMER-6] A target that was suspended is lost, and one that wakes is back.
#[test]
fn a_frozen_target_is_lost_and_comes_back() {
    let world = World::new();
    let (target, web, load) = one(&world, "error");
    let pid = target.pid();
    target.signal(Signal::STOP);
    let lost = wait_for("the loss is known", FROZEN, || web.attachment().outage);
    eprintln!("lost: {lost:?}");
    wait_until("errors reach the consumer", FROZEN, || load.errors() > 10);
    target.process().signal(Signal::CONT);
    web.wait_sharing();
    assert_eq!(target.pid(), pid);
    load.wait_progress(100);
    let errors = load.errors();
    load.wait_progress(500);
    assert_eq!(load.errors(), errors);
    load.finish().right();
}
