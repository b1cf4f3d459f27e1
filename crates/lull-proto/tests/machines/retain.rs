//! What was acknowledged and not flushed outlives the target.

use crate::alone::{Alone, attached, connect, disconnect, resume, welcome};
use crate::pair::{Pair, Seen, ask, config};
use lull_proto::initiator::{self, Ask, Event, Phase, Report, Retain};
use lull_wire::messages::Request;
use lull_wire::{DisconnectCode, Incarnation, Kind, OpCode, RequestFlags, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What a write of one block counts against the bound.
const KEPT: u64 = crate::pair::BLOCK + 128;

/// A machine that shares and may retain this much.
fn retaining(retain: u64) -> Alone {
    let mut alone =
        Alone::new(initiator::Config { retain: Retain::UpTo(retain), ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    alone
}

/// The target is gone and comes back as another life, up to ATTACHED.
fn comes_back(alone: &mut Alone, epoch: u64, life: u8) {
    alone.incarnation = Incarnation([life; 16]);
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.actions.clear();
    let mut attached = attached(epoch);
    attached.incarnation = alone.incarnation;
    alone.receive(attached.into());
}

/// Everything that is outstanding is done.
fn answer(alone: &mut Alone, requests: &[Request]) {
    for request in requests {
        alone.reply(request.number, StatusCode::Done);
    }
}

fn what(requests: &[Request]) -> Vec<(OpCode, u64)> {
    requests.iter().map(|request| (request.op, request.offset / crate::pair::BLOCK)).collect()
}

fn last(alone: &Alone) -> Request {
    alone.transmitted().pop().expect("something is sent")
}

fn write(alone: &mut Alone, block: u64) {
    alone.submit(OpCode::Write, block);
    let request = last(alone);
    alone.reply(request.number, StatusCode::Done);
}

fn retained(alone: &Alone) -> u64 {
    alone.machine.view(alone.now).retained.0
}

/// [SAFE-1] Each of them was acknowledged, none was flushed, the power is cut: all are there.
#[test]
fn acknowledged_unflushed_writes_outlive_a_power_cut() {
    let mut pair = Pair::sharing(1);
    for round in 0..149 {
        pair.write(0, round % 32);
    }
    pair.finish();
    pair.crash();
    pair.until(|pair| pair.life == 2 && pair.all_share());
    for block in 0..32 {
        pair.read(0, block);
    }
    pair.finish();
    assert_eq!(pair.count(&Seen::Replayed(0, 148)), 1);
}

/// [SAFE-1] A flush releases what was answered before it was sent, and nothing that was answered later.
#[test]
fn a_flush_releases_only_what_was_answered_before_it_was_sent() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 1);
    alone.submit(OpCode::Write, 2);
    let late = last(&alone);
    alone.submit(OpCode::Flush, 0);
    let flush = last(&alone);
    alone.reply(late.number, StatusCode::Done);
    assert_eq!(retained(&alone), 2);
    alone.reply(flush.number, StatusCode::Done);
    assert_eq!(retained(&alone), 1);
}

/// [SAFE-1] A flush that is sent again covers what was answered until then, not only until it was first sent: where nothing is
/// missing, and behind a replay.
#[test]
fn a_flush_that_is_sent_again_releases_all_that_was_answered_or_replayed_before() {
    for life in [1, 7] {
        let mut alone = retaining(1 << 20);
        write(&mut alone, 1);
        alone.submit(OpCode::Flush, 0);
        write(&mut alone, 2);
        alone.lose();
        comes_back(&mut alone, 2, life);
        let replayed = alone.transmitted();
        answer(&mut alone, &replayed);
        if life == 1 {
            alone.receive(resume(0));
        }
        assert_eq!(retained(&alone), 2);
        let flush = last(&alone);
        assert_eq!(flush.op, OpCode::Flush);
        alone.reply(flush.number, StatusCode::Done);
        assert_eq!(retained(&alone), 0, "in life {life}");
    }
}

/// [SAFE-1] No replay may put what a durable change overwrote over it, not for a moment: it waits until that is flushed.
#[test]
fn a_durable_write_waits_until_what_it_overwrites_is_flushed() {
    let mut alone = retaining(1 << 20);
    let fua = |block| Ask { flags: RequestFlags::FUA, ..ask(OpCode::Write, block) };
    write(&mut alone, 1);
    alone.submit_ask(fua(2));
    let apart = last(&alone);
    assert!(apart.flags.has(RequestFlags::FUA), "it overwrites nothing that is kept");
    alone.reply(apart.number, StatusCode::Done);
    assert_eq!(retained(&alone), 1, "it needs no place");
    alone.submit_ask(fua(1));
    let flush = last(&alone);
    assert_eq!(flush.op, OpCode::Flush);
    alone.reply(flush.number, StatusCode::Done);
    let sent = last(&alone);
    assert!(sent.flags.has(RequestFlags::FUA));
    alone.reply(sent.number, StatusCode::Done);
    alone.lose();
    comes_back(&mut alone, 2, 7);
    assert!(alone.transmitted().is_empty());
}

/// [SAFE-2] [RESUME-3] First what is retained, in its order, then unanswered changes, then flushes, and reads last.
#[test]
fn a_replay_has_an_order() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 3);
    write(&mut alone, 1);
    alone.submit(OpCode::Read, 9);
    alone.submit(OpCode::Flush, 0);
    alone.submit(OpCode::Write, 2);
    alone.lose();
    alone.submit(OpCode::Write, 4);
    comes_back(&mut alone, 2, 7);
    let stages = [
        vec![(OpCode::Write, 3), (OpCode::Write, 1)],
        vec![(OpCode::Write, 2)],
        vec![(OpCode::Flush, 0)],
    ];
    for stage in stages {
        let sent = alone.transmitted();
        assert_eq!(what(&sent), stage);
        assert!(alone.sent(Kind::Ready).is_empty(), "READY before {stage:?} is answered");
        alone.actions.clear();
        answer(&mut alone, &sent);
    }
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
    alone.actions.clear();
    alone.receive(resume(0));
    assert_eq!(what(&alone.transmitted()), [(OpCode::Read, 9), (OpCode::Write, 4)]);
}

