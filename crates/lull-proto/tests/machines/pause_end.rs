//! How a pause ends that does not go through at once.

use crate::alone::{Alone, attached, connect, disconnect, pause, resume, welcome};
use crate::pair::{Order, Pair, Seen, restart};
use lull_proto::initiator::{Event, Phase};
use lull_proto::target::{Change, Decision, OnTimeout, Purpose, Report, RowState, Why};
use lull_wire::messages::Attached;
use lull_wire::{DisconnectCode, Incarnation, Kind, OpCode, RestartId, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes, the second stopped with a request in flight; a restart is ordered.
fn one_stopped(on_timeout: OnTimeout) -> Pair {
    let mut pair = Pair::sharing(2);
    pair.freeze(1, true);
    pair.write(1, 2);
    pair.order(Order { on_timeout, span: 5 * SECOND, ..restart(1) });
    pair
}

fn aborted(pair: &Pair) -> Option<Why> {
    pair.reports.iter().find_map(|report| match report {
        Report::Aborted { why, .. } => Some(*why),
        _ => None,
    })
}

fn asks(pair: &Pair) -> bool {
    pair.reports.iter().any(|report| matches!(report, Report::Asking { .. }))
}

/// It comes back and everybody is answered.
fn goes_on(mut pair: Pair) {
    pair.freeze(1, false);
    pair.until_all_share();
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-10] `abort` ends the pause with its span; the others share within a second.
#[test]
fn abort_ends_the_pause_with_its_span() {
    let mut pair = one_stopped(OnTimeout::Abort);
    pair.run(5 * SECOND);
    pair.run(SECOND);
    assert_eq!((pair.phase(0), aborted(&pair)), (Phase::Sharing, Some(Why::NotComplete)));
    goes_on(pair);
}

/// [PAUSE-10] `ask` that nobody answers becomes an abort after 60 s, and not before.
#[test]
fn an_unanswered_question_aborts_after_a_minute() {
    let mut pair = one_stopped(OnTimeout::Ask);
    pair.freeze(1, false);
    pair.freeze(1, true);
    pair.run(6 * SECOND);
    assert!(asks(&pair));
    pair.run(58 * SECOND);
    assert_eq!((pair.phase(0), aborted(&pair)), (Phase::Paused, None));
    pair.run(2 * SECOND);
    assert_eq!((pair.phase(0), aborted(&pair)), (Phase::Sharing, Some(Why::NotComplete)));
    goes_on(pair);
}

/// [PAUSE-10] The question can be answered by `wait`, `proceed` and `abort`.
#[test]
fn a_question_takes_each_answer() {
    for decision in [Decision::Wait, Decision::Proceed, Decision::Abort] {
        let mut pair = one_stopped(OnTimeout::Ask);
        pair.run(6 * SECOND);
        pair.decide(decision);
        pair.run(SECOND);
        match decision {
            Decision::Wait => assert_eq!(pair.phase(0), Phase::Paused),
            Decision::Proceed => assert_eq!(pair.life, 2),
            Decision::Abort => assert_eq!(aborted(&pair), Some(Why::Operator)),
        }
        goes_on(pair);
    }
}

/// [PAUSE-10] `wait` waits for another span, and another.
#[test]
fn wait_waits_on() {
    let mut pair = one_stopped(OnTimeout::Wait);
    pair.run(63 * SECOND);
    assert_eq!((pair.phase(0), pair.life, aborted(&pair)), (Phase::Paused, 1, None));
    goes_on(pair);
}

/// [PROCEED-1] Who did not complete is told DISCONNECT too, behind the answers to what it had sent.
#[test]
fn who_did_not_complete_is_answered_and_disconnected() {
    let mut pair = Pair::sharing(2);
    pair.lag = 12 * SECOND;
    let slot = pair.write(1, 2);
    pair.run(Duration::from_millis(1));
    pair.order(Order { on_timeout: OnTimeout::Proceed, span: 5 * SECOND, ..restart(1) });
    pair.run(6 * SECOND);
    pair.lag = Duration::ZERO;
    pair.until(|pair| pair.life == 2 && pair.all_share());
    assert_eq!(pair.count(&Seen::Down(1, Kind::Disconnect)), 1);
    pair.finish();
    assert_eq!(pair.nodes[1].errors(), 0);
    assert!(pair.nodes[1].answers.iter().any(|(answered, _)| *answered == slot));
}

/// Goes on until the clean record is being written.
fn until_sealing(pair: &mut Pair) {
    pair.until(|pair| {
        pair.target.as_ref().is_some_and(|target| {
            matches!(target.phase(), lull_proto::target::Phase::Sealing { .. })
        })
    });
}

/// [PAUSE-6] While the clean record is being written, an abort revokes it before anybody hears RESUME.
#[test]
fn an_abort_revokes_the_clean_record_before_resume() {
    let mut pair = Pair::sharing(2);
    pair.load_all(4);
    pair.store.delay = Duration::from_millis(200);
    pair.order(restart(1));
    until_sealing(&mut pair);
    pair.trace.clear();
    pair.decide(Decision::Abort);
    pair.until_all_share();
    let revoked = Change::Revoked(RestartId(1));
    assert!(pair.committed_before(&revoked, &Seen::Down(0, Kind::Resume)));
    assert!(pair.committed_before(&revoked, &Seen::Down(1, Kind::Resume)));
    assert_eq!(pair.life, 1);
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-6] A clean record that is there and cannot be revoked keeps everybody paused until it can: a crash of a
/// target that shares would let readers in before its writers have replayed.
#[test]
fn a_clean_record_that_cannot_be_revoked_is_tried_again_before_anybody_goes_on() {
    let mut pair = Pair::sharing(2);
    pair.load_all(4);
    pair.store.delay = Duration::from_millis(200);
    pair.order(restart(1));
    until_sealing(&mut pair);
    pair.store.fails = |change| matches!(change, Change::Revoked(_));
    pair.trace.clear();
    pair.decide(Decision::Abort);
    pair.run(40 * SECOND);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Resume)), 0);
    assert!(pair.count(&Seen::Down(0, Kind::Pause)) > 5, "the pause is renewed meanwhile");
    pair.store.fails = |_| false;
    pair.until_all_share();
    assert!(pair.committed_before(&Change::Revoked(RestartId(1)), &Seen::Down(0, Kind::Resume)));
    assert_eq!(pair.life, 1);
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-6] [SAFE-2] A clean record that could not be written may be there all the same: nobody goes on before it is
/// revoked.
#[test]
fn a_clean_record_that_fails_at_its_last_step_is_revoked_before_anybody_goes_on() {
    let mut pair = Pair::sharing(2);
    pair.load_all(4);
    pair.store.fails = |change| matches!(change, Change::Clean(_) | Change::Revoked(_));
    pair.store.fails_late = true;
    pair.store.delay = Duration::from_millis(200);
    pair.order(restart(1));
    until_sealing(&mut pair);
    pair.until(|pair| pair.committed(&Change::Clean(RestartId(1))));
    // The revocation fails before it is there.
    pair.store.fails_late = false;
    pair.trace.clear();
    pair.run(SECOND);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Resume)), 0);
    pair.run(40 * SECOND);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Resume)), 0);
    assert!(pair.count(&Seen::Down(0, Kind::Pause)) > 5, "the pause is renewed meanwhile");
    pair.store.fails = |_| false;
    pair.until_all_share();
    assert!(pair.committed_before(&Change::Revoked(RestartId(1)), &Seen::Down(0, Kind::Resume)));
    assert_eq!((pair.life, aborted(&pair)), (1, Some(Why::NotRecorded)));
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-10] A state directory that hangs keeps nobody paused for ever: who is paused takes the silence for a loss,
/// so that its own timer runs. [PAUSE-6] It hears no RESUME before the record is revoked all the same.
#[test]
fn a_revocation_that_hangs_is_a_loss_to_who_is_paused() {
    let mut pair = Pair::sharing(1);
    pair.load_all(4);
    pair.store.delay = Duration::from_millis(200);
    pair.order(restart(1));
    until_sealing(&mut pair);
    pair.store.delay = 1000 * SECOND;
    pair.trace.clear();
    pair.decide(Decision::Abort);
    pair.run(299 * SECOND);
    assert_eq!(pair.phase(0), Phase::Paused);
    pair.run(60 * SECOND);
    assert_ne!(pair.phase(0), Phase::Paused, "{}", pair.picture());
    assert_eq!(pair.count(&Seen::Down(0, Kind::Resume)), 0);
    pair.store.delay = Duration::ZERO;
    pair.until_within(1000 * SECOND, Pair::all_share);
    assert!(pair.committed_before(&Change::Revoked(RestartId(1)), &Seen::Down(0, Kind::Resume)));
    assert_eq!(pair.life, 1);
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PAUSE-10] While the record is being revoked the pause is renewed: nobody takes it for a loss.
#[test]
fn a_slow_revocation_is_waited_for() {
    let mut pair = Pair::sharing(1);
    pair.store.delay = 100 * SECOND;
    // The intent takes its time as well.
    pair.order(Order { span: 200 * SECOND, ..restart(1) });
    pair.run(101 * SECOND);
    pair.until(|pair| !pair.store.pending.is_empty());
    pair.decide(Decision::Abort);
    let wires = pair.wires.len();
    pair.until_within(400 * SECOND, Pair::all_share);
    assert_eq!(pair.wires.len(), wires, "its connection stood");
}

