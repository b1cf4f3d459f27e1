//! Daemons of initiators that are killed while their target is away: whoever outlives them waits no longer than for the one
//! before, and is given what the policy says.

use lull_admin::{AttachmentPhase, Outage, SessionPhase};
use lull_e2e::tools::{run, start};
use lull_e2e::{Initiator, PROMPT, Signal, Use, World, wait_for, wait_until};

/// Kills its daemon and starts another one, which waits for its target.
#[track_caller]
fn another(web: &mut Initiator) -> Outage {
    web.kill();
    web.spawn();
    web.wait_phase(AttachmentPhase::Away).outage.expect("an outage")
}

/// [TIMER-1] [TIMER-5] [INIT-1] However often a daemon is killed, the restart timer is the one that runs. Where nothing of an
/// outage was known there is one all the same. Who was stopped in good order has left nobody who waits.
#[test]
fn those_who_outlive_a_daemon_wait_for_the_next_one_until_the_same_deadline() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let socket = world.path("db1.vhost");
    let one = Use::of(&target, "db1").set("vhost-user", &socket.display().to_string());
    let mut web = world.initiator("web1").uses(one).start();
    web.kill();
    target.kill();
    web.spawn();
    let begun = web.wait_phase(AttachmentPhase::Away).outage.expect("an outage");
    let deadline = begun.deadline.expect("a restart timer");
    wait_until("a monitor finds it", PROMPT, || socket.exists());
    target.start();
    web.wait_sharing();
    target.kill();
    let begun_again = web.wait_phase(AttachmentPhase::Away).outage.expect("another outage");
    let until = begun_again.deadline.expect("a restart timer");
    assert!(until > deadline, "the first one is over");
    for _ in 0..2 {
        let outage = another(&mut web);
        assert!(outage.since.abs_diff(begun_again.since) < 100, "{outage:?} {begun_again:?}");
        assert!(outage.deadline.is_some_and(|at| at.abs_diff(until) < 100), "{outage:?} {until}");
    }
    // The second one does not wait for the target.
    (0..2).for_each(|_| web.process().signal(Signal::TERM));
    wait_until("it has ended", PROMPT, || web.process().ended().is_some());
    web.spawn();
    let status = web.wait_phase(AttachmentPhase::Dialling);
    assert_eq!(status.outage.and_then(|outage| outage.deadline), None, "nobody waits");
}

/// [TIMER-1] [INIT-1] Nor does one that cannot serve them end their wait: it may be mended, and the next one goes on.
#[test]
fn a_daemon_that_cannot_serve_leaves_those_who_wait_to_the_next_one() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let socket = world.path("db1.vhost");
    let one = Use::of(&target, "db1").set("vhost-user", &socket.display().to_string());
    let mut web = world.initiator("web1").uses(one).start();
    target.kill();
    let begun = web.wait_phase(AttachmentPhase::Away).outage.expect("an outage");
    web.kill();
    let in_the_way = world.path("web1-db1.nbd");
    std::fs::remove_file(&in_the_way).expect("its socket");
    std::fs::create_dir(&in_the_way).expect("something else in its place");
    web.spawn();
    wait_until("it cannot serve", PROMPT, || web.log().contains("no front end"));
    (0..2).for_each(|_| web.process().signal(Signal::TERM));
    wait_until("it has ended", PROMPT, || web.process().ended().is_some());
    std::fs::remove_dir(&in_the_way).expect("it is out of the way");
    web.spawn();
    let outage = web.wait_phase(AttachmentPhase::Away).outage.expect("the same outage");
    assert!(outage.since.abs_diff(begun.since) < 100, "{outage:?} {begun:?}");
    let same = outage.deadline.zip(begun.deadline);
    assert!(same.is_some_and(|(one, other)| one.abs_diff(other) < 100), "{outage:?} {begun:?}");
}