/// [SAFE-2] Replayed entries stay retained until flushed; another crash starts the replay over.
#[test]
fn another_crash_starts_the_replay_over() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 1);
    write(&mut alone, 2);
    alone.lose();
    comes_back(&mut alone, 2, 7);
    let sent = alone.transmitted();
    answer(&mut alone, &sent[..1]);
    alone.lose();
    alone.pass(SECOND);
    comes_back(&mut alone, 3, 8);
    let sent = alone.transmitted();
    assert_eq!(what(&sent), [(OpCode::Write, 1), (OpCode::Write, 2)]);
    answer(&mut alone, &sent);
    alone.receive(resume(0));
    assert_eq!(retained(&alone), 2, "they are flushed nowhere yet");
    alone.lose();
    comes_back(&mut alone, 4, 9);
    assert_eq!(alone.transmitted().len(), 2);
}

/// [RESUME-3] In the same incarnation nothing is missing, and nothing is replayed.
#[test]
fn the_same_incarnation_needs_no_replay() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 1);
    alone.submit(OpCode::Write, 2);
    alone.lose();
    comes_back(&mut alone, 2, 1);
    assert!(alone.transmitted().is_empty());
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
    alone.receive(resume(0));
    assert_eq!(what(&alone.transmitted()), [(OpCode::Write, 2)]);
}

/// [SAFE-2] What is replayed in vain stays retained, people are told, and all of it is tried again.
#[test]
fn a_replay_that_fails_is_tried_again_and_loses_nothing() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 1);
    alone.lose();
    comes_back(&mut alone, 2, 7);
    let sent = alone.transmitted();
    alone.reply(sent[0].number, StatusCode::Io);
    let faulted = |report: &Report| matches!(report, Report::Faulted { changes: 1, .. });
    assert!(alone.reported(faulted));
    assert_eq!((alone.machine.phase(), retained(&alone)), (Phase::Away, 1));
    alone.pass(3 * SECOND);
    comes_back(&mut alone, 3, 7);
    let sent = alone.transmitted();
    assert_eq!(what(&sent), [(OpCode::Write, 1)]);
    answer(&mut alone, &sent);
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
}