/// [PAUSE-10] A host that goes down turns `ask`, `abort` and `wait` into `proceed`, for a restart under way too.
#[test]
fn an_unstoppable_order_makes_every_policy_proceed() {
    for on_timeout in [OnTimeout::Ask, OnTimeout::Abort, OnTimeout::Wait] {
        let mut pair = one_stopped(on_timeout);
        pair.run(SECOND);
        pair.order(Order { unstoppable: true, span: 2 * SECOND, ..restart(2) });
        pair.decide(Decision::Abort);
        pair.decide(Decision::Wait);
        pair.run(3 * SECOND);
        assert_eq!(pair.life, 2, "{on_timeout:?}");
        goes_on(pair);
    }
}

/// [PAUSE-8] Who detaches during a pause counts as done.
#[test]
fn who_detaches_counts_as_done() {
    let mut pair = Pair::sharing(3);
    pair.freeze(2, true);
    pair.order(restart(1));
    pair.until_phase(1, Phase::Paused);
    pair.detach(1);
    pair.run(SECOND);
    assert!(matches!(pair.phase(1), Phase::Ended(_)));
    assert_eq!(pair.target.as_ref().unwrap().seats().count(), 2);
    pair.freeze(2, false);
    pair.until(|pair| pair.life == 2 && pair.phase(0) == Phase::Sharing);
}

