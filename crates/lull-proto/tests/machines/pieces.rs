//! A request that is longer than the target takes at once: several requests to the target, one to everybody else.

use crate::alone::{Alone, attached, connect, disconnect, pause, resume, welcome};
use crate::pair::{BLOCK, ask, config};
use lull_proto::initiator::{Action, Ask, Config, End, Event, Phase, Policy, Retain, Slot};
use lull_wire::messages::{Attached, Detached, Pong, Request};
use lull_wire::{
    DisconnectCode, Epoch, Incarnation, Kind, Message, OpCode, RequestFlags, StatusCode,
};
use std::time::Duration;

/// Three blocks from the first one on are discarded, of which the target takes one at a time.
fn discarding(alone: &mut Alone) -> Slot {
    long(alone, ask(OpCode::Discard, 1), 2 * BLOCK)
}

fn long(alone: &mut Alone, ask: Ask, rest: u64) -> Slot {
    let slot = Slot(100);
    alone.handle(Event::Submit { slot, ask, rest });
    slot
}

/// What was sent last, which has to be a piece that begins at this block.
fn piece(alone: &Alone, op: OpCode, block: u64) -> Request {
    let request = alone.transmitted().pop().expect("it is sent");
    assert_eq!((request.op, request.offset), (op, block * BLOCK), "{request:?}");
    assert_eq!(u64::from(request.length), BLOCK, "all are as long as the first");
    request
}

/// The piece at this block is done.
fn done(alone: &mut Alone, block: u64) {
    let number = piece(alone, OpCode::Discard, block).number;
    alone.reply(number, StatusCode::Done);
}

/// What covers all that was done is flushed, and only then DETACH is sent.
fn flushed_and_detached(alone: &mut Alone, epoch: u64) {
    assert!(alone.sent(Kind::Detach).is_empty(), "what was done is not flushed");
    let flush = alone.transmitted().pop().expect("a flush");
    assert_eq!(flush.op, OpCode::Flush);
    alone.reply(flush.number, StatusCode::Done);
    assert_eq!(alone.sent(Kind::Detach).len(), 1);
    alone.receive(Detached { epoch: Epoch(epoch) }.into());
    assert_eq!(alone.machine.phase(), Phase::Ended(End::Detached));
}

/// [CONN-5] What was accepted before the attachment is to end is finished, all of its pieces, and DETACH follows.
#[test]
fn a_detach_in_the_middle_of_a_long_request_waits_for_its_last_piece() {
    let mut alone = Alone::sharing();
    let slot = discarding(&mut alone);
    alone.handle(Event::Detach { at_once: false });
    for block in [1, 2, 3] {
        assert!(alone.sent(Kind::Detach).is_empty() && alone.answers().is_empty(), "{block}");
        done(&mut alone, block);
    }
    assert_eq!(alone.answers(), [(slot, StatusCode::Done)]);
    flushed_and_detached(&mut alone, 1);

    // The last one may be shorter.
    let mut alone = Alone::sharing();
    long(&mut alone, Ask { length: 2 * BLOCK as u32, ..ask(OpCode::Discard, 1) }, BLOCK);
    let first = alone.transmitted().pop().expect("it is sent");
    alone.reply(first.number, StatusCode::Done);
    done(&mut alone, 3);
    assert_eq!(alone.answers().len(), 1);
}

/// [CONN-5] Told to end at once, it still finishes what it has begun while the target is there.
#[test]
fn a_detach_at_once_waits_for_the_last_piece_while_the_target_is_there() {
    let mut alone = Alone::sharing();
    let slot = discarding(&mut alone);
    done(&mut alone, 1);
    alone.handle(Event::Detach { at_once: true });
    done(&mut alone, 2);
    alone.lose();
    alone.handle(Event::Detach { at_once: true });
    assert_eq!(alone.answers(), [(slot, StatusCode::Io)], "[CONN-3] once");
    assert_eq!(alone.machine.phase(), Phase::Ended(End::Left));
}