/// [TIMER-4] [INIT-1] A daemon that is killed in a pause has heard how long its target will be away, and the next one knows it,
/// although it finds that target gone.
#[test]
fn a_downtime_that_was_announced_is_waited_for_by_the_next_daemon() {
    let world = World::new();
    let stor = world.target("stor").set("keep-alive", "30s");
    let mut target = stor.file("db1", "16M").file("db2", "16M").start();
    let socket = world.path("db1.vhost");
    let one = Use::of(&target, "db1").set("vhost-user", &socket.display().to_string());
    let one = one.set("on-timeout", "error").set("restart-timeout", "2s");
    let mut web = world.initiator("web1").uses(one).start();
    let other = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    // It is waited for, so that the target does not go yet.
    other.freeze();
    let _stop = target.begin(&["restart", "--stop", "--expect", "20s"]);
    target.wait_session("web1", SessionPhase::Paused);
    web.kill();
    target.kill();
    web.spawn();
    let outage = web.wait_phase(AttachmentPhase::Away).outage.expect("an outage");
    let span = outage.deadline.expect("a deadline") - outage.since;
    assert!(span >= 59_000, "three times what was announced: {span} ms");
}

/// [TIMER-1] [CHAIN-1] [INIT-1] While somebody further up is waited for no restart timer ends, nor that of the next daemon,
/// which may be told so late.
#[test]
fn a_hold_in_an_outage_is_waited_out_by_the_next_daemon() {
    let world = World::new();
    let mut top = world.target("top").file("d", "16M").start();
    let middle = world.target("middle").backend("d", &top.uri("d")).start();
    let socket = world.path("d.vhost");
    let one = Use::of(&middle, "d").set("vhost-user", &socket.display().to_string());
    let mut web = world.initiator("web1").uses(one.set("restart-timeout", "20s")).start();
    // Of one that is late nobody can say until when: it is said again and again that it is waited for.
    top.lull(&["restart", "--stop", "--expect", "1s"]).ok();
    top.wait_gone();
    web.wait_phase(AttachmentPhase::Held);
    web.kill();
    web.spawn();
    let deadline = || {
        let one = Some(web.attachment()).filter(|one| one.held_above.is_some())?;
        one.outage?.deadline
    };
    let told = wait_for("a hold", PROMPT, deadline);
    wait_until("it goes on", PROMPT, || deadline().is_some_and(|at| at > told + 1000));
    middle.signal(Signal::STOP);
    let until = deadline().expect("a restart timer");
    let outage = another(&mut web);
    assert!(outage.deadline.is_some_and(|at| at.abs_diff(until) < 100), "{outage:?} {until}");
    middle.process().signal(Signal::CONT);
}

/// [TIMER-1] [TIMER-3] [INIT-1] The policy acts for a mounted file whose daemon was killed, and has acted for the one after that.
#[test]
fn a_policy_acts_for_the_users_of_a_daemon_that_was_killed() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let file = world.path("db1.disk");
    let one = Use::of(&target, "db1").mounted(&file);
    let one = one.set("on-timeout", "error").set("restart-timeout", "6s");
    let mut web = world.initiator("web1").uses(one).start();
    wait_until("the file is there", PROMPT, || file.metadata().is_ok_and(|meta| meta.len() > 0));
    web.wait_mount_kept();
    target.kill();
    let input = format!("if={}", file.display());
    let read = ["of=/dev/null", "bs=4k", "count=1", "iflag=direct", &input];
    let reader = start("dd", &read);
    wait_until("it is held", PROMPT, || web.attachment().held > 0);
    another(&mut web);
    let failed = reader.finish(PROMPT);
    assert!(failed.stderr.contains("Input/output error"), "{failed:?}");
    let expired = |web: &Initiator| web.wait_phase(AttachmentPhase::Expired).outage.expect("one");
    let first = expired(&web);
    web.wait_mount_kept();
    web.kill();
    web.spawn();
    assert!(expired(&web).since.abs_diff(first.since) < 100);
    assert!(run("dd", &read).stderr.contains("Input/output error"), "{}", web.log());
    target.start();
    web.wait_sharing();
    wait_for("it is read again", PROMPT, || run("dd", &read).status.success().then_some(()));
}