/// [PAUSE-8] Who is lost counts as not completed; [SAFE-7] whose place is kept no more is not waited for.
#[test]
fn who_is_lost_counts_as_not_completed_while_its_place_is_kept() {
    let mut pair = Pair::new(2);
    let hold = 10 * SECOND;
    let config = lull_proto::initiator::Config { hold, ..pair.nodes[1].config.clone() };
    pair.nodes[1] = crate::pair::Node::new(config, 1);
    pair.begin_all();
    pair.nodes[1].mute = true;
    pair.cut_now(1);
    pair.run(SECOND);
    pair.order(Order { on_timeout: OnTimeout::Wait, ..restart(1) });
    pair.run(4 * SECOND);
    let rows = pair.target.as_ref().unwrap().rows(pair.now);
    assert!(matches!(rows[1].state, RowState::Lost { .. }));
    assert_eq!(pair.phase(0), Phase::Paused);
    pair.run(12 * SECOND);
    assert_eq!(pair.life, 2);
}

/// [PAUSE-8] During a pause a new attachment is put off; one on the roster is let in, completes without RESUME, and
/// its resume timer does not run.
#[test]
fn the_known_are_let_in_during_a_pause_and_the_new_are_put_off() {
    let mut pair = Pair::new(3);
    for at in 0..2 {
        pair.tell(at, lull_proto::initiator::Event::Begin);
    }
    pair.until(|pair| pair.phase(0) == Phase::Sharing && pair.phase(1) == Phase::Sharing);
    pair.order(Order { purpose: Purpose::Hold, ..restart(1) });
    pair.until(|pair| pair.phase(0) == Phase::Paused && pair.phase(1) == Phase::Paused);
    pair.trace.clear();
    pair.cut_now(0);
    pair.tell(2, lull_proto::initiator::Event::Begin);
    pair.run(200 * SECOND);
    assert_eq!(pair.phase(0), Phase::Paused);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Resume)), 0);
    let expired = |report: &_| matches!(report, lull_proto::initiator::Report::Expired { .. });
    assert!(!pair.nodes[0].reports.iter().any(expired));
    assert!(pair.count(&Seen::Down(2, Kind::Refused)) > 10);
    assert_eq!(pair.count(&Seen::Down(2, Kind::Attached)), 0);
    pair.decide(Decision::Abort);
    pair.until_all_share();
}