/// [CONN-5] An outage between two pieces ends neither the request nor the wish to leave.
#[test]
fn a_loss_between_the_pieces_of_a_long_request_delays_its_answer_and_detach() {
    for (at, pieces) in [(0, 1..4), (1, 2..4), (2, 3..4)] {
        let mut alone = Alone::sharing();
        let slot = discarding(&mut alone);
        alone.handle(Event::Detach { at_once: false });
        for block in 1..=at {
            done(&mut alone, block);
        }
        alone.lose();
        alone.connects();
        alone.attaches(2);
        alone.receive(resume(0));
        for block in pieces {
            assert!(alone.sent(Kind::Detach).is_empty() && alone.answers().is_empty());
            done(&mut alone, block);
        }
        assert_eq!(alone.answers(), [(slot, StatusCode::Done)]);
        flushed_and_detached(&mut alone, 2);
    }
}

/// [PAUSE-2] [PAUSE-3] A pause waits for the piece that is outstanding and for no other: the rest of the request is held
/// over the restart like what was never sent, and nobody goes meanwhile [CONN-5].
#[test]
fn a_pause_between_the_pieces_of_a_long_request_holds_the_rest_of_it() {
    for aborted in [true, false] {
        let mut alone = Alone::sharing();
        let slot = discarding(&mut alone);
        alone.receive(pause(7));
        alone.handle(Event::Detach { at_once: false });
        done(&mut alone, 1);
        let flush = alone.transmitted().pop().expect("a flush");
        assert_eq!(flush.op, OpCode::Flush, "and no further piece");
        alone.reply(flush.number, StatusCode::Done);
        assert_eq!(alone.sent(Kind::PauseComplete).len(), 1);
        assert!(alone.sent(Kind::Detach).is_empty() && alone.answers().is_empty());
        assert_eq!(alone.machine.view(alone.now).held, 1);
        let epoch = if aborted {
            alone.receive(resume(7));
            1
        } else {
            alone.receive(disconnect(DisconnectCode::Restart, 7));
            alone.connects();
            alone.attaches(2);
            alone.receive(resume(7));
            2
        };
        done(&mut alone, 2);
        done(&mut alone, 3);
        assert_eq!(alone.answers(), [(slot, StatusCode::Done)]);
        flushed_and_detached(&mut alone, epoch);
    }
}

/// [CONN-3] An error of one piece is the answer to all of it, and no other is sent.
#[test]
fn a_piece_that_fails_ends_its_request() {
    let mut alone = Alone::sharing();
    let slot = discarding(&mut alone);
    alone.handle(Event::Detach { at_once: false });
    done(&mut alone, 1);
    let number = piece(&alone, OpCode::Discard, 2).number;
    alone.reply(number, StatusCode::NoSpace);
    assert_eq!(alone.answers(), [(slot, StatusCode::NoSpace)]);
    flushed_and_detached(&mut alone, 1);
}

