//! A resource's promise about unflushed data has lives: who reads waits for those who must replay, and a failed
//! write-back begins a new one.

use crate::pair::{Pair, Seen, config, restart};
use lull_proto::initiator::{self, Phase};
use lull_proto::target::{self, Change, Ended, Refusal, Report, ResourceIndex};
use lull_wire::{Access, DisconnectCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn reader(pair: &Pair) -> initiator::Config {
    initiator::Config { access: Access::ReadOnly, ..config(pair.nodes.len() - 1, "disk-a") }
}

/// A writer that shares, and a reader that has not begun.
fn writer_and_reader() -> Pair {
    let mut pair = Pair::with(&[0, 0]);
    let config = reader(&pair);
    pair.nodes[1] = crate::pair::Node::new(config, 0);
    pair.tell(0, initiator::Event::Begin);
    pair.until_phase(0, Phase::Sharing);
    pair
}

fn waits_for_replay(report: &Report) -> bool {
    matches!(report, Report::Refused { refusal: Refusal::NotReplayed { .. }, .. })
}

/// [SAFE-2] A reader is not served what a crash left, but what its writer had been acknowledged.
#[test]
fn a_reader_waits_until_the_lost_writer_has_replayed() {
    let mut pair = writer_and_reader();
    for block in 0..8 {
        pair.write(0, block);
    }
    pair.finish();
    pair.nodes[0].mute = true;
    pair.crash();
    pair.until(|pair| pair.life == 2);
    pair.tell(1, initiator::Event::Begin);
    pair.run(3 * SECOND);
    assert!(pair.reports.iter().any(waits_for_replay));
    assert_ne!(pair.phase(1), Phase::Sharing);
    let target = pair.target.as_ref().unwrap();
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), true).is_err());
    pair.nodes[0].mute = false;
    pair.until_all_share();
    for block in 0..8 {
        pair.read(1, block);
    }
    pair.finish();
}

/// [SAFE-7] An evicted writer's replay is lost, and waited for no more.
#[test]
fn a_reader_does_not_wait_for_who_was_evicted() {
    let mut pair = writer_and_reader();
    pair.nodes[0].mute = true;
    pair.crash();
    pair.until(|pair| pair.life == 2);
    pair.tell(1, initiator::Event::Begin);
    pair.run(SECOND);
    let node = pair.nodes[0].config.node.clone();
    pair.tell_target(lull_proto::target::Event::Evict { node, resource: None });
    pair.until_phase(1, Phase::Sharing);
}

/// [SAFE-10] After a pause that the writer completed there is nothing to wait for, as the clean record says.
#[test]
fn after_a_clean_restart_readers_do_not_wait() {
    let mut pair = writer_and_reader();
    pair.write(0, 1);
    pair.finish();
    pair.downtime = Some(SECOND);
    pair.order(restart(1));
    pair.until(|pair| pair.target.is_none());
    pair.nodes[0].mute = true;
    pair.tell(1, initiator::Event::Begin);
    pair.until_phase(1, Phase::Sharing);
    assert!(!pair.reports.iter().any(waits_for_replay));
}

/// [PAUSE-6] A revoked clean record makes every writer dirty again, before it is told to go on.
#[test]
fn who_goes_on_after_an_abort_is_waited_for_again() {
    let mut pair = writer_and_reader();
    pair.store.delay = SECOND;
    pair.order(restart(1));
    pair.until(|pair| pair.store.pending.values().any(|change| matches!(change, Change::Clean(_))));
    pair.tell_target(lull_proto::target::Event::Decide(lull_proto::target::Decision::Abort));
    pair.until_phase(0, Phase::Sharing);
    assert!(pair.store.roster.values().all(|entry| entry.dirty));
}

/// [SAFE-2] Who replayed in a pause that was aborted says so: readers do not wait for it for ever.
#[test]
fn a_replay_in_an_aborted_pause_is_heard_of() {
    let mut pair = writer_and_reader();
    pair.write(0, 1);
    pair.finish();
    pair.crash();
    pair.order(restart(1));
    pair.until(|pair| pair.life == 2);
    pair.order(restart(2));
    pair.until_phase(0, Phase::Paused);
    pair.tell_target(lull_proto::target::Event::Decide(lull_proto::target::Decision::Abort));
    pair.until_phase(0, Phase::Sharing);
    pair.tell(1, initiator::Event::Begin);
    pair.until_phase(1, Phase::Sharing);
}

/// [SAFE-4] [PAUSE-11] A failed write-back sends everybody on the resource away, by its name; the flush that failed is
/// not answered until what was lost is written again, and flushed.
#[test]
fn a_failed_write_back_is_a_new_life_and_loses_nothing() {
    let mut pair = Pair::sharing(2);
    pair.load_all(6);
    pair.run(Duration::from_millis(20));
    for failure in 1..=5 {
        pair.lanes.failing = 1;
        pair.until(|pair| pair.count(&Seen::Renewed(0)) + pair.count(&Seen::Renewed(1)) == failure);
        pair.until_within(40 * SECOND, Pair::all_share);
        pair.run(Duration::from_millis(50));
    }
    pair.finish();
    let told = |report: &&Report| {
        matches!(report, Report::Disconnected { code: DisconnectCode::WriteBackFailed, .. })
    };
    assert_eq!(pair.reports.iter().filter(told).count(), 5, "the other resource's user stays");
    assert!(pair.nodes.iter().all(|node| node.errors() == 0));
    assert_eq!(pair.life, 1);
}

