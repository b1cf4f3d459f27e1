//! The policy that shuts the host down: what goes before it, and who cancels it.

use crate::alone::{Alone, attached, connect, pause, resume, welcome};
use crate::pair::{Node, Pair, config};
use lull_proto::initiator::{Action, Config, Event, Phase, Policy, Report};
use lull_wire::messages::{Attached, Disconnect, Pong};
use lull_wire::{DisconnectCode, Incarnation, Kind, Message, OpCode, RestartId, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sharing() -> Alone {
    let mut alone = Alone::new(Config { policy: Policy::Shutdown, ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    alone
}

/// Lost, with a request held, and past the restart timer: the hook runs.
fn preparing() -> Alone {
    prepares(sharing())
}

fn prepares(mut alone: Alone) -> Alone {
    alone.lose();
    alone.submit(OpCode::Write, 1);
    while count(&alone, &Action::PrepareShutdown(lull_proto::initiator::Timer::Restart)) == 0 {
        let wait = alone.machine.deadline().unwrap().since(alone.now);
        alone.pass(wait);
    }
    alone
}

fn count(alone: &Alone, wanted: &Action) -> usize {
    alone.actions.iter().filter(|action| *action == wanted).count()
}

/// How many shutdowns were cancelled, and have begun.
fn outcome(alone: &Alone) -> (usize, usize) {
    (count(alone, &Action::CancelShutdown), count(alone, &Action::ShutDown))
}

/// The dial that waits is made, and its target is back up to READY.
fn comes_back(alone: &mut Alone, epoch: u64) {
    dials(alone);
    alone.attaches(epoch);
}

fn dials(alone: &mut Alone) {
    while alone.machine.phase() != Phase::Dialling {
        let wait = alone.machine.deadline().unwrap().since(alone.now);
        alone.pass(wait);
    }
    alone.connects();
}

/// [TIMER-2] What is held fails before anything else is done, and nothing is held while the host goes down.
#[test]
fn held_requests_fail_before_the_shutdown_is_prepared() {
    let mut alone = preparing();
    let place = |wanted: &dyn Fn(&Action) -> bool| alone.actions.iter().position(wanted).unwrap();
    let failed = place(&|action| matches!(action, Action::Answer { status: StatusCode::Io, .. }));
    let prepared = place(&|action| matches!(action, Action::PrepareShutdown(_)));
    assert!(failed < prepared);
    let slot = alone.submit(OpCode::Read, 2);
    assert_eq!(alone.answers().last(), Some(&(slot, StatusCode::Io)));
}

/// [TIMER-2] The command follows what goes before it, once.
#[test]
fn the_command_runs_after_the_hook_and_once() {
    let mut alone = preparing();
    alone.pass(30 * SECOND);
    assert_eq!(outcome(&alone), (0, 0), "the hook has not ended");
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (0, 1));
    alone.handle(Event::Prepared);
    alone.pass(600 * SECOND);
    assert_eq!(outcome(&alone), (0, 1));
}

/// [TIMER-2] [TIMER-3] A target that is back before the command cancels it, and sharing goes on.
#[test]
fn a_return_before_the_point_of_no_return_cancels() {
    let mut alone = preparing();
    comes_back(&mut alone, 2);
    alone.receive(resume(0));
    assert_eq!(outcome(&alone), (1, 0));
    assert!(alone.reported(|report| matches!(report, Report::ShutdownCancelled)));
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (1, 0), "what was begun leads to nothing");
    assert_eq!(alone.machine.phase(), Phase::Sharing);
}

/// [TIMER-3] A target that comes after it is served all the same.
#[test]
fn a_return_after_the_point_of_no_return_is_welcome_and_cancels_nothing() {
    let mut alone = preparing();
    alone.handle(Event::Prepared);
    comes_back(&mut alone, 2);
    alone.receive(resume(0));
    assert_eq!(outcome(&alone), (0, 1));
    let before = alone.transmitted().len();
    alone.submit(OpCode::Read, 1);
    assert_eq!(alone.transmitted().len(), before + 1);
}

/// [TIMER-2] While the target is on its way back the command waits: for RESUME, or for the target to be gone again.
#[test]
fn a_target_on_its_way_back_is_waited_for() {
    let mut alone = preparing();
    comes_back(&mut alone, 2);
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (0, 0));
    let mut again = alone.clone();
    alone.receive(resume(0));
    assert_eq!(outcome(&alone), (1, 0));
    again.lose();
    assert_eq!(outcome(&again), (0, 1), "gone again");
}

