//! A machine that goes on for the consumers of a life before it [INIT-1].

use crate::alone::{Alone, attached, connect, pause, resume, welcome};
use crate::holding::hold;
use crate::pair::config;
use core::time::Duration;
use lull_proto::initiator::{self, Action, Event, Phase, Report, Retain, Succession};
use lull_wire::messages::{self, Request};
use lull_wire::{Incarnation, Kind, Message, OpCode, RequestFlags, StatusCode};

/// A life with one change that was acknowledged, one that was sent, and two requests that were never sent.
fn left(alone: &mut Alone) -> Succession {
    alone.write_answered();
    alone.submit(OpCode::Write, 2);
    alone.lose();
    alone.submit(OpCode::Write, 3);
    alone.submit(OpCode::Read, 1);
    alone.machine.bequeath(alone.now).expect("consumers were told of it")
}

/// Its heir, which has its log.
fn heir(succession: Succession, whole: bool) -> Alone {
    heir_that_retains(config(0, "disk-a").retain, succession, whole)
}

fn heir_that_retains(retain: Retain, mut succession: Succession, whole: bool) -> Alone {
    let kept = crate::legacy::one_change();
    let mut alone = Alone::inheriting(initiator::Config { retain, ..config(0, "disk-a") }, kept);
    succession.whole = whole;
    alone.machine.succeed(alone.now, succession);
    alone.handle(Event::Begin);
    alone
}

fn attaches(alone: &mut Alone, incarnation: Incarnation) {
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.incarnation = incarnation;
    let mut attached = attached(1);
    attached.incarnation = incarnation;
    alone.receive(attached.into());
    alone.handle(Event::Remembered);
}

fn what(requests: &[Request]) -> Vec<(OpCode, u64)> {
    requests.iter().map(|one| (one.op, one.offset / crate::pair::BLOCK)).collect()
}

/// [INIT-1] [SAFE-2] In the same incarnation nothing is flushed for the life before, nobody is told of the resource
/// again, and what was sent goes before what never was.
#[test]
fn what_was_unanswered_is_sent_before_what_was_held() {
    let mut before = Alone::sharing();
    let succession = left(&mut before);
    assert_eq!((succession.sent.len(), succession.held.len()), (1, 2));
    let mut alone = heir(succession, true);
    attaches(&mut alone, Incarnation([1; 16]));
    assert_eq!(what(&alone.transmitted()), []);
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
    assert!(!alone.actions.iter().any(|action| matches!(action, Action::Open(_))));
    alone.receive(resume(0));
    let sent = [(OpCode::Write, 2), (OpCode::Write, 3), (OpCode::Read, 1)];
    assert_eq!(what(&alone.transmitted()), sent);
}

/// [INIT-1] [SAFE-2] In another one what is retained goes first, then what was sent; what was held waits for RESUME.
#[test]
fn what_was_unanswered_is_replayed_behind_what_is_retained() {
    let mut before = Alone::sharing();
    let mut alone = heir(left(&mut before), true);
    attaches(&mut alone, Incarnation([2; 16]));
    let mut seen = Vec::new();
    while alone.sent(Kind::Ready).is_empty() {
        let requests = alone.transmitted();
        assert!(!requests.is_empty(), "it gets on");
        alone.actions.retain(|action| !matches!(action, Action::Transmit { .. }));
        seen.extend(what(&requests));
        requests.iter().for_each(|one| alone.reply(one.number, StatusCode::Done));
    }
    assert_eq!(seen, [(OpCode::Write, 1), (OpCode::Write, 2)]);
    alone.receive(resume(0));
    assert_eq!(what(&alone.transmitted()), [(OpCode::Write, 3), (OpCode::Read, 1)]);
}

/// [INIT-1] [SAFE-10] Where it is not known what was sent, a flush comes first.
#[test]
fn an_heir_that_does_not_know_all_flushes_first() {
    let mut before = Alone::sharing();
    let mut alone = heir(left(&mut before), false);
    attaches(&mut alone, Incarnation([1; 16]));
    assert_eq!(what(&alone.transmitted()), [(OpCode::Flush, 0)]);
    assert!(alone.sent(Kind::Ready).is_empty());
}

/// [INIT-1] [TIMER-5] The hold goes on until the same deadline.
#[test]
fn a_hold_keeps_its_begin_and_its_deadline() {
    let mut before = Alone::sharing();
    before.lose();
    let begun = before.machine.view(before.now).outage.expect("an outage");
    before.pass(Duration::from_secs(30));
    let succession = before.machine.bequeath(before.now).expect("consumers were told of it");
    let mut alone = heir(succession, true);
    alone.now = before.now;
    alone.submit(OpCode::Write, 4);
    let view = alone.machine.view(alone.now);
    let outage = view.outage.expect("the same outage");
    assert_eq!((outage.since, outage.deadline), (begun.since, begun.deadline));
    assert_eq!((alone.machine.phase(), view.held), (Phase::Dialling, 1));
}