/// [CONN-3] Nobody waits for the pieces of what was answered with an error.
#[test]
fn a_request_that_was_given_up_has_no_further_pieces() {
    let (policy, resume_timeout) = (Policy::Error, Duration::from_secs(1));
    let mut alone = Alone::new(Config { policy, resume_timeout, ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    let slot = discarding(&mut alone);
    alone.lose();
    // The target has lost its memory: what is unanswered is sent again before READY, and the medium takes its time.
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.incarnation = Incarnation([2; 16]);
    alone.receive(Attached { incarnation: alone.incarnation, ..attached(2) }.into());
    let number = piece(&alone, OpCode::Discard, 1).number;
    alone.pass(Duration::from_millis(1001));
    let Some(Message::Ping(ping)) = alone.sent(Kind::Ping).pop() else { panic!("no PING") };
    alone.receive(Pong { token: ping.token }.into());
    assert_eq!(alone.answers(), [(slot, StatusCode::Io)]);
    let sent = alone.transmitted().len();
    alone.reply(number, StatusCode::Done);
    alone.receive(resume(0));
    assert_eq!(alone.machine.phase(), Phase::Sharing);
    assert_eq!((alone.answers().len(), alone.transmitted().len()), (1, sent));
}

/// [PAUSE-2] In their order: what is left of a request goes before what came after it.
#[test]
fn the_rest_of_a_long_request_goes_before_what_is_held() {
    let mut alone = Alone::sharing();
    discarding(&mut alone);
    // Held, since it overlaps; and once more over a piece that is not sent yet.
    alone.submit(OpCode::Write, 1);
    alone.submit(OpCode::Write, 2);
    assert_eq!(alone.transmitted().len(), 1);
    done(&mut alone, 1);
    let sent = alone.transmitted();
    let order: Vec<_> = sent.iter().map(|one| (one.op, one.offset / BLOCK)).collect();
    assert_eq!(order, [(OpCode::Discard, 1), (OpCode::Discard, 2), (OpCode::Write, 1)]);
}

/// [SAFE-1] Each piece is kept by itself, as what it is.
#[test]
fn each_piece_is_retained_under_a_place_of_its_own() {
    let mut alone = Alone::sharing();
    let flags = RequestFlags::FAST.with(RequestFlags::KEEP_ALLOCATED);
    let slot = long(&mut alone, Ask { flags, ..ask(OpCode::WriteZeroes, 4) }, BLOCK);
    for block in [4, 5] {
        let number = piece(&alone, OpCode::WriteZeroes, block).number;
        alone.reply(number, StatusCode::Done);
    }
    let kept = alone.actions.iter().filter_map(|action| match action {
        Action::Retain { slot, place, ask } => Some((*slot, *place, *ask)),
        _ => None,
    });
    let as_kept =
        |block| Ask { flags: RequestFlags::KEEP_ALLOCATED, ..ask(OpCode::WriteZeroes, block) };
    assert_eq!(kept.collect::<Vec<_>>(), [(slot, 0, as_kept(4)), (slot, 1, as_kept(5))]);
    assert_eq!(alone.machine.view(alone.now).retained, (2, 2 * BLOCK));
}

/// [INIT-1] What is left of a request goes to the next life of the daemon with it.
#[test]
fn a_successor_asks_for_what_is_left_of_a_long_request() {
    let mut alone = Alone::sharing();
    discarding(&mut alone);
    done(&mut alone, 1);
    alone.lose();
    let left = alone.machine.bequeath(alone.now).expect("consumers were told");
    assert_eq!((left.sent[0].ask, left.sent[0].rest), (ask(OpCode::Discard, 2), BLOCK));
    let retain = Retain::UpTo(0);
    let mut heir = Alone::new(Config { retain, ..config(0, "disk-a") });
    heir.machine.succeed(alone.now, left);
    heir.handle(Event::Begin);
    heir.connects();
    heir.attaches(1);
    heir.receive(resume(0));
    done(&mut heir, 2);
    done(&mut heir, 3);
    assert_eq!(heir.answers(), [(Slot(100), StatusCode::Done)]);
}

/// [CHAIN-1] Where somebody else keeps it, all of it is given back, and nothing further is asked for.
#[test]
fn a_long_request_is_given_back_whole() {
    let retain = Retain::Elsewhere;
    let mut alone = Alone::new(Config { retain, ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    let slot = discarding(&mut alone);
    alone.handle(Event::GiveBack { on: true });
    alone.receive(pause(7));
    let asked = alone.transmitted().len();
    done(&mut alone, 1);
    assert_eq!(alone.answers(), [(slot, StatusCode::NotExecuted)]);
    let further = alone.transmitted().split_off(asked);
    assert!(further.iter().all(|one| one.op == OpCode::Flush), "{further:?}");
}
