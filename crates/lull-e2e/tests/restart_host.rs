//! `lull restart --host`, as far as it can be seen without a host that goes down: the rest is in the lab.

use lull_admin::{OutcomeKind, RestartKind, TargetPhase};
use lull_e2e::{PROMPT, Use, World, wait_until};

/// The host's end of the process is what the command brings about; here it does so itself.
const ENDS_THE_TARGET: &str = "kill -TERM $PPID";

#[test]
fn a_host_that_is_restarted_ends_its_target_and_the_record_says_so() {
    let world = World::new();
    let mut target =
        world.target("stor").file("db1", "1M").set("reboot-command", ENDS_THE_TARGET).start();
    let said = target.lull(&["restart", "--host"]).ok();
    assert!(said.stderr.contains("this host goes down"), "{said:?}");
    target.wait_gone();
    target.start();
    wait_until("the restart has its outcome", PROMPT, || {
        target.history().iter().any(|record| record.outcome.is_some())
    });
    let record = target.history().pop().expect("a restart");
    assert_eq!(record.kind, RestartKind::Host);
    assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
}

#[test]
fn a_command_that_does_not_restart_the_host_is_a_restart_that_has_failed() {
    let world = World::new();
    let target = world.target("stor").file("db1", "1M").set("reboot-command", "exit 7").start();
    let said = target.lull(&["restart", "--host"]).code(1);
    assert!(said.stderr.contains("exit 7") && said.stderr.contains("status: 7"), "{said:?}");
    target.restart(&["--daemon"]);
}

/// [PAUSE-6] Unlike a pause that is ended, of which nothing more was wanted.
#[test]
fn a_restart_of_the_host_that_is_given_up_while_all_are_paused_is_not_completed() {
    let world = World::new();
    let target = world.target("stor").file("db1", "1M").set("reboot-command", "true").start();
    let restart = target.begin(&["restart", "--host"]);
    wait_until("all are paused", PROMPT, || target.status().phase == TargetPhase::Paused);
    let told = target.lull(&["abort"]).ok();
    assert!(told.stderr.contains("it goes down all the same"), "its command is done: {told:?}");
    let said = restart.finish(PROMPT).code(1);
    assert!(said.stderr.contains("an operator gave it up"), "{said:?}");
    let record = target.history().pop().expect("a restart");
    assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Aborted));
}

/// [PAUSE-6] What can be taken back of it is.
#[test]
fn a_command_that_runs_while_its_restart_is_given_up_is_ended_and_named() {
    let world = World::new();
    let done = world.path("done");
    // The shell has a child, which would go on without it.
    let command = format!("sleep 600; touch {}", done.display());
    let target = world.target("stor").file("db1", "1M").set("reboot-command", &command).start();
    let restart = target.begin(&["restart", "--host"]);
    let runs = || target.log().contains("running: sleep 600");
    wait_until("its command runs", PROMPT, runs);
    wait_until("as a child", PROMPT, || !target.children().is_empty());
    let told = target.lull(&["abort"]).ok();
    assert!(told.stderr.contains("was ended before it was done"), "{told:?}");
    restart.finish(PROMPT).code(1).says("an operator gave it up");
    wait_until("it has ended", PROMPT, || target.children().is_empty());
    assert!(!done.exists());
    let events = target.lull(&["events"]).ok().stdout;
    assert!(events.contains("`sleep 600; touch"), "it is on record: {events}");
}

#[test]
fn a_host_whose_own_initiator_has_one_of_the_disks_is_not_paused_for_its_restart() {
    let world = World::new();
    let target = world.target("stor").file("db1", "1M").set("reboot-command", "true").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let said = target.lull(&["restart", "--host"]).code(1);
    assert!(said.stderr.contains("its own target (web1)"), "{said:?}");
    assert!(said.stderr.contains("systemctl reboot"), "{said:?}");
    assert!(target.history().is_empty());
    drop(web);
}