/// [TIMER-4] [INIT-1] Whoever ends in a pause does not hear how it goes on: the target may be away by then for as long as it
/// has said. An aborted pause announces nothing.
#[test]
fn an_heir_waits_as_long_as_the_pause_announced_in_which_the_life_before_ended() {
    let timeout = config(0, "disk-a").restart_timeout;
    let downtime = 2 * timeout;
    for in_an_outage in [false, true] {
        let mut before = Alone::sharing();
        if in_an_outage {
            before.lose();
            before.connects();
            before.attaches(2);
        }
        let Message::Pause(told) = pause(7) else { unreachable!() };
        let downtime_ms = downtime.as_millis() as u64;
        before.receive(messages::Pause { downtime_ms, ..*told }.into());
        before.pass(Duration::from_secs(1));
        let mut left = before.machine.bequeath(before.now).expect("consumers were told of it");
        // Where it was killed, nobody knows when.
        left.deadline = left.deadline.filter(|_| in_an_outage);
        let alone = heir(left, false);
        let outage = alone.machine.view(alone.now).outage.expect("nothing is shared");
        assert_eq!(outage.deadline, Some(alone.now + 3 * downtime), "in an outage: {in_an_outage}");
        assert_eq!(outage.back_by, Some(alone.now + downtime));
        before.receive(resume(7));
        let left = before.machine.bequeath(before.now).expect("consumers were told of it");
        assert_eq!(left.announced, None, "it was aborted");
    }
}

/// [CHAIN-1] [INIT-1] A hold that was heard while all was shared is waited out by the heir, too, whose target may be gone by
/// then.
#[test]
fn an_heir_waits_for_who_is_further_up_as_long_as_the_life_before_would_have() {
    let timeout = config(0, "disk-a").restart_timeout;
    for killed in [false, true] {
        let mut before = Alone::sharing();
        before.receive(hold(5 * timeout));
        let until = before.now + 5 * timeout;
        before.pass(Duration::from_secs(1));
        let mut left = before.machine.bequeath(before.now).expect("consumers were told of it");
        left.deadline = left.deadline.filter(|_| !killed);
        let alone = heir(left, !killed);
        let outage = alone.machine.view(alone.now).outage.expect("nothing is shared");
        assert_eq!(outage.deadline, Some(until), "killed: {killed}");
    }
}

/// [TIMER-5] [INIT-1] Before the first RESUME no restart timer ran: what the heir begins is a whole one, however long the
/// target had been away.
#[test]
fn a_wait_that_had_no_deadline_has_a_whole_one_from_the_heir_on() {
    let mut before = Alone::sharing();
    let since = before.now;
    let succession = Succession { deadline: None, since, ..left(&mut before) };
    let mut alone = Alone::new(config(0, "disk-a"));
    alone.now = since + Duration::from_secs(86_400);
    alone.machine.succeed(alone.now, succession);
    alone.handle(Event::Begin);
    let outage = alone.machine.view(alone.now).outage.expect("the same outage");
    assert_eq!(outage.since, since);
    assert_eq!(outage.deadline, Some(alone.now + config(0, "disk-a").restart_timeout));
}

/// [INIT-1] [SAFE-3] What was sent to be kept, and cannot be kept any more, is durable before it is answered, and is not
/// sent before what could be replayed over it is flushed.
#[test]
fn an_heir_that_retains_nothing_has_what_was_sent_made_durable() {
    let mut before = Alone::sharing();
    let mut alone = heir_that_retains(Retain::UpTo(0), left(&mut before), true);
    attaches(&mut alone, Incarnation([1; 16]));
    assert_eq!(what(&alone.transmitted()), []);
    alone.receive(resume(0));
    let mut seen = Vec::new();
    loop {
        let requests = alone.transmitted();
        alone.actions.retain(|action| !matches!(action, Action::Transmit { .. }));
        let Some(_) = requests.first() else { break };
        let durable = |one: &Request| one.flags.has(RequestFlags::FUA);
        seen.extend(what(&requests).into_iter().zip(requests.iter().map(durable)));
        requests.iter().for_each(|one| alone.reply(one.number, StatusCode::Done));
    }
    let flush = ((OpCode::Flush, 0), false);
    let write = |block| ((OpCode::Write, block), true);
    assert_eq!(seen, [flush, write(2), write(3), ((OpCode::Read, 1), false)]);
}

/// [TIMER-1] [TIMER-5] [INIT-1] Whoever waits, of whom nothing else is known, waits as long as after a loss; nobody is waited for
/// where there is nobody, as before the first RESUME ever.
#[test]
fn a_wait_of_which_nothing_is_known_has_an_end() {
    let expired = |alone: &Alone| {
        let is_it = |action: &Action| matches!(action, Action::Report(Report::Expired { .. }));
        alone.actions.iter().any(is_it)
    };
    let timeout = config(0, "disk-a").restart_timeout;
    let mut nobody = Alone::new(config(0, "disk-a"));
    let mut alone = Alone::new(config(0, "disk-a"));
    for one in [&mut nobody, &mut alone] {
        one.handle(Event::Begin);
        one.pass(Duration::from_secs(3));
    }
    alone.machine.awaited(alone.now);
    alone.pass(timeout / 2);
    alone.machine.awaited(alone.now);
    for one in [&mut nobody, &mut alone] {
        one.pass(timeout / 2 + Duration::from_secs(20));
    }
    assert!(expired(&alone), "the end is not put off");
    nobody.pass(2 * timeout);
    assert!(!expired(&nobody));
}