/// [SAFE-3] Near the bound it flushes by itself; at the bound new changes wait, and none is dropped.
#[test]
fn retained_changes_are_bounded() {
    let mut alone = retaining(8 * KEPT);
    for block in 0..20 {
        alone.submit(OpCode::Write, block);
    }
    let sent = alone.transmitted();
    assert_eq!(sent.len(), 8, "no more than could be retained is outstanding");
    answer(&mut alone, &sent[..5]);
    let flush = last(&alone);
    assert_eq!(flush.op, OpCode::Flush, "more than half of it is retained");
    alone.reply(flush.number, StatusCode::Done);
    let sent = alone.transmitted();
    assert_eq!(retained(&alone), 0);
    assert_eq!(sent.iter().filter(|request| request.op == OpCode::Write).count(), 13);
}

/// [SAFE-3] A flush of its own that fails is tried again with the next round of keep-alive, not at once.
#[test]
fn a_flush_that_fails_is_not_repeated_in_a_rush() {
    let mut alone = retaining(2 * KEPT);
    write(&mut alone, 1);
    write(&mut alone, 2);
    alone.submit(OpCode::Write, 3);
    let flush = last(&alone);
    assert_eq!(flush.op, OpCode::Flush);
    let before = alone.transmitted().len();
    alone.reply(flush.number, StatusCode::Io);
    assert_eq!(alone.transmitted().len(), before);
    alone.pass(2 * SECOND);
    assert_eq!((last(&alone).op, alone.transmitted().len()), (OpCode::Flush, before + 1));
}

/// [SAFE-3] A change that is larger than the bound is durable by itself, and goes when nothing older is retained.
#[test]
fn what_is_too_large_to_retain_is_written_through() {
    let mut alone = retaining(4 * KEPT);
    write(&mut alone, 1);
    assert_eq!(last(&alone).op, OpCode::Write, "it is far from the bound");
    let large = Ask { length: 5 * crate::pair::BLOCK as u32, ..ask(OpCode::Write, 0) };
    alone.submit_ask(large);
    let flush = last(&alone);
    assert_eq!(flush.op, OpCode::Flush);
    alone.reply(flush.number, StatusCode::Done);
    let sent = last(&alone);
    assert!(sent.flags.has(RequestFlags::FUA));
    alone.reply(sent.number, StatusCode::Done);
    assert_eq!(retained(&alone), 0);
}

/// [SAFE-3] Write-through instead of retaining: each change is on stable storage before it is acknowledged.
#[test]
fn without_a_log_each_change_is_durable() {
    let mut alone = retaining(0);
    for (op, durable) in
        [(OpCode::Write, true), (OpCode::WriteZeroes, true), (OpCode::Discard, false)]
    {
        alone.submit(op, 1);
        let request = last(&alone);
        assert_eq!((request.op, request.flags.has(RequestFlags::FUA)), (op, durable));
        alone.reply(request.number, StatusCode::Done);
    }
    assert_eq!(retained(&alone), 0);
}

/// [SAFE-7] Whoever is fenced says how much of what it acknowledged nobody will replay.
#[test]
fn a_log_that_nobody_will_replay_is_reported() {
    let mut alone = retaining(1 << 20);
    write(&mut alone, 1);
    alone.receive(disconnect(DisconnectCode::Evicted, 0));
    assert!(alone.reported(|report| matches!(report, Report::LogLost { changes: 1, .. })));
}