/// [PAUSE-8] Who is replaying when PAUSE comes says its progress and completes when the replay is done.
#[test]
fn a_replay_during_a_pause_is_finished_first() {
    let mut pair = Pair::sharing(2);
    pair.freeze(1, true);
    pair.lag = 30 * SECOND;
    pair.write(0, 4);
    pair.run(Duration::from_millis(1));
    pair.crash();
    pair.until_phase(0, Phase::Replaying);
    pair.trace.clear();
    let span = 100 * SECOND;
    pair.order(Order { span, on_timeout: OnTimeout::Proceed, ..restart(1) });
    pair.run(20 * SECOND);
    assert_eq!(pair.phase(0), Phase::Replaying);
    assert!(pair.count(&Seen::Up(0, Kind::PauseProgress)) >= 19, "[PAUSE-4]");
    pair.until_phase(0, Phase::Paused);
    assert_eq!(pair.count(&Seen::Up(0, Kind::PauseComplete)), 1);
    assert_eq!(pair.count(&Seen::Up(0, Kind::Ready)), 0);
    pair.lag = Duration::ZERO;
    goes_on(pair);
}

/// [PAUSE-5] [PAUSE-6] A storage that fails to take the intent or the clean record ends the restart, not the sharing.
#[test]
fn a_failing_store_gives_the_restart_up() {
    type Fails = fn(&Change) -> bool;
    let intent: Fails = |change| matches!(change, Change::Intent(_));
    let clean: Fails = |change| matches!(change, Change::Clean(_));
    for fails in [intent, clean] {
        let mut pair = Pair::sharing(2);
        pair.store.fails = fails;
        pair.order(restart(1));
        pair.run(SECOND);
        assert_eq!((pair.life, aborted(&pair)), (1, Some(Why::NotRecorded)));
        assert!(pair.all_share());
        // Where nothing stops it, it goes all the same.
        pair.order(Order { unstoppable: true, ..restart(2) });
        pair.until(|pair| pair.life == 2 && pair.all_share());
    }
}

/// [PAUSE-10] [TIMER-5] An intent that is not stored in time is given up, whatever the choice is: nobody is paused yet.
/// What ends later changes nothing.
#[test]
fn an_intent_that_hangs_gives_the_restart_up() {
    for on_timeout in [OnTimeout::Ask, OnTimeout::Abort, OnTimeout::Proceed, OnTimeout::Wait] {
        let mut pair = Pair::sharing(1);
        pair.store.delay = 20 * SECOND;
        pair.order(Order { on_timeout, span: 5 * SECOND, ..restart(1) });
        pair.run(4 * SECOND);
        assert_eq!(aborted(&pair), None);
        pair.run(2 * SECOND);
        assert_eq!(aborted(&pair), Some(Why::RecordLate), "{on_timeout:?}");
        pair.run(20 * SECOND);
        assert!(pair.committed(&Change::Intent(RestartId(1))));
        assert_eq!((pair.phase(0), pair.count(&Seen::Down(0, Kind::Pause))), (Phase::Sharing, 0));
        pair.store.delay = Duration::ZERO;
        pair.order(restart(2));
        pair.until(|pair| pair.life == 2 && pair.all_share());
    }
}

