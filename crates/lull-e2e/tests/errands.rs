//! A restart's command that does not end: who runs it says so, and nobody serves beside it.

use lull_admin::OutcomeKind;
use lull_e2e::{
    Initiator, PROMPT, Running, Signal, Target, Use, World, is_running, send, wait_for, wait_until,
};

/// A target whose restart's command sleeps in a process of its own, which is the third.
fn asleep(world: &World, target: &Target) -> (Running, u32) {
    let number = world.path("asleep");
    let command = format!("sh -c 'echo $$ > {}; exec sleep 1000'; true", number.display());
    let running = target.begin(&["restart", "--exec", &command]);
    let sleeper = wait_for("the command runs", PROMPT, || {
        std::fs::read_to_string(&number).ok()?.trim().parse().ok()
    });
    (running, sleeper)
}

fn one(world: &World) -> (Target, Initiator) {
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    (target, web)
}

/// [TIMER-5] Status names it and the way to end it; that ends all of it, and the target serves as after one that failed.
#[test]
fn a_restarts_command_that_hangs_is_ended_by_an_abort() {
    let world = World::new();
    let (target, web) = one(&world);
    let (running, sleeper) = asleep(&world, &target);
    let text = target.lull(&["status"]).ok().stdout;
    let shell = rustix::process::getpgid(rustix::process::Pid::from_raw(sleeper.cast_signed()));
    let named = format!("process {}: sh -c", shell.expect("it runs"));
    assert!(text.contains(&named) && text.contains("`lull abort"), "{text}");
    target.lull(&["abort"]).ok().says("everybody goes on").says("SIGTERM");
    running.finish(PROMPT).code(1).says("the command failed (an operator ended it)");
    web.wait_sharing();
    assert!(!is_running(sleeper), "it is ended with its shell");
}

/// [SAFE-6] A target that is told to end takes the command with it, and who has ordered the restart hears of it.
#[test]
fn a_restarts_command_ends_with_its_target() {
    let world = World::new();
    let (mut target, web) = one(&world);
    let (running, sleeper) = asleep(&world, &target);
    target.signal(Signal::TERM);
    target.wait_gone();
    assert!(!is_running(sleeper), "it is ended with its target");
    running.finish(PROMPT).code(4).says("the target's process has ended").says("start it again");
    target.start();
    web.wait_sharing();
}

/// [SAFE-6] A target that is killed leaves it behind. Whoever comes next does not serve what that may still change, and
/// does not say that it was done.
#[test]
fn nobody_serves_beside_a_restarts_command_that_outlives_its_target() {
    let world = World::new();
    let (mut target, web) = one(&world);
    let (_running, sleeper) = asleep(&world, &target);
    target.kill();
    assert!(is_running(sleeper), "it is left to finish");
    target.spawn();
    assert!(!target.process().wait(PROMPT).success());
    let log = target.log();
    assert!(log.contains("the command of a restart still runs"), "{log}");
    send(sleeper, Signal::KILL);
    wait_until("it is gone", PROMPT, || !is_running(sleeper));
    target.start();
    web.wait_sharing();
    let outcome = wait_for("the restart has its outcome", PROMPT, || {
        target.history().pop().and_then(|record| record.outcome)
    });
    assert_eq!(outcome.kind, OutcomeKind::Failed, "{outcome:?}");
    assert!(outcome.why.is_some_and(|why| why.contains("nobody knows")));
}
