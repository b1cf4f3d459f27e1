//! Several initiators that write to one resource: who may, and who waits for whom after a restart.

use crate::pair::{Node, Pair, restart};
use lull_proto::initiator::{Config, Event, Phase, Report};
use lull_proto::target::{self, Change, ResourceIndex};
use lull_proto::{ConnId, MonoTime};
use lull_wire::{Access, RefusalCode, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BARRIER: Duration = Duration::from_secs(60);

/// Nodes that share one resource, each with what `change` makes of it; not begun.
fn crowd(count: usize, change: impl Fn(usize, &mut Config)) -> Pair {
    let mut pair = Pair::with(&vec![0; count]);
    pair.barrier = BARRIER;
    for at in 0..count {
        let mut config = pair.nodes[at].config.clone();
        config.access = Access::Shared;
        change(at, &mut config);
        pair.nodes[at] = Node::new(config, 0);
    }
    pair
}

/// The same, sharing.
fn sharing(count: usize) -> Pair {
    let mut pair = crowd(count, |_, _| {});
    pair.begin_all();
    pair
}

fn missed(pair: &Pair, at: usize) -> usize {
    pair.nodes[at].reports.iter().filter(|one| matches!(one, Report::Missed { .. })).count()
}

fn left(pair: &Pair, since: MonoTime) -> Duration {
    pair.now.since(since)
}

/// [SAFE-9] Any number share, readers go beside them, and who would write alone is refused, as is who would share what
/// one writes alone.
#[test]
fn sharers_go_beside_each_other_and_not_beside_one_who_writes_alone() {
    let mut pair = crowd(4, |at, config| match at {
        2 => config.access = Access::ReadOnly,
        3 => config.access = Access::ReadWrite,
        _ => {}
    });
    (0..4).for_each(|at| pair.tell(at, Event::Begin));
    pair.until(|pair| (0..3).all(|at| pair.phase(at) == Phase::Sharing));
    pair.until(|pair| matches!(pair.phase(3), Phase::Ended(_)));
    let refused = |report: &Report| match report {
        Report::Refused { refused, .. } => Some(refused.code),
        _ => None,
    };
    let codes: Vec<_> = pair.nodes[3].reports.iter().filter_map(refused).collect();
    assert_eq!(codes, [RefusalCode::Conflict]);
    let target = pair.target.as_ref().unwrap();
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), false).is_err());
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), true).is_ok());

    let mut pair = crowd(2, |at, config| {
        if at == 0 {
            config.access = Access::ReadWrite;
        }
    });
    pair.tell(0, Event::Begin);
    pair.until_phase(0, Phase::Sharing);
    pair.tell(1, Event::Begin);
    pair.until(|pair| matches!(pair.phase(1), Phase::Ended(_)));
}

/// [RESUME-2] After a crash nobody goes on before everybody is back, and then at once: there is no fixed wait.
#[test]
fn a_shared_resource_opens_as_soon_as_all_are_back() {
    let mut pair = sharing(3);
    pair.nodes[2].mute = true;
    pair.crash();
    pair.run(20 * SECOND);
    for at in 0..2 {
        assert_eq!(pair.phase(at), Phase::Ready, "it waits for node 2");
    }
    let closed = pair.target.as_ref().unwrap().closed(ResourceIndex(0)).expect("it is closed");
    let missing: Vec<_> = closed.missing.iter().map(|seat| seat.entry.attachment).collect();
    assert_eq!(missing, [pair.nodes[2].config.attachment], "status names whom it waits for");
    pair.nodes[2].mute = false;
    let since = pair.now;
    pair.until_all_share();
    assert!(left(&pair, since) < 5 * SECOND);
    assert!((0..3).all(|at| missed(&pair, at) == 0));
}

/// [RESUME-2] Who is clean has nothing to send again: after a restart that all had paused for, nobody waits for anybody.
#[test]
fn after_a_completed_pause_a_sharer_waits_for_no_other() {
    let mut pair = sharing(2);
    pair.order(restart(1));
    pair.until(|pair| pair.target.is_none());
    pair.nodes[1].mute = true;
    pair.until_phase(0, Phase::Sharing);
    pair.nodes[1].mute = false;
    pair.until_all_share();
}

/// [RESUME-2] At the end of the span the others go on; who was missing is told that the outcome of its unanswered
/// changes is unknown, sends none of them again, and goes on as well.
#[test]
fn who_misses_the_barrier_loses_what_is_unanswered_and_goes_on() {
    let mut pair = sharing(2);
    pair.lag = 5 * SECOND;
    let (lost, read) = (pair.write(1, 3), pair.read(1, 9));
    pair.run(Duration::from_millis(10));
    pair.nodes[1].mute = true;
    pair.crash();
    pair.lag = Duration::ZERO;
    pair.until_phase(0, Phase::Ready);
    let since = pair.now;
    pair.until_phase(0, Phase::Sharing);
    let waited = left(&pair, since);
    assert!(waited + SECOND > BARRIER && waited < BARRIER + SECOND, "{waited:?}");
    let given_up = |change: &Change| matches!(change, Change::Missed(whom, ..) if whom.len() == 1);
    assert!(pair.store.log.iter().any(given_up), "it is written before anybody goes on");
    pair.write(0, 3);
    pair.until(|pair| pair.nodes[0].waiting.is_empty());
    pair.nodes[1].mute = false;
    pair.until_all_share();
    pair.finish();
    assert_eq!(missed(&pair, 1), 1);
    assert!(pair.nodes[1].answers.contains(&(lost, StatusCode::Io)));
    assert!(pair.nodes[1].answers.contains(&(read, StatusCode::Done)), "a read is sent again");
    pair.write(1, 3);
    pair.finish();
    assert_eq!(pair.nodes[1].errors(), 1);
}

