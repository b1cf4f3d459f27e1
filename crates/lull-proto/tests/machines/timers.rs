//! The restart timer, the resume timer, and what runs at their end.

use crate::alone::{Alone, attached, connect, disconnect, pause, resume, welcome};
use crate::holding::{comes_back, pass};
use crate::pair::{Node, Pair, config};
use lull_proto::Violation;
use lull_proto::initiator::{Action, Config, Event, Expiry, Phase, Policy, Report, Timer, WINDOW};
use lull_wire::messages::{Attached, Detached, Disconnect, Pong, Refused, Reply, Resized, Welcome};
use lull_wire::{
    DisconnectCode, Epoch, Incarnation, InstanceId, Kind, Message, OpCode, RefusalCode,
    RequestNumber, ResourceId, Retry, StatusCode, Tenure,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn with_policy(policy: Policy) -> Pair {
    let mut pair = Pair::new(1);
    let restart_timeout = 10 * SECOND;
    let config = Config { policy, restart_timeout, ..pair.nodes[0].config.clone() };
    pair.nodes[0] = Node::new(config, 0);
    pair.begin_all();
    pair.downtime = None;
    pair
}

fn expired(pair: &Pair) -> usize {
    let is = |report: &&Report| matches!(report, Report::Expired { .. });
    pair.nodes[0].reports.iter().filter(is).count()
}

/// [TIMER-1] [TIMER-3] Each policy does what it says, once; a late CONNECT works after each.
#[test]
fn each_policy_runs_once_and_can_be_left() {
    for policy in [Policy::Wait, Policy::Error, Policy::Hook, Policy::Shutdown] {
        let mut pair = with_policy(policy);
        pair.crash();
        pair.write(0, 1);
        pair.run(9 * SECOND);
        assert_eq!(expired(&pair), 0);
        pair.run(60 * SECOND);
        assert_eq!(expired(&pair), 1);
        pair.write(0, 2);
        let failed = if matches!(policy, Policy::Error | Policy::Shutdown) { 2 } else { 0 };
        assert_eq!(pair.nodes[0].errors(), failed, "{policy:?}");
        assert_eq!(pair.nodes[0].hooks.len(), usize::from(policy == Policy::Hook));
        assert_eq!(pair.nodes[0].shutdowns, [usize::from(policy == Policy::Shutdown), 0, 0]);
        pair.start(lull_wire::RestartId(0));
        pair.until_all_share();
        pair.write(0, 3);
        pair.finish();
        assert_eq!(pair.nodes[0].errors(), failed);
    }
}

/// Shares with a target of whose unannounced losses it has enough after 10 s.
fn impatient() -> Alone {
    let config = config(0, "disk-a");
    let mut alone =
        Alone::new(Config { policy: Policy::Error, restart_timeout: 10 * SECOND, ..config });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    alone
}

/// Every dial fails at once; how many were begun.
fn dials_in_vain(alone: &mut Alone, span: Duration) -> usize {
    let until = alone.now + span;
    alone.actions.clear();
    while let Some(next) = alone.machine.deadline().filter(|next| *next <= until) {
        alone.now = alone.now.max(next);
        alone.handle(Event::Tick);
        if let Some(&Action::Dial { conn }) = alone.actions.last() {
            alone.handle(Event::DialFailed { conn });
        }
    }
    alone.now = until;
    alone.actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
}

/// [TIMER-4] What was announced counts, not the timer of losses; and nobody waits for the announced end: dials go on
/// all the time, and from half of it on they are as close as after any loss.
#[test]
fn an_announced_absence_may_be_shorter_or_longer() {
    let mut alone = impatient();
    alone.receive(pause(7));
    let Message::Disconnect(told) = disconnect(DisconnectCode::Restart, 7) else { unreachable!() };
    alone.receive(Disconnect { downtime_ms: 40_000, ..*told }.into());
    let Some(&Action::Dial { conn }) = alone.actions.last() else { panic!("it dials at once") };
    alone.handle(Event::DialFailed { conn });
    let early = dials_in_vain(&mut alone, 20 * SECOND);
    let late = dials_in_vain(&mut alone, 20 * SECOND);
    assert!(early > 40 && late > 2 * early, "{early}, {late}");
    assert!(dials_in_vain(&mut alone, 79 * SECOND) > 40);
    assert_eq!(alone.machine.view(alone.now).outage.unwrap().expiry, Expiry::Running);
}

/// [TIMER-4] [PAUSE-8] A restart that is announced in an outage has the whole of the restart timer, and is no other outage.
#[test]
fn a_restart_announced_in_an_outage_has_the_time_of_one() {
    let mut alone = impatient();
    alone.lose();
    let since = alone.now;
    let Some(&Action::Dial { conn }) = alone.actions.last() else { panic!("it dials at once") };
    alone.handle(Event::DialFailed { conn });
    dials_in_vain(&mut alone, 8 * SECOND);
    alone.pass(SECOND / 2);
    alone.connects();
    alone.attaches(2);
    alone.receive(pause(7));
    alone.receive(disconnect(DisconnectCode::Restart, 7));
    let outage = alone.machine.view(alone.now).outage.unwrap();
    assert_eq!((outage.since, outage.deadline), (since, Some(alone.now + 10 * SECOND)));
}

/// [TIMER-6] At the timer's end the policy waits for a whole dial that was begun afterwards.
#[test]
fn a_policy_waits_for_a_whole_dial_after_expiry() {
    let mut pair = with_policy(Policy::Error);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(9 * SECOND);
    pair.nodes[0].mute = false;
    // The dial that is under way was swallowed and fails after the timer's end; the next one does not.
    pair.until_all_share();
    assert!(pair.wires.len() >= 4);
    assert_eq!(expired(&pair), 0);
}

/// [TIMER-6] Who slept over its own deadline wakes to a returned target, not to its policy.
#[test]
fn a_sleeper_wakes_to_its_target() {
    let mut pair = with_policy(Policy::Error);
    pair.downtime = Some(SECOND);
    pair.crash();
    pair.freeze(0, true);
    pair.run(3600 * SECOND);
    pair.freeze(0, false);
    pair.until_all_share();
    assert_eq!(expired(&pair), 0);
}

/// [TIMER-3] A target that crashes again and again before RESUME does not buy time: the policy runs.
#[test]
fn crash_loops_do_not_reset_the_restart_timer() {
    let mut alone = Alone::sharing();
    alone.lose();
    for epoch in 2..2000 {
        alone.connects();
        alone.attaches(epoch);
        alone.lose();
        let wait = alone.machine.deadline().unwrap().since(alone.now);
        alone.pass(wait);
        if alone.reported(|report| matches!(report, Report::Expired { .. })) {
            let spent = alone.now.since(lull_proto::MonoTime(1_000_000_000));
            assert!(spent >= 600 * SECOND && spent < 610 * SECOND, "{spent:?}");
            return;
        }
    }
    panic!("the policy never ran");
}

/// [TIMER-6] An ATTACH that is refused again and again does not hold the policy back.
#[test]
fn refusals_do_not_hold_the_policy_back() {
    let mut alone = Alone::sharing();
    alone.lose();
    for _ in 0..2000 {
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        alone.receive(refused(RefusalCode::UnknownResource, Retry::Final));
        let wait = alone.machine.deadline().unwrap().since(alone.now);
        alone.pass(wait);
        if alone.reported(|report| matches!(report, Report::Expired { .. })) {
            return;
        }
    }
    panic!("the policy never ran");
}

fn refused(code: RefusalCode, retry: Retry) -> Message {
    let (epoch, tenure, detail) = (Epoch(0), Tenure(0), Default::default());
    Refused { code, retry, retry_after_ms: 0, epoch, tenure, detail }.into()
}

/// [TIMER-6] The resume timer's policy waits for a keep-alive round that brings no RESUME.
#[test]
fn the_resume_timer_asks_before_its_policy_runs() {
    let mut alone = Alone::greeted();
    alone.attaches(1);
    for _ in 0..59 {
        alone.pass(SECOND);
        alone.receive(Pong { token: 0 }.into());
    }
    alone.actions.clear();
    alone.pass(SECOND + Duration::from_millis(1));
    let pings = alone.sent(Kind::Ping);
    let Some(Message::Ping(probe)) = pings.first() else { panic!("it asks") };
    assert!(!alone.reported(|report| matches!(report, Report::Expired { .. })));
    let token = probe.token;
    alone.receive(Pong { token }.into());
    let ran = |report: &Report| matches!(report, Report::Expired { timer: Timer::Resume, .. });
    assert!(alone.reported(ran));
    alone.receive(resume(0));
    assert_eq!(alone.machine.phase(), Phase::Sharing);
}

/// [PAUSE-8] PAUSE stops the resume timer, however long the replay takes that is finished first.
#[test]
fn no_resume_timer_ends_while_a_pause_waits_for_a_replay() {
    let mut alone = Alone::sharing();
    alone.write_answered();
    comes_back(&mut alone, 2);
    for _ in 0..20 {
        alone.receive(pause(7));
        pass(&mut alone, 5 * SECOND);
    }
    assert_eq!(alone.machine.phase(), Phase::Replaying);
    assert!(!alone.reported(|report| matches!(report, Report::Expired { .. })));
    let replayed = alone.transmitted().pop().unwrap().number;
    alone.reply(replayed, StatusCode::Done);
    assert_eq!(alone.machine.phase(), Phase::Flushing);
}

/// [SAFE-11] No more than 4,096 numbers are outstanding; one of them is left for a flush of its own.
#[test]
fn the_window_is_bounded() {
    let mut alone = Alone::sharing();
    for _ in 0..WINDOW + 9 {
        alone.submit(OpCode::Read, 1);
    }
    assert_eq!(alone.transmitted().len(), WINDOW - 1);
    alone.reply(RequestNumber(2), StatusCode::Done);
    assert_eq!(alone.transmitted().len(), WINDOW - 1, "the lowest is what counts");
    alone.reply(RequestNumber(1), StatusCode::Done);
    assert_eq!(alone.transmitted().len(), WINDOW + 1);
}

/// [CONN-5] A flush that fails is tried again now and then, not at once, and no DETACH goes before it.
#[test]
fn no_detach_without_a_flush() {
    let mut alone = Alone::sharing();
    alone.write_answered();
    alone.handle(Event::Detach { at_once: false });
    for _ in 0..3 {
        let flush = alone.transmitted().pop().unwrap();
        let before = alone.transmitted().len();
        alone.reply(flush.number, StatusCode::Io);
        assert_eq!(alone.transmitted().len(), before);
        alone.receive(Pong { token: 0 }.into());
        alone.pass(2 * SECOND);
        assert_eq!(alone.transmitted().len(), before + 1);
    }
    assert!(alone.sent(Kind::Detach).is_empty());
    let flush = alone.transmitted().pop().unwrap();
    alone.reply(flush.number, StatusCode::Done);
    assert_eq!(alone.sent(Kind::Detach).len(), 1);
    alone.submit(OpCode::Read, 1);
    assert_eq!(alone.answers().last().unwrap().1, StatusCode::Io);
}

/// [SAFE-8] What is unanswered goes to no other resource of the same name.
#[test]
fn another_resource_of_that_name_is_not_used() {
    let mut alone = Alone::sharing();
    alone.submit(OpCode::Write, 1);
    alone.lose();
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.actions.clear();
    let (identity, incarnation) = (ResourceId([8; 16]), Incarnation([8; 16]));
    alone.receive(Attached { identity, incarnation, ..attached(2) }.into());
    assert!(alone.transmitted().is_empty());
    assert!(alone.reported(|report| matches!(report, Report::Unusable)));
}

/// [CONN-2] [SAFE-1] Each fault of a target, a reply of another incarnation among them, ends the connection, and nothing else:
/// the next dial follows.
#[test]
fn a_targets_violation_ends_the_connection_only() {
    let greeted = Alone::greeted;
    let attaching = || {
        let mut alone = Alone::greeted();
        alone.receive(welcome());
        alone.receive(connect());
        alone
    };
    let node = || (InstanceId([9; 16]), Default::default(), Default::default());
    let (instance, name, software) = node();
    let version = Welcome { version: 9, instance, node: name, software, keep_alive_ms: 1 };
    let odd = Attached { block: 1000, ..attached(1) };
    let cases: Vec<(Alone, Message, Violation)> = vec![
        (greeted(), resume(0), Violation::OutOfPlace(Kind::Resume)),
        (greeted(), connect(), Violation::OutOfPlace(Kind::Connect)),
        (greeted(), version.into(), Violation::Version(9)),
        (attaching(), attached(2).into(), Violation::Epoch),
        (attaching(), odd.into(), Violation::Geometry),
        (attaching(), pause(1), Violation::OutOfPlace(Kind::Pause)),
        (attaching(), Resized { size: 4096 }.into(), Violation::OutOfPlace(Kind::Resized)),
        (Alone::sharing(), Resized { size: 4096 }.into(), Violation::Geometry),
        (
            Alone::sharing(),
            Detached { epoch: Epoch(1) }.into(),
            Violation::OutOfPlace(Kind::Detached),
        ),
    ];
    for (mut alone, message, violation) in cases {
        alone.receive(message);
        ended_only(&mut alone, violation);
    }
    let reply = |number, life| Reply {
        number: RequestNumber(number),
        status: StatusCode::Done,
        incarnation: Incarnation([life; 16]),
    };
    for (number, life, violation) in [
        (5, 1, Violation::UnknownRequest(RequestNumber(5))),
        (0, 1, Violation::UnknownRequest(RequestNumber(0))),
        (1, 2, Violation::Incarnation),
    ] {
        let mut alone = Alone::sharing();
        alone.submit(OpCode::Write, 1);
        let (conn, reply) = (alone.conn, reply(number, life));
        alone.handle(Event::Replied { conn, reply });
        ended_only(&mut alone, violation);
    }
}

fn ended_only(alone: &mut Alone, violation: Violation) {
    assert_eq!(alone.violation(), Some(violation));
    let conn = alone.conn;
    assert!(alone.actions.contains(&Action::HangUp { conn }), "{violation:?}");
    assert!(matches!(alone.machine.phase(), Phase::Away | Phase::Dialling));
    assert!(alone.answers().is_empty());
    alone.pass(SECOND);
}