/// [SAFE-3] A flush of its own that dies with its connection leaves alone what an unanswered change keeps others from,
/// although both begin at the first byte.
#[test]
fn a_change_of_the_first_block_is_waited_for_after_a_loss_too() {
    let mut alone = retaining(8 * KEPT);
    alone.submit(OpCode::Write, 0);
    for block in 1..6 {
        write(&mut alone, block);
    }
    assert_eq!(last(&alone).op, OpCode::Flush, "more than half of it is retained");
    alone.lose();
    comes_back(&mut alone, 2, 1);
    alone.receive(resume(0));
    let again: Vec<_> = alone.transmitted();
    let again = again.iter().find(|request| request.op == OpCode::Write).expect("it is sent again");
    alone.actions.clear();
    alone.submit(OpCode::Write, 0);
    assert!(!what(&alone.transmitted()).contains(&(OpCode::Write, 0)), "its elder is outstanding");
    alone.reply(again.number, StatusCode::Done);
    assert!(what(&alone.transmitted()).contains(&(OpCode::Write, 0)));
}

/// [SAFE-11] However often a flush of its own fails, its numbers stay within the window of a request that takes long.
#[test]
fn flushes_of_its_own_stay_within_the_window() {
    let mut alone = retaining(8 * KEPT);
    alone.submit(OpCode::Read, 9);
    let slow = last(&alone).number;
    let room = initiator::WINDOW - 1;
    for number in 2..room {
        alone.submit(OpCode::Flush, 0);
        let request = last(&alone);
        assert_eq!(request.number.0, number as u64);
        alone.reply(request.number, StatusCode::Done);
        alone.actions.clear();
    }
    let large = Ask { length: 6 * crate::pair::BLOCK as u32, ..ask(OpCode::Write, 0) };
    alone.submit_ask(large);
    alone.reply(last(&alone).number, StatusCode::Done);
    let flush = last(&alone);
    assert_eq!((flush.op, flush.number.0), (OpCode::Flush, initiator::WINDOW as u64));
    alone.reply(flush.number, StatusCode::Io);
    alone.actions.clear();
    for _ in 0..3 {
        alone.pass(SECOND);
        alone.receive(lull_wire::messages::Ping { token: 1 }.into());
        alone.pass(SECOND);
    }
    assert!(alone.transmitted().is_empty(), "no number is left: {:?}", alone.transmitted());
    alone.reply(slow, StatusCode::Done);
    let flush = last(&alone);
    assert_eq!((flush.op, flush.lowest), (OpCode::Flush, flush.number), "there is room again");
}

/// [SAFE-3] [CONN-5] What waits for room when its attachment is to end does not wait for ever because one flush could not be
/// passed on: the next round of keep-alive tries it again, as it does for whoever stays.
#[test]
fn what_waits_for_room_is_finished_although_a_flush_was_not_executed() {
    for leaves in [false, true] {
        let mut alone = retaining(KEPT);
        write(&mut alone, 1);
        let flush = last(&alone);
        assert_eq!(flush.op, OpCode::Flush);
        let waits = alone.submit(OpCode::Write, 2);
        if leaves {
            alone.handle(Event::Detach { at_once: false });
        }
        alone.reply(flush.number, StatusCode::NotExecuted);
        assert_eq!(last(&alone).number, flush.number, "not at once again");
        crate::holding::pass(&mut alone, 5 * SECOND);
        let again = last(&alone);
        assert!(again.op == OpCode::Flush && again.number > flush.number, "leaves: {leaves}");
        alone.reply(again.number, StatusCode::Done);
        let change = last(&alone);
        assert_eq!((change.op, change.offset), (OpCode::Write, 2 * crate::pair::BLOCK));
        alone.reply(change.number, StatusCode::Done);
        assert!(alone.answers().contains(&(waits, StatusCode::Done)));
    }
}

/// [SAFE-3] [CHAIN-1] Where the flush was not executed because the target holds, RESUME is when it is tried again.
#[test]
fn what_waits_for_room_through_a_hold_goes_on_with_resume() {
    let mut alone = retaining(KEPT);
    write(&mut alone, 1);
    let flush = last(&alone);
    alone.submit(OpCode::Write, 2);
    alone.receive(crate::holding::hold(60 * SECOND));
    alone.reply(flush.number, StatusCode::NotExecuted);
    assert_eq!(last(&alone).number, flush.number, "it holds");
    alone.receive(crate::alone::resume(0));
    let again = last(&alone);
    assert!(again.op == OpCode::Flush && again.number > flush.number, "at once");
}