/// [RESUME-2] An operator who evicts the one that is missing opens the resource, once that is written.
#[test]
fn evicting_the_missing_one_opens_the_resource() {
    let mut pair = sharing(2);
    pair.nodes[1].mute = true;
    pair.crash();
    pair.until_phase(0, Phase::Ready);
    pair.run(SECOND);
    assert_eq!(pair.phase(0), Phase::Ready);
    pair.store.delay = SECOND;
    pair.evict(1);
    pair.run(SECOND / 2);
    assert_eq!(pair.phase(0), Phase::Ready, "it is not written yet");
    pair.until_phase(0, Phase::Sharing);
}

/// [RESUME-2] CONNECT says how long others may be waited for, so that no resume timer ends meanwhile.
#[test]
fn the_resume_timer_lasts_beyond_the_barrier() {
    let mut pair = crowd(2, |_, config| config.resume_timeout = 2 * SECOND);
    pair.begin_all();
    pair.nodes[1].mute = true;
    pair.crash();
    pair.until_phase(0, Phase::Sharing);
    let expired = |report: &Report| matches!(report, Report::Expired { .. });
    assert!(!pair.nodes[0].reports.iter().any(expired));
}

/// [RESUME-2] A sharer whose changes are being executed again is waited for longer, and not for ever.
#[test]
fn progress_extends_the_barrier() {
    let mut pair = sharing(2);
    pair.write(1, 1);
    pair.crash();
    pair.lag = 400 * SECOND;
    pair.until_phase(0, Phase::Ready);
    pair.until_phase(1, Phase::Replaying);
    let conn = pair.wires.iter().rposition(|wire| wire.node == 1 && wire.at_node).unwrap();
    for _ in 0..5 {
        pair.run(BARRIER / 2);
        let now = pair.now;
        pair.target.as_mut().unwrap().progressed(now, ConnId(conn as u64));
        assert_eq!((pair.phase(0), pair.phase(1)), (Phase::Ready, Phase::Replaying));
    }
    pair.until_within(BARRIER + SECOND, |pair| pair.phase(0) == Phase::Sharing);
}

/// [SAFE-11] What a sharer sends again has the number that it had, in a new incarnation as well.
#[test]
fn a_sharer_keeps_its_numbers_over_a_crash() {
    let mut pair = sharing(1);
    pair.lag = SECOND;
    let first = pair.write(0, 1);
    pair.write(0, 2);
    pair.run(Duration::from_millis(10));
    let numbers = |pair: &Pair| -> Vec<u64> {
        let lanes = pair.lanes.lanes.values().flat_map(|lane| lane.running.values());
        lanes.map(|(request, _)| request.number.0).collect()
    };
    let before = numbers(&pair);
    assert_eq!(before.len(), 2);
    pair.crash();
    pair.until(|pair| numbers(pair).len() == 2);
    assert_eq!(numbers(&pair), before);
    pair.lag = Duration::ZERO;
    pair.finish();
    assert!(pair.nodes[0].answers.contains(&(first, StatusCode::Done)));
}

/// [SAFE-11] [SAFE-1] Each change of a sharer is durable before it is answered: nothing is retained.
#[test]
fn a_sharer_retains_nothing_and_loses_nothing() {
    let mut pair = sharing(2);
    pair.load_all(8);
    for _ in 0..20 {
        pair.run(Duration::from_millis(200));
        pair.crash();
        pair.until_all_share();
    }
    assert!(pair.nodes.iter().all(|node| node.retained.is_empty()));
}

/// [RESUME-2] [PAUSE-6] A pause that is aborted while others are waited for lets nobody go on too early.
#[test]
fn an_aborted_pause_opens_nothing() {
    let mut pair = sharing(2);
    pair.nodes[1].mute = true;
    pair.crash();
    pair.until_phase(0, Phase::Ready);
    pair.order(restart(7));
    pair.until_phase(0, Phase::Paused);
    pair.decide(target::Decision::Abort);
    pair.run(10 * SECOND);
    assert_eq!(pair.phase(0), Phase::Ready);
    pair.nodes[1].mute = false;
    pair.until_all_share();
}

/// [SAFE-7] [RESUME-2] That others went on without a sharer could not be written at first, and it is back before it is:
/// the place that it has by then stays, and so does its tenure.
#[test]
fn a_loss_that_is_written_late_takes_no_new_place_away() {
    let mut pair = sharing(2);
    pair.nodes[1].mute = true;
    pair.crash();
    pair.store.fails = |change| matches!(change, Change::Missed(..));
    pair.until_phase(0, Phase::Ready);
    pair.run(BARRIER + SECOND);
    pair.nodes[1].mute = false;
    pair.until_phase(1, Phase::Ready);
    let tenure = |pair: &Pair| pair.target.as_ref().unwrap().resources()[0].tenure;
    let granted = tenure(&pair);
    pair.store.fails = |_| false;
    pair.until_all_share();
    assert_eq!((pair.store.roster.len(), pair.store.tenures[0]), (2, granted));
}
