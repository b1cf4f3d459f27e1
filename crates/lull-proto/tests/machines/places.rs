//! How many places a resource has, and when they end.

use crate::pair::{Node, Pair, Seen};
use lull_proto::ConnId;
use lull_proto::initiator::{Event, Phase, Report};
use lull_proto::target::{self, Change, Entry, ResourceIndex, SEATS_LIMIT};
use lull_wire::messages::{Hello, Name, Stall};
use lull_wire::{Access, AttachmentId, Epoch, InstanceId, Kind, RefusalCode, RestartId, Retry};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn reader(number: usize) -> Entry {
    let mut id = [9; 16];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Entry {
        node: Name::new("crowd").unwrap(),
        attachment: AttachmentId(id),
        resource: ResourceIndex(0),
        access: Access::ReadOnly,
        instance: InstanceId([9; 16]),
        epoch: Epoch(1),
        hold: Duration::MAX,
        dirty: false,
        callback: Default::default(),
    }
}

/// [SEC-4] A resource has 1,024 places: one more is told to try again later, and is let in once there is room.
#[test]
fn a_full_resource_takes_nobody_more() {
    let mut pair = Pair::with(&[0, 1]);
    pair.store.roster.extend((0..SEATS_LIMIT).map(|at| (reader(at).attachment, reader(at))));
    pair.crash();
    pair.run(SECOND);
    let at_once = pair.now;
    pair.tell(0, Event::Begin);
    pair.tell(1, Event::Begin);
    pair.until_phase(1, Phase::Sharing);
    pair.run(25 * SECOND);
    let refused: Vec<_> = pair.nodes[0]
        .reports
        .iter()
        .filter_map(|report| match report {
            Report::Refused { refused, .. } => Some((refused.code, refused.retry)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(RefusalCode::Limit, Retry::Later); 3], "since {at_once:?}");
    pair.tell_target(target::Event::Evict { node: Name::new("crowd").unwrap(), resource: None });
    pair.until_phase(0, Phase::Sharing);
}

/// [SAFE-7] A place whose hold span is over is forgotten, also by stable storage; who had it may come back as long as
/// nobody else was let in.
#[test]
fn a_place_ends_with_its_hold() {
    let mut pair = Pair::new(2);
    let hold = 10 * SECOND;
    let config = lull_proto::initiator::Config { hold, ..pair.nodes[1].config.clone() };
    pair.nodes[1] = Node::new(config, 1);
    pair.begin_all();
    let before = pair.nodes[1].memory.tenure;
    pair.nodes[1].mute = true;
    pair.write(1, 1);
    pair.cut_now(1);
    pair.run(9 * SECOND);
    assert_eq!(pair.target.as_ref().unwrap().seats().count(), 2);
    pair.run(2 * SECOND);
    assert_eq!(pair.target.as_ref().unwrap().seats().count(), 1);
    let gone = Change::Gone(pair.nodes[1].config.attachment);
    assert!(pair.committed(&gone));
    let over = |report: &target::Report| matches!(report, target::Report::Over { .. });
    assert_eq!(pair.reports.iter().filter(|report| over(report)).count(), 1);
    pair.nodes[1].mute = false;
    pair.until_all_share();
    pair.finish();
    assert_eq!((pair.nodes[1].errors(), pair.count(&Seen::Down(1, Kind::Refused))), (0, 0));
    assert!(pair.nodes[1].memory.tenure > before, "somebody else might have had it");
}

/// [SAFE-7] The hold counts anew from each start of the target; without limit it never ends.
#[test]
fn a_targets_own_absence_uses_up_no_hold() {
    for (hold, kept) in [(10 * SECOND, false), (Duration::MAX, true)] {
        let mut pair = Pair::new(1);
        let config = lull_proto::initiator::Config { hold, ..pair.nodes[0].config.clone() };
        pair.nodes[0] = Node::new(config, 0);
        pair.begin_all();
        pair.nodes[0].mute = true;
        pair.cut_now(0);
        pair.run(8 * SECOND);
        pair.downtime = Some(60 * SECOND);
        pair.crash();
        pair.run(69 * SECOND);
        let seats = |pair: &Pair| pair.target.as_ref().unwrap().seats().count();
        assert_eq!(seats(&pair), 1, "it began 9 s ago");
        pair.run(2 * SECOND);
        assert_eq!(seats(&pair), usize::from(kept));
        pair.run(100_000 * SECOND);
        assert_eq!(seats(&pair), usize::from(kept));
    }
}

/// [SAFE-5] Its place does not end under an owner who is being let in at that moment.
#[test]
fn a_place_does_not_end_while_its_owner_comes_back() {
    let mut pair = Pair::new(1);
    let hold = 2 * SECOND;
    let config = lull_proto::initiator::Config { hold, ..pair.nodes[0].config.clone() };
    pair.nodes[0] = Node::new(config, 0);
    pair.begin_all();
    pair.store.delay = 5 * SECOND;
    pair.cut_now(0);
    pair.until_all_share();
    pair.run(20 * SECOND);
    assert_eq!(pair.phase(0), Phase::Sharing);
    assert!(!pair.committed(&Change::Gone(pair.nodes[0].config.attachment)));
    assert_eq!(pair.store.roster.len(), 1);
}

/// [SEC-4] One STALL for each RESUME is told; a peer that says more of them fills no log and no record.
#[test]
fn a_flood_of_stalls_is_passed_over() {
    let mut pair = Pair::sharing(1);
    let conn = ConnId(pair.wires.len() as u64 - 1);
    let restart = RestartId(0);
    let stall = Stall { restart, longest_us: 1, held: 0, away_us: 0, resume_us: 0 };
    for _ in 0..100 {
        pair.tell_target(target::Event::Received { conn, message: stall.clone().into() });
    }
    let told = |report: &&target::Report| matches!(report, target::Report::Stall { .. });
    assert_eq!(pair.reports.iter().filter(told).count(), 1);
    pair.order(crate::pair::restart(1));
    pair.until_phase(0, Phase::Paused);
    pair.decide(target::Decision::Abort);
    pair.until_all_share();
    pair.run(SECOND);
    assert_eq!(pair.reports.iter().filter(told).count(), 2, "what the pause cost");
}

/// [SEC-4] Who says nothing, or who he is and nothing more, is not kept.
#[test]
fn who_does_not_ask_to_be_let_in_is_sent_away() {
    let mut pair = Pair::new(1);
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([9; 16]),
        node: Name::new("stranger").unwrap(),
        software: Name::default(),
        callback: Default::default(),
    };
    let (silent, named) = (ConnId(1000), ConnId(1001));
    let (now, target, mut actions) = (pair.now, pair.target.as_mut().unwrap(), Vec::new());
    target.handle(now, target::Event::Accepted { conn: silent }, &mut actions);
    target.handle(now, target::Event::Accepted { conn: named }, &mut actions);
    let message = hello.into();
    target.handle(now, target::Event::Received { conn: named, message }, &mut actions);
    target.handle(now + 9 * SECOND, target::Event::Tick, &mut actions);
    assert!(target.session(silent).is_some() && target.session(named).is_some());
    assert!(target.deadline().is_some_and(|at| at <= now + 10 * SECOND));
    target.handle(now + 10 * SECOND, target::Event::Tick, &mut actions);
    for conn in [silent, named] {
        assert!(actions.contains(&target::Action::HangUp { conn }), "{conn:?}");
        assert!(target.session(conn).is_none());
    }
}
