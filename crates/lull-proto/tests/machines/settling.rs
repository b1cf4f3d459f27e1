//! From the last PAUSE COMPLETE to the end of the target: what comes back meanwhile, and what hangs.

use crate::pair::{Node, Order, Pair, Seen, restart};
use lull_proto::initiator::{Event, Phase};
use lull_proto::target::{self, Change, Decision, OnTimeout, Report};
use lull_wire::{Kind, RestartId};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn settles(pair: &Pair) -> bool {
    let target = pair.target.as_ref();
    target.is_some_and(|target| matches!(target.phase(), target::Phase::Settling { .. }))
}

/// The second of two is lost with a write under way, and its place is kept no longer once a pause is under way; so
/// the target settles without it, which takes a while.
fn settles_without_the_second(order: Order) -> Pair {
    let mut pair = Pair::new(2);
    let hold = 3 * SECOND;
    let config = lull_proto::initiator::Config { hold, ..pair.nodes[1].config.clone() };
    pair.nodes[1] = Node::new(config, 1);
    pair.begin_all();
    pair.lag = 2 * SECOND;
    pair.write(1, 2);
    pair.run(Duration::from_millis(1));
    pair.nodes[1].mute = true;
    pair.cut_now(1);
    pair.store.flush = 20 * SECOND;
    pair.order(order);
    pair.until(settles);
    pair
}

/// [PAUSE-5] [PAUSE-8] What somebody who came back sends while the backends flush is not covered by that flush: it is
/// waited for, and flushed again, before the clean record. [SAFE-7] In a pause its place is kept beyond its hold.
#[test]
fn who_comes_back_while_the_backends_flush_is_waited_for() {
    let mut pair = settles_without_the_second(Order { on_timeout: OnTimeout::Wait, ..restart(1) });
    pair.nodes[1].mute = false;
    pair.lag = 30 * SECOND;
    pair.write(1, 3);
    pair.trace.clear();
    pair.until_within(300 * SECOND, |pair| pair.committed(&Change::Clean(RestartId(1))));
    let complete = pair.first(|seen| *seen == Seen::Up(1, Kind::PauseComplete));
    let flushed = pair.first(|seen| *seen == Seen::MakeDurable);
    let clean = pair.first(|seen| *seen == Seen::Committed(Change::Clean(RestartId(1))));
    assert!(complete < flushed && flushed < clean, "{}", pair.picture());
    let again = |report: &Report| matches!(report, Report::PausingAgain { .. });
    assert_eq!(pair.reports.iter().filter(|report| again(report)).count(), 1);
    pair.lag = Duration::ZERO;
    pair.until(|pair| pair.life == 2 && pair.all_share());
    pair.finish();
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
}

/// [PROCEED-1] Whom an operator left behind is not waited for, whatever it does while the backends flush.
#[test]
fn who_was_left_behind_is_not_waited_for_while_settling() {
    let mut pair = Pair::sharing(2);
    pair.freeze(1, true);
    pair.write(1, 2);
    pair.order(restart(1));
    pair.run(SECOND);
    pair.store.flush = 5 * SECOND;
    pair.decide(Decision::Proceed);
    pair.run(SECOND);
    pair.freeze(1, false);
    pair.lag = 60 * SECOND;
    pair.run(5 * SECOND);
    assert!(pair.committed(&Change::Clean(RestartId(1))));
    pair.lag = Duration::ZERO;
    pair.until_within(200 * SECOND, |pair| pair.life == 2 && pair.all_share());
}

/// [PAUSE-10] Who is told twice to end does not wait for a medium or a state directory that hangs: it goes without
/// its clean record.
#[test]
fn said_twice_the_end_waits_neither_for_a_flush_nor_for_the_record() {
    for hangs_in_flush in [true, false] {
        let mut pair = Pair::sharing(2);
        if hangs_in_flush {
            pair.store.flush = 1000 * SECOND;
        }
        let order = Order { unstoppable: true, span: 1000 * SECOND, ..restart(1) };
        pair.order(order.clone());
        pair.until(settles);
        if !hangs_in_flush {
            pair.store.delay = 1000 * SECOND;
        }
        pair.run(100 * SECOND);
        assert_eq!((pair.life, pair.phase(0)), (1, Phase::Paused));
        pair.order(order);
        pair.run(SECOND / 100);
        assert_eq!(
            pair.count(&Seen::Down(0, Kind::Disconnect)),
            1,
            "hangs in flush: {hangs_in_flush}"
        );
        pair.store.delay = Duration::ZERO;
        pair.until(|pair| pair.life == 2 && pair.all_share());
        pair.finish();
        assert!(pair.nodes.iter().all(|node| node.errors() == 0));
    }
}

/// [TIMER-5] A target that would go, and cannot because a medium does not answer, says for whom it waits.
#[test]
fn a_target_that_would_go_says_for_whom_it_waits() {
    let mut pair = Pair::sharing(2);
    pair.lag = 30 * SECOND;
    pair.write(1, 1);
    pair.run(Duration::from_millis(1));
    pair.order(Order { on_timeout: OnTimeout::Proceed, span: 2 * SECOND, ..restart(1) });
    pair.run(14 * SECOND);
    let lingering: Vec<_> = pair
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::Lingering { sessions, agentless, .. } => Some((sessions.clone(), *agentless)),
            _ => None,
        })
        .collect();
    let name = pair.nodes[1].config.node.clone();
    assert_eq!(lingering, [(vec![name.clone()], 0), (vec![name], 0)]);
    pair.until(|pair| pair.life == 2 && pair.all_share());
}