/// [PAUSE-10] What nothing may abort goes on without an intent that hangs: with its span, and at once where it is said
/// twice. An order that can be aborted becomes such a one.
#[test]
fn told_to_end_it_does_not_wait_for_an_intent_that_hangs() {
    for (first, more) in [(true, 0), (true, 1), (false, 1), (false, 2)] {
        let mut pair = Pair::sharing(1);
        pair.store.delay = 1000 * SECOND;
        pair.order(Order { unstoppable: first, span: 5 * SECOND, ..restart(1) });
        pair.run(SECOND);
        for _ in 0..more {
            pair.order(Order { unstoppable: true, span: 5 * SECOND, ..restart(2) });
        }
        if usize::from(first) + more < 2 {
            pair.run(3 * SECOND);
            assert_eq!(pair.count(&Seen::Down(0, Kind::Pause)), 0);
            pair.run(2 * SECOND);
        } else {
            pair.run(SECOND / 100);
        }
        assert_eq!(pair.count(&Seen::Down(0, Kind::Pause)), 1, "{first}, {more}");
        // Nor for the clean record behind it.
        pair.until_within(6 * SECOND, |pair| pair.count(&Seen::Down(0, Kind::Disconnect)) == 1);
        pair.store.delay = Duration::ZERO;
        pair.until(|pair| pair.life == 2 && pair.all_share());
        pair.finish();
        assert_eq!(pair.nodes[0].errors(), 0);
    }
}

/// [PAUSE-5] A backend that cannot be flushed gives the restart up, or leaves out the clean record.
#[test]
fn a_failing_flush_aborts_or_omits_the_clean_record() {
    let mut pair = Pair::sharing(2);
    pair.store.durable = false;
    pair.order(restart(1));
    pair.run(SECOND);
    assert_eq!((pair.life, aborted(&pair)), (1, Some(Why::NotDurable)));
    assert!(pair.all_share());
    pair.order(Order { unstoppable: true, ..restart(2) });
    pair.until(|pair| pair.life == 2 && pair.all_share());
    assert!(!pair.committed(&Change::Clean(RestartId(2))));
}

/// [CONN-4] [PAUSE-5] Requests that are in flight when the target leaves are finished before DISCONNECT.
#[test]
fn leaving_drains_what_is_in_flight() {
    let mut pair = Pair::sharing(1);
    pair.lag = 8 * SECOND;
    let slot = pair.write(0, 1);
    pair.run(Duration::from_millis(1));
    pair.order(Order { on_timeout: OnTimeout::Proceed, span: 2 * SECOND, ..restart(1) });
    pair.run(5 * SECOND);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Disconnect)), 0);
    pair.until(|pair| pair.life == 2 && pair.all_share());
    let reply = pair.first(|seen| *seen == Seen::Down(0, Kind::Reply));
    assert!(reply < pair.first(|seen| *seen == Seen::Down(0, Kind::Disconnect)));
    assert_eq!(pair.count(&Seen::Asked(0, slot)), 1, "it was answered, not sent again");
}

/// [PAUSE-11] Nor does another restart's RESUME let go whoever was told PAUSE in the middle of a replay.
#[test]
fn a_replay_under_a_pause_is_not_let_go_by_another_restart() {
    let mut alone = Alone::sharing();
    alone.write_answered();
    alone.lose();
    alone.incarnation = Incarnation([2; 16]);
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.receive(Attached { incarnation: alone.incarnation, ..attached(2) }.into());
    alone.receive(pause(7));
    let ready = alone.sent(Kind::Ready).len();
    alone.receive(resume(4));
    let replayed = alone.transmitted().pop().unwrap();
    alone.reply(replayed.number, StatusCode::Done);
    assert_eq!((alone.sent(Kind::Ready).len(), alone.machine.phase()), (ready, Phase::Flushing));
}