/// [SAFE-4] A medium that fails again and again rests longer and longer, with everything kept, and is used again once
/// it works.
#[test]
fn a_medium_that_keeps_failing_rests() {
    let mut pair = Pair::sharing(1);
    pair.lanes.failing = 4;
    for block in 0..4 {
        pair.write(0, block);
    }
    pair.submit(0, initiator::Ask::FLUSH);
    let begun = pair.now;
    pair.until_within(60 * SECOND, |pair| pair.nodes[0].waiting.is_empty());
    assert!(pair.now.since(begun) >= 7 * SECOND, "1 s, 2 s and 4 s");
    assert_eq!(pair.nodes[0].errors(), 0);
    let rests = |report: &&Report| {
        matches!(report, Report::Refused { refusal: Refusal::WriteBackFailed { .. }, .. })
    };
    assert!(pair.reports.iter().filter(rests).count() >= 3);
}

/// [SAFE-4] A connection to the medium that is lost is no failure of it: however often, a new life begins and nobody waits for
/// it any longer; and what fails after that has failed once.
#[test]
fn a_medium_that_may_have_forgotten_does_not_rest() {
    let mut pair = Pair::sharing(1);
    let resource = ResourceIndex(0);
    for life in 1..=5 {
        pair.write(0, life);
        let forgot = target::Event::LifeEnded { resource, why: Ended::Forgotten };
        pair.tell_target(forgot);
        pair.until(|pair| pair.count(&Seen::Renewed(0)) == life as usize);
        pair.until_within(SECOND / 2, Pair::all_share);
    }
    pair.lanes.failing = 1;
    pair.submit(0, initiator::Ask::FLUSH);
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
    let failures = pair.reports.iter().filter_map(|report| match report {
        Report::WriteBackFailed { failures, .. } => Some(*failures),
        _ => None,
    });
    assert_eq!(failures.collect::<Vec<_>>(), [1]);
}

/// [SAFE-4] Where the next life cannot be recorded nobody is let in, and it is recorded later.
#[test]
fn a_life_that_cannot_be_recorded_is_recorded_later() {
    let mut pair = Pair::sharing(1);
    pair.store.fails = |change| matches!(change, Change::Incarnation(..));
    pair.lanes.failing = 1;
    pair.write(0, 1);
    pair.submit(0, initiator::Ask::FLUSH);
    pair.run(5 * SECOND);
    assert_ne!(pair.phase(0), Phase::Sharing);
    pair.store.fails = |_| false;
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [SAFE-4] A life that ends before it is recorded is followed by another one: lanes that open later must not be those
/// of a life that is over, which answer nobody.
#[test]
fn a_life_that_ends_while_it_is_recorded_is_renewed() {
    let mut pair = Pair::sharing(1);
    pair.store.delay = SECOND;
    pair.lanes.failing = 1;
    pair.write(0, 1);
    pair.submit(0, initiator::Ask::FLUSH);
    pair.until(|pair| pair.count(&Seen::Renewed(0)) == 1);
    let resource = ResourceIndex(0);
    pair.tell_target(lull_proto::target::Event::LifeEnded { resource, why: Ended::WriteBack });
    pair.until_within(20 * SECOND, |pair| pair.count(&Seen::Renewed(0)) == 2);
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [SAFE-4] A place may be given up while its requests are under way, since its hold is over: the next life waits for
/// them all the same.
#[test]
fn no_life_begins_while_requests_of_a_place_that_is_gone_are_under_way() {
    use lull_proto::target::{Action, Event, Ticket};
    use lull_proto::{ConnId, MonoTime};
    use lull_wire::messages::{Attach, Hello, Name};
    use lull_wire::{
        AttachmentId, Epoch, Incarnation, InstanceId, RequestNumber, ResourceId, Tenure,
    };
    let (mut target, conn, resource) =
        (crate::arbitrary::fresh_target(), ConnId(1), ResourceIndex(0));
    let mut at = |millis: u64, event: Event| {
        let mut actions = Vec::new();
        target.handle(MonoTime(1) + Duration::from_millis(millis), event, &mut actions);
        actions
    };
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([1; 16]),
        node: Name::new("a").unwrap(),
        software: Name::default(),
        callback: Default::default(),
    };
    let attach = Attach {
        attachment: AttachmentId([1; 16]),
        resource: Name::new("disk-a").unwrap(),
        identity: ResourceId::NONE,
        access: Access::ReadOnly,
        epoch: Epoch(1),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: 6,
        incarnation: Incarnation::NONE,
        tenure: Tenure(0),
        lowest: RequestNumber(1),
    };
    at(0, Event::Accepted { conn });
    at(0, Event::Received { conn, message: hello.into() });
    at(0, Event::Received { conn, message: attach.into() });
    let opened = at(0, Event::Recorded { ticket: Ticket(1), ok: true });
    assert!(opened.iter().any(|action| matches!(action, Action::Open { .. })));
    let ended = at(1, Event::LifeEnded { resource, why: Ended::WriteBack });
    assert!(ended.contains(&Action::Close { conn }), "{ended:?}");
    let renews = |actions: &[Action]| actions.contains(&Action::Renew { resource });
    for millis in [8, 9, 5_000] {
        assert!(!renews(&at(millis, Event::Tick)), "its reads are under way");
    }
    assert!(renews(&at(5_001, Event::Drained { conn })));
}