/// [PAUSE-10] A state directory that hangs keeps no target that goes, be it behind one who detaches or one who comes.
#[test]
fn a_target_that_goes_does_not_wait_for_a_roster_that_cannot_be_written() {
    for detaches in [true, false] {
        let mut pair = Pair::sharing(2);
        pair.store.delay = 1000 * SECOND;
        if detaches {
            pair.tell(1, Event::Detach { at_once: false });
        } else {
            pair.cut_now(1);
        }
        pair.run(2 * SECOND);
        let span = SECOND;
        pair.order(Order { unstoppable: true, on_timeout: OnTimeout::Proceed, span, ..restart(1) });
        pair.until_within(20 * SECOND, |pair| pair.life == 2);
        let lingers = |report: &Report| matches!(report, Report::Lingering { .. });
        assert!(!pair.reports.iter().any(lingers), "no request keeps it");
        pair.store.delay = Duration::ZERO;
        pair.until(|pair| pair.life == 2 && pair.phase(0) == Phase::Sharing);
        pair.finish();
    }
}

/// [PAUSE-10] A medium whose flush hangs is waited for as long as somebody who does not complete is, and the same
/// follows; so is a state directory that does not take the clean record.
#[test]
fn what_hangs_after_the_last_pause_complete_is_waited_for_by_the_same_timer() {
    for hangs_in_flush in [true, false] {
        for on_timeout in [OnTimeout::Abort, OnTimeout::Proceed, OnTimeout::Ask, OnTimeout::Wait] {
            let mut pair = Pair::sharing(2);
            if hangs_in_flush {
                pair.store.flush = 1000 * SECOND;
            }
            pair.order(Order { on_timeout, span: 5 * SECOND, ..restart(1) });
            pair.until(settles);
            if !hangs_in_flush {
                pair.store.delay = 10 * SECOND;
            }
            let what = format!("{on_timeout:?}, in flush: {hangs_in_flush}\n{}", pair.picture());
            pair.run(4 * SECOND);
            assert_eq!((pair.life, pair.phase(0)), (1, Phase::Paused), "{what}");
            let asks =
                |pair: &Pair| pair.reports.iter().any(|one| matches!(one, Report::Asking { .. }));
            assert!(!asks(&pair), "{what}");
            pair.run(2 * SECOND);
            let told = pair.count(&Seen::Down(0, Kind::Disconnect));
            assert_eq!(told, usize::from(on_timeout == OnTimeout::Proceed), "{what}");
            assert_eq!(asks(&pair), on_timeout == OnTimeout::Ask, "{what}");
            if on_timeout == OnTimeout::Ask {
                pair.run(61 * SECOND);
            }
            if on_timeout == OnTimeout::Wait {
                // A renewed PAUSE names the span that remains, so that nobody takes the silence for a loss.
                pair.run(8 * SECOND);
                assert_eq!(
                    (pair.life, pair.phase(0)),
                    (1 + u64::from(!hangs_in_flush), pair.phase(0))
                );
                (pair.store.flush, pair.store.delay) = (SECOND / 100, SECOND / 100);
                pair.decide(Decision::Abort);
            }
            pair.store.delay = SECOND / 100;
            pair.until_all_share();
            pair.finish();
            assert!(pair.nodes.iter().all(|node| node.errors() == 0), "{what}");
        }
    }
}

/// [PAUSE-10] Whom nothing may abort goes without its clean record.
#[test]
fn told_to_end_once_it_waits_no_longer_than_the_timer_for_what_hangs() {
    for hangs_in_flush in [true, false] {
        let mut pair = Pair::sharing(1);
        if hangs_in_flush {
            pair.store.flush = 1000 * SECOND;
        }
        pair.order(Order { unstoppable: true, span: 5 * SECOND, ..restart(1) });
        pair.until(settles);
        if !hangs_in_flush {
            pair.store.delay = 1000 * SECOND;
        }
        pair.run(4 * SECOND);
        assert_eq!(pair.count(&Seen::Down(0, Kind::Disconnect)), 0);
        pair.until_within(2 * SECOND, |pair| pair.count(&Seen::Down(0, Kind::Disconnect)) == 1);
        pair.store.delay = Duration::ZERO;
        pair.until(|pair| pair.life == 2 && pair.all_share());
        pair.finish();
    }
}

/// [PAUSE-10] A pause that is to be kept up is not kept up over a medium that hangs, whatever the choice is.
#[test]
fn a_hold_over_a_medium_that_hangs_is_given_up() {
    let mut pair = Pair::sharing(1);
    pair.store.flush = 1000 * SECOND;
    let purpose = target::Purpose::Hold;
    let on_timeout = OnTimeout::Proceed;
    pair.order(Order { purpose, on_timeout, span: 5 * SECOND, ..restart(1) });
    pair.run(6 * SECOND);
    let why =
        |report: &Report| matches!(report, Report::Aborted { why: target::Why::FlushLate, .. });
    assert!(pair.reports.iter().any(why));
    assert_eq!((pair.life, pair.phase(0)), (1, Phase::Sharing));
}