/// [TIMER-2] [TIMER-6] One that is back and does not let it go on has the resume timer's time, and no more.
#[test]
fn a_target_that_never_resumes_does_not_hold_the_shutdown_up_for_ever() {
    let mut alone = preparing();
    comes_back(&mut alone, 2);
    alone.handle(Event::Prepared);
    for _ in 0..59 {
        alone.pass(SECOND);
        alone.receive(Pong { token: 0 }.into());
    }
    alone.actions.clear();
    alone.pass(2 * SECOND);
    let probe = alone.sent(Kind::Ping).into_iter().find_map(|ping| match ping {
        Message::Ping(ping) => Some(ping.token),
        _ => None,
    });
    assert_eq!(outcome(&alone), (0, 0), "one more round");
    alone.receive(Pong { token: probe.expect("it asks") }.into());
    assert_eq!(outcome(&alone), (0, 1));
}

/// [TIMER-2] [TIMER-4] [PAUSE-8] A target that is back and announces a restart has returned.
#[test]
fn an_announced_restart_cancels() {
    let mut alone = preparing();
    comes_back(&mut alone, 2);
    alone.receive(pause(7));
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (0, 0));
    let (restart, code) = (RestartId(7), DisconnectCode::Restart);
    let (resource, where_to, detail) = Default::default();
    alone.receive(
        Disconnect { restart, code, downtime_ms: 5000, resource, where_to, detail }.into(),
    );
    assert_eq!(outcome(&alone), (1, 0));
    alone.pass(60 * SECOND);
    assert_eq!(outcome(&alone), (1, 0), "its own timer runs");
}

/// [PAUSE-8] Nor does a host go down whose replay a pause waits for.
#[test]
fn a_pause_in_a_replay_is_no_reason_to_go_down() {
    let mut alone = replaying_in_a_pause();
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (0, 0));
}

/// It has come back to another life of the disk, which asks for a pause at once.
fn replaying_in_a_pause() -> Alone {
    let mut written = sharing();
    written.write_answered();
    let mut alone = prepares(written);
    dials(&mut alone);
    alone.receive(welcome());
    alone.receive(connect());
    alone.incarnation = Incarnation([2; 16]);
    alone.receive(Attached { incarnation: alone.incarnation, ..attached(2) }.into());
    alone.receive(pause(7));
    assert_eq!(alone.machine.phase(), Phase::Replaying);
    alone
}

/// [PAUSE-8] [TIMER-2] What was prepared in a pause is not forgotten: when that is given up, nobody has let it go on and the
/// target is gone again, nothing is left to wait for.
#[test]
fn what_was_prepared_in_a_pause_counts_after_it() {
    let mut alone = replaying_in_a_pause();
    let number = alone.transmitted().last().unwrap().number;
    alone.reply(number, StatusCode::NotExecuted);
    assert_eq!(alone.machine.phase(), Phase::Paused, "its replay could not be passed on");
    alone.handle(Event::Prepared);
    alone.receive(resume(7));
    assert_eq!((alone.machine.phase(), outcome(&alone)), (Phase::Replaying, (0, 0)));
    alone.lose();
    assert_eq!(outcome(&alone), (0, 1));
}

/// [TIMER-2] A refused return is none.
#[test]
fn a_refused_return_does_not_cancel() {
    let mut alone = preparing();
    while alone.machine.phase() != Phase::Dialling {
        let wait = alone.machine.deadline().unwrap().since(alone.now);
        alone.pass(wait);
    }
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.handle(Event::Prepared);
    assert_eq!(outcome(&alone), (0, 0));
    alone.lose();
    assert_eq!(outcome(&alone), (0, 1));
}

/// [TIMER-2] An attachment that its operator ends, or that is evicted, shuts nothing down.
#[test]
fn an_attachment_that_ends_cancels() {
    let mut alone = preparing();
    alone.handle(Event::Detach { at_once: true });
    assert_eq!(outcome(&alone), (1, 0));
}

/// [TIMER-3] In a whole world: cancelled by a return, and the next outage is another one.
#[test]
fn each_outage_has_its_own_shutdown() {
    let mut pair = Pair::new(1);
    let restart_timeout = 10 * SECOND;
    let policy = Policy::Shutdown;
    let config = Config { policy, restart_timeout, ..pair.nodes[0].config.clone() };
    pair.nodes[0] = Node::new(config, 0);
    pair.begin_all();
    pair.downtime = None;
    pair.crash();
    pair.run(30 * SECOND);
    pair.start(RestartId(0));
    pair.until_all_share();
    assert_eq!(pair.nodes[0].shutdowns, [1, 1, 0]);
    pair.crash();
    pair.run(30 * SECOND);
    pair.tell(0, Event::Prepared);
    assert_eq!(pair.nodes[0].shutdowns, [2, 1, 1]);
}