/// [PAUSE-11] In a pause DISCONNECT counts where it names no restart, and with every code that is not about one.
#[test]
fn a_disconnect_that_is_not_about_another_restart_ends_a_pause() {
    for (code, restart, obeyed) in [
        (DisconnectCode::Restart, 4, false),
        (DisconnectCode::Restart, 0, true),
        (DisconnectCode::Restart, 7, true),
        (DisconnectCode::WriteBackFailed, 4, true),
        (DisconnectCode::Shutdown, 4, true),
    ] {
        let mut alone = Alone::sharing();
        alone.receive(pause(7));
        assert_eq!(alone.machine.phase(), Phase::Paused);
        alone.receive(disconnect(code, restart));
        assert_eq!(alone.machine.phase() != Phase::Paused, obeyed, "{code:?} of {restart}");
    }
}

/// [SEC-3] An order counts on the session's own connection alone, and only from ATTACH on.
#[test]
fn an_order_on_another_connection_is_not_obeyed() {
    let mut alone = Alone::sharing();
    let old = alone.conn;
    alone.lose();
    alone.connects();
    alone.attaches(2);
    alone.receive(resume(0));
    for order in [pause(7), disconnect(DisconnectCode::Evicted, 0)] {
        alone.handle(Event::Received { conn: old, message: order });
        assert_eq!(alone.machine.phase(), Phase::Sharing);
    }
    let mut early = Alone::greeted();
    early.receive(welcome());
    early.receive(pause(7));
    assert!(early.violation().is_some());
}

/// [CONN-4] Nothing follows DISCONNECT: the target ends the connection behind it, whether it is read or not.
#[test]
fn disconnect_is_the_last_word_on_a_connection() {
    let mut pair = Pair::sharing(1);
    pair.freeze(0, true);
    pair.evict(0);
    pair.run(SECOND);
    let last = pair.trace.iter().rev().find(|seen| matches!(seen, Seen::Down(..)));
    assert_eq!(last, Some(&Seen::Down(0, Kind::Disconnect)));
    assert!(!pair.wires[0].at_target, "the target has ended it");
    pair.run(60 * SECOND);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Ping)), 0);
}

/// [PAUSE-10] [PAUSE-5] A hold that went on without somebody waits for it when it becomes a restart.
#[test]
fn a_hold_that_becomes_a_restart_waits_for_who_still_drains() {
    let mut pair = Pair::sharing(2);
    pair.lag = 6 * SECOND;
    pair.write(0, 1);
    pair.run(Duration::from_millis(1));
    let (purpose, on_timeout) = (Purpose::Hold, OnTimeout::Proceed);
    pair.order(Order { purpose, on_timeout, span: SECOND, ..restart(1) });
    pair.run(2 * SECOND);
    assert!(pair.reports.iter().any(|report| matches!(report, Report::Quiet { .. })));
    pair.order(Order { unstoppable: true, span: 30 * SECOND, ..restart(2) });
    // The span of the first order counts where it is shorter.
    pair.decide(Decision::Wait);
    pair.run(Duration::from_millis(900));
    assert_eq!(pair.store.log.last(), Some(&Change::Intent(RestartId(1))));
    pair.until(|pair| pair.life == 2 && pair.all_share());
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [SAFE-8] Who was let in during a pause that is aborted shares only once its next life would know what it used.
#[test]
fn an_aborted_pause_lets_nobody_share_whose_resource_is_not_noted() {
    let mut alone = Alone::greeted();
    alone.receive(welcome());
    alone.receive(connect());
    alone.receive(attached(1).into());
    alone.receive(pause(1));
    assert_eq!(alone.sent(Kind::PauseComplete).len(), 1);
    alone.submit(OpCode::Write, 1);
    alone.receive(resume(1));
    assert!(alone.transmitted().is_empty() && alone.sent(Kind::Ready).is_empty());
    alone.handle(Event::Remembered);
    assert_eq!(alone.sent(Kind::Ready).len(), 1);
    alone.receive(resume(0));
    assert_eq!((alone.machine.phase(), alone.transmitted().len()), (Phase::Sharing, 1));
}
