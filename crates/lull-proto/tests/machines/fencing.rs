//! Who may attach, and what must be over first.

use crate::pair::{Node, Order, Pair, Seen, restart};
use lull_proto::initiator::{Config, End, Event, Memory, Phase, Report};
use lull_proto::target::{Change, Holder, OnTimeout, Purpose, Refusal, ResourceIndex};
use lull_wire::{Access, AttachmentId, InstanceId, Kind, RefusalCode, StatusCode};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Nodes on one resource, each begun by hand.
fn rivals(count: usize, change: impl Fn(usize, &mut Config)) -> Pair {
    let mut pair = Pair::with(&vec![0; count]);
    for at in 0..count {
        let mut config = pair.nodes[at].config.clone();
        change(at, &mut config);
        pair.nodes[at] = Node::new(config, 0);
    }
    pair
}

fn begin(pair: &mut Pair, at: usize) {
    pair.tell(at, Event::Begin);
}

pub fn refusals(pair: &Pair, at: usize) -> Vec<RefusalCode> {
    let refused = |report: &Report| match report {
        Report::Refused { refused, .. } => Some(refused.code),
        _ => None,
    };
    pair.nodes[at].reports.iter().filter_map(refused).collect()
}

/// [SAFE-5] A new epoch is granted only when the old lane has nothing under way.
#[test]
fn a_new_epoch_waits_for_the_old_lane() {
    let mut pair = Pair::sharing(1);
    pair.lag = 4 * SECOND;
    pair.write(0, 1);
    pair.run(Duration::from_millis(1));
    pair.trace.clear();
    pair.cut_now(0);
    pair.run(3 * SECOND);
    assert!(pair.count(&Seen::Up(0, Kind::Attach)) >= 1);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Attached)), 0);
    pair.lag = Duration::ZERO;
    pair.until_all_share();
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [SAFE-5] [SAFE-9] Another writer is let in only when nothing of the one before can reach the medium.
#[test]
fn another_writer_waits_for_the_lane_of_the_one_before() {
    let mut pair = rivals(2, |at, config| {
        if at == 0 {
            config.hold = Duration::ZERO;
        }
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    pair.lag = 4 * SECOND;
    pair.write(0, 1);
    pair.run(Duration::from_millis(1));
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    begin(&mut pair, 1);
    pair.run(3 * SECOND);
    assert_eq!(pair.count(&Seen::Down(1, Kind::Attached)), 0);
    let target = pair.target.as_ref().unwrap();
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), false).is_err());
    pair.lag = Duration::ZERO;
    pair.until_phase(1, Phase::Sharing);
}

/// [SAFE-5] A stale epoch is refused with the current one, and the next ATTACH has a higher one.
#[test]
fn a_stale_epoch_is_refused_and_tried_again() {
    let mut pair = Pair::sharing(1);
    for _ in 0..5 {
        pair.cut_now(0);
        pair.run(SECOND);
    }
    // It forgets all but who it is.
    pair.nodes[0] = Node::new(pair.nodes[0].config.clone(), 0);
    begin(&mut pair, 0);
    pair.until_all_share();
    assert_eq!(refusals(&pair, 0), [RefusalCode::StaleEpoch]);
}

/// [SAFE-5] So is the one that was granted last: whoever says it again is not the one who was let in with it.
#[test]
fn an_epoch_is_granted_once() {
    let mut pair = Pair::sharing(1);
    let granted = pair.nodes[0].memory.epoch.0;
    let config = pair.nodes[0].config.clone();
    let memory = Memory { epoch: lull_wire::Epoch(granted - 1), ..config.memory };
    pair.nodes[0] = Node::new(Config { memory, ..config }, 0);
    begin(&mut pair, 0);
    pair.until_all_share();
    assert_eq!(refusals(&pair, 0), [RefusalCode::StaleEpoch]);
    assert!(pair.nodes[0].memory.epoch.0 > granted);
}

/// [SAFE-5] Nor does a lower one take the place of one whose record is still being written.
#[test]
fn an_older_claim_does_not_overtake_a_newer_one() {
    let mut pair = rivals(2, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        config.instance = InstanceId([1; 16]);
        config.memory.epoch = lull_wire::Epoch(10 - 10 * at as u64);
    });
    pair.store.delay = SECOND;
    begin(&mut pair, 0);
    pair.run(SECOND / 2);
    begin(&mut pair, 1);
    pair.run(SECOND / 4);
    assert_eq!(refusals(&pair, 1).first(), Some(&RefusalCode::StaleEpoch));
}

/// [SAFE-5] And whoever claimed with a lower one, and is not let in yet, never is.
#[test]
fn a_newer_claim_ends_an_older_one() {
    let mut pair = rivals(2, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        config.instance = InstanceId([1; 16]);
        config.memory.epoch = lull_wire::Epoch(10 * at as u64);
    });
    pair.store.delay = SECOND;
    begin(&mut pair, 0);
    pair.run(SECOND / 2);
    pair.nodes[0].mute = true;
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    assert_eq!(pair.count(&Seen::Down(0, Kind::Attached)), 0);
}

/// [SAFE-5] The last epoch of all does no harm but to who claims it.
#[test]
fn the_last_epoch_neither_panics_nor_spins() {
    let mut pair = rivals(1, |_, config| {
        config.memory.epoch = lull_wire::Epoch(u64::MAX - 1);
    });
    begin(&mut pair, 0);
    pair.until_all_share();
    pair.cut_now(0);
    pair.run(20 * SECOND);
    assert!(pair.wires.len() < 60, "{}", pair.wires.len());
}

/// [SAFE-5] Another instance is refused, its heir is let in, a take-over is let in and the old one told.
#[test]
fn only_heirs_and_take_overs_follow_an_owner() {
    let mut pair = rivals(4, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        config.predecessors = if at == 2 { vec![InstanceId([1; 16])] } else { Vec::new() };
        config.take_over = at == 3;
        config.memory.epoch = lull_wire::Epoch(at as u64 * 10);
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 1), [RefusalCode::OtherInstance]);
    let tenure = pair.nodes[0].memory.tenure;
    begin(&mut pair, 2);
    pair.until_phase(2, Phase::Sharing);
    assert_eq!(pair.nodes[2].memory.tenure, tenure, "an heir goes on with the hold");
    pair.until_phase(0, Phase::Ended(End::Fenced));
    begin(&mut pair, 3);
    pair.until_phase(3, Phase::Sharing);
    assert!(pair.nodes[3].memory.tenure > tenure, "[SAFE-7] another writer was let in");
    pair.until_phase(2, Phase::Ended(End::Fenced));
}

/// [SAFE-5] [SAFE-7] Nothing is kept for an owner whose hold span is over, also where a pause keeps its place on the roster.
#[test]
fn an_owner_is_followed_by_anybody_once_its_hold_is_over() {
    let mut pair = rivals(3, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        config.hold = 3 * SECOND;
        config.memory.epoch = lull_wire::Epoch(at as u64 * 10);
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    let purpose = Purpose::Hold;
    pair.order(Order { purpose, on_timeout: OnTimeout::Wait, ..restart(1) });
    pair.until_phase(0, Phase::Paused);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(SECOND);
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 1), [RefusalCode::OtherInstance], "within the span");
    pair.run(3 * SECOND);
    assert_eq!(pair.store.roster.len(), 1, "its place is there");
    begin(&mut pair, 2);
    pair.until_phase(2, Phase::Paused);
    assert!(refusals(&pair, 2).is_empty());
}

/// [SAFE-5] Whoever found several that may be the owner names one after another, and is refused after the last only.
#[test]
fn an_heir_names_each_that_may_be_the_owner() {
    let life = |at: u8| InstanceId([at; 16]);
    let mut pair = rivals(4, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        config.predecessors = match at {
            // Its predecessor was granted and could not note it; whoever came between never was.
            1 => vec![life(91), life(92), life(1), life(93)],
            // What an old copy of the same state names.
            2 => vec![life(91), life(92), life(1)],
            _ => Vec::new(),
        };
        config.take_over = at == 3;
        config.memory.epoch = lull_wire::Epoch(at as u64 * 10);
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    pair.cut_now(0);
    pair.nodes[0].mute = true;
    let before = pair.now;
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    assert!(pair.now.since(before) < SECOND, "it dials again at once");
    assert_eq!(refusals(&pair, 1), [], "nobody is told of a refusal that decides nothing");
    begin(&mut pair, 2);
    pair.until_phase(2, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 2), [RefusalCode::OtherInstance]);
    // Once it was granted it inherits nothing from anybody.
    pair.nodes[1].mute = true;
    begin(&mut pair, 3);
    pair.until_phase(3, Phase::Sharing);
    pair.nodes[1].mute = false;
    pair.cut_now(1);
    pair.until_phase(1, Phase::Ended(End::Fenced));
    assert_eq!(pair.phase(3), Phase::Sharing);
}

/// [SAFE-5] An operator's word to take over is good for one grant: two of them do not chase each other.
#[test]
fn a_take_over_is_good_once() {
    let mut pair = rivals(2, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        // No tenure fences a reader.
        config.access = Access::ReadOnly;
        config.take_over = true;
        config.memory.epoch = lull_wire::Epoch(at as u64 * 10);
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(SECOND);
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    pair.nodes[0].mute = false;
    pair.until_phase(0, Phase::Ended(End::Fenced));
    assert_eq!(pair.phase(1), Phase::Sharing);
}

/// [SAFE-5] So is an inheritance: whoever was let in as an heir does not come after the one whom it followed, where that one
/// has taken the place again.
#[test]
fn an_inheritance_is_good_once() {
    let life = |at: u8| InstanceId([at; 16]);
    let mut pair = rivals(2, |at, config| {
        config.attachment = AttachmentId([7; 16]);
        // No tenure fences a reader.
        config.access = Access::ReadOnly;
        config.predecessors = if at == 0 { vec![life(2)] } else { Vec::new() };
        config.take_over = at == 1;
        config.memory.epoch = lull_wire::Epoch(at as u64 * 10);
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(SECOND);
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    assert_eq!(pair.nodes[1].config.instance, life(2));
    pair.nodes[0].mute = false;
    pair.until_phase(0, Phase::Ended(End::Fenced));
    assert_eq!(pair.phase(1), Phase::Sharing);
}

/// [SAFE-9] Two writers conflict; a reader beside a writer does not, and its changes are refused.
#[test]
fn one_writer_and_any_number_of_readers() {
    let mut pair = rivals(3, |at, config| {
        if at == 1 {
            config.access = Access::ReadOnly;
        }
    });
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    begin(&mut pair, 2);
    pair.until_phase(2, Phase::Ended(End::Refused));
    assert_eq!(refusals(&pair, 2), [RefusalCode::Conflict]);
    pair.write(1, 0);
    pair.read(1, 0);
    pair.finish();
    let answers: Vec<_> = pair.nodes[1].answers.iter().map(|(_, status)| *status).collect();
    assert!(answers.contains(&StatusCode::ReadOnly) && answers.contains(&StatusCode::Done));
}

/// [SAFE-7] A lost writer's place is kept for its hold; then another comes in with a higher tenure, and the old one
/// is refused for good.
#[test]
fn a_reservation_ends_with_its_hold_and_raises_the_tenure() {
    let mut pair = rivals(2, |_, config| config.hold = 30 * SECOND);
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    let tenure = pair.nodes[0].memory.tenure;
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(Duration::from_millis(10));
    begin(&mut pair, 1);
    pair.run(29 * SECOND);
    assert_ne!(pair.phase(1), Phase::Sharing);
    assert!(refusals(&pair, 1).iter().all(|code| *code == RefusalCode::Conflict));
    pair.until_phase(1, Phase::Sharing);
    assert!(pair.nodes[1].memory.tenure > tenure);
    pair.nodes[0].mute = false;
    pair.until_phase(0, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 0).last(), Some(&RefusalCode::StaleTenure));
}

/// [SAFE-7] Where a place is over a second time before its owner heard that it has it again, the owner is refused although
/// nobody else wrote: with the place the target has forgotten for whom it raised the tenure, and errs on the safe side.
#[test]
fn who_is_over_again_before_it_hears_of_its_tenure_is_refused() {
    let mut pair = rivals(1, |_, config| config.hold = 3 * SECOND);
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    let tenure = pair.nodes[0].memory.tenure;
    for delay in [Duration::ZERO, SECOND] {
        pair.store.delay = delay;
        pair.nodes[0].mute = false;
        pair.run(SECOND / 2);
        pair.nodes[0].mute = true;
        pair.cut_now(0);
        pair.run(5 * SECOND);
        assert!(pair.store.roster.is_empty(), "its place is over");
    }
    assert_eq!(pair.nodes[0].memory.tenure, tenure, "it never heard of the next one");
    pair.store.delay = Duration::ZERO;
    pair.nodes[0].mute = false;
    pair.until_phase(0, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 0).last(), Some(&RefusalCode::StaleTenure));
}

/// [SAFE-8] Whoever knew another resource under the name is refused, and so is an attachment that has its place on
/// another one: what it holds is for that one.
#[test]
fn an_attachment_of_another_resource_is_refused() {
    let other = lull_wire::ResourceId([99; 16]);
    let mut pair = rivals(1, |_, config| config.memory.identity = other);
    begin(&mut pair, 0);
    pair.run(SECOND);
    assert_eq!(refusals(&pair, 0).first(), Some(&RefusalCode::Identity));
    assert_eq!(pair.target.as_ref().unwrap().seats().count(), 0);

    let mut pair = Pair::sharing(1);
    pair.cut_now(0);
    let resource = lull_wire::messages::Name::new("disk-b").unwrap();
    let memory = Memory { epoch: pair.nodes[0].memory.epoch, ..Memory::default() };
    let config = Config { resource, memory, ..pair.nodes[0].config.clone() };
    pair.nodes[0] = Node::new(config, 1);
    begin(&mut pair, 0);
    pair.run(SECOND);
    assert_eq!(refusals(&pair, 0).first(), Some(&RefusalCode::Identity));
}

/// [SAFE-7] An evicted writer is told and does not come back; its place is free at once.
#[test]
fn an_evicted_writer_makes_room() {
    let mut pair = rivals(2, |_, _| {});
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    let tenure = pair.nodes[0].memory.tenure;
    pair.evict(0);
    pair.until_phase(0, Phase::Ended(End::Fenced));
    begin(&mut pair, 1);
    pair.until_phase(1, Phase::Sharing);
    assert!(pair.nodes[1].memory.tenure > tenure.next());
}

/// [SAFE-7] A claim that was under way when its attachment was evicted is void, and no tenure falls.
#[test]
fn an_eviction_voids_the_claim_under_way() {
    let mut pair = Pair::sharing(1);
    pair.store.delay = SECOND;
    pair.cut_now(0);
    pair.run(Duration::from_millis(500));
    let before = pair.target.as_ref().unwrap().resources()[0].tenure;
    pair.evict(0);
    pair.until_phase(0, Phase::Ended(End::Fenced));
    pair.until(|pair| pair.store.pending.is_empty());
    let target = pair.target.as_ref().unwrap();
    assert_eq!(target.resources()[0].tenure, before.next());
    assert_eq!(target.seats().count(), 0);
    assert!(pair.store.roster.is_empty());
}

/// [SAFE-9] Clients without an agent that write count as writers.
#[test]
fn agentless_writers_are_in_the_way() {
    let mut pair = rivals(1, |_, _| {});
    pair.agentless(0, 1, 0);
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Ended(End::Refused));
    let mut pair = Pair::sharing(1);
    let target = pair.target.as_ref().unwrap();
    let refused = target.admits_agentless(pair.now, ResourceIndex(0), false);
    assert!(matches!(refused, Err(Refusal::Conflict { .. })));
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), true).is_ok());
    pair.finish();
}

/// [PAUSE-5] The roster in memory is the one on stable storage, also where the connection of a first attach ended
/// while its owner was being written.
#[test]
fn who_is_lost_while_recorded_is_on_the_roster() {
    let mut pair = Pair::new(1);
    pair.store.delay = SECOND;
    begin(&mut pair, 0);
    pair.run(Duration::from_millis(100));
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.run(2 * SECOND);
    assert_eq!(pair.store.roster.len(), 1);
    let target = pair.target.as_ref().unwrap();
    assert!(target.seats().all(|seat| seat.holder == Holder::Lost));
    assert_eq!(target.seats().count(), 1);
    assert_eq!(target.resources()[0].tenure, pair.store.tenures[0]);
}

/// [PAUSE-9] A resource is wanted before its owner is on stable storage, and by nobody else.
#[test]
fn a_resource_is_wanted_from_the_claim_on() {
    let mut pair = Pair::new(1);
    pair.store.delay = SECOND;
    assert_eq!(pair.target.as_ref().unwrap().wanted().count(), 0);
    begin(&mut pair, 0);
    pair.run(Duration::from_millis(100));
    let target = pair.target.as_ref().unwrap();
    assert_eq!(target.seats().count(), 0);
    assert_eq!(target.wanted().collect::<Vec<_>>(), [ResourceIndex(0)]);
    pair.until_all_share();
    let target = pair.target.as_ref().unwrap();
    assert_eq!(target.wanted().collect::<Vec<_>>(), [ResourceIndex(0)]);
}

/// [PAUSE-10] A claim that is being written when the target leaves does not keep it from going.
#[test]
fn a_claim_under_way_does_not_keep_a_target_from_going() {
    let mut pair = Pair::new(2);
    begin(&mut pair, 0);
    pair.until_phase(0, Phase::Sharing);
    pair.store.delay = 3 * SECOND;
    pair.order(Order { unstoppable: true, span: SECOND, ..restart(1) });
    pair.run(Duration::from_millis(3100));
    pair.cut_now(0);
    pair.until(|pair| pair.life == 2 && pair.phase(0) == Phase::Sharing);
}

/// [PAUSE-5] An ATTACH whose owner cannot be stored is refused, and tried again.
#[test]
fn an_attach_that_cannot_be_stored_is_tried_again() {
    let mut pair = Pair::new(1);
    pair.store.fails = |change| matches!(change, Change::Owner(..));
    begin(&mut pair, 0);
    pair.run(5 * SECOND);
    assert!(refusals(&pair, 0).len() > 1);
    assert!(refusals(&pair, 0).iter().all(|code| *code == RefusalCode::Unavailable));
    pair.store.fails = |_| false;
    pair.until_all_share();
}

/// [CONN-5] A detach follows a flush; no place is left, in memory or on stable storage.
#[test]
fn a_detach_leaves_no_place_behind() {
    let mut pair = Pair::sharing(1);
    pair.write(0, 1);
    pair.detach(0);
    pair.until_phase(0, Phase::Ended(End::Detached));
    let flush = pair.first(|seen| *seen == Seen::Up(0, Kind::Request));
    assert!(flush < pair.first(|seen| *seen == Seen::Up(0, Kind::Detach)));
    assert!(pair.store.roster.is_empty());
    assert_eq!(pair.nodes[0].errors(), 0);
}

/// [CONN-2] [SEC-4] Each fault of an initiator ends its connection, and nothing else.
#[test]
fn an_initiators_violation_ends_its_connection_only() {
    use lull_proto::{ConnId, Violation, target};
    use lull_wire::messages::{Attach, Hello, Name, Ping, Pong, Ready};
    use lull_wire::{Incarnation, RequestNumber, ResourceId, Tenure};
    let hello = |name: &str| Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([9; 16]),
        node: Name::new(name).unwrap(),
        software: Name::default(),
        callback: Default::default(),
    };
    let attach = Attach {
        attachment: AttachmentId([9; 16]),
        resource: Name::new("disk-b").unwrap(),
        identity: ResourceId::NONE,
        access: Access::Unknown(9),
        epoch: lull_wire::Epoch(1),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: 0,
        incarnation: Incarnation::NONE,
        tenure: Tenure(0),
        lowest: RequestNumber(1),
    };
    let ready = Ready { replayed: 0, replayed_bytes: 0 };
    let nameless =
        Attach { attachment: AttachmentId::NONE, access: Access::ReadWrite, ..attach.clone() };
    let cases: [(Vec<lull_wire::Message>, Violation); 11] = [
        (vec![Ping { token: 1 }.into()], Violation::OutOfPlace(Kind::Ping)),
        (vec![Pong { token: 1 }.into()], Violation::OutOfPlace(Kind::Pong)),
        (vec![hello("web/1").into()], Violation::NoName),
        (vec![hello("x").into(), nameless.into()], Violation::NoAttachment),
        (vec![hello("").into()], Violation::NoName),
        (vec![hello("web\u{1b}[2J").into()], Violation::NoName),
        (vec![hello("web\nweb-2: attached").into()], Violation::NoName),
        (vec![hello("x").into(), hello("x").into()], Violation::OutOfPlace(Kind::Hello)),
        (vec![hello("x").into(), attach.clone().into()], Violation::Access),
        (vec![attach.into()], Violation::OutOfPlace(Kind::Attach)),
        (vec![hello("x").into(), ready.into()], Violation::OutOfPlace(Kind::Ready)),
    ];
    let mut pair = Pair::sharing(1);
    for (at, (messages, violation)) in cases.into_iter().enumerate() {
        let conn = ConnId(1000 + at as u64);
        let target = pair.target.as_mut().unwrap();
        let mut actions = Vec::new();
        target.handle(pair.now, target::Event::Accepted { conn }, &mut actions);
        for message in messages {
            target.handle(pair.now, target::Event::Received { conn, message }, &mut actions);
        }
        let said = target::Report::Violation { conn, violation };
        assert!(actions.contains(&target::Action::Report(said)), "{violation:?}");
        assert_eq!(actions.last(), Some(&target::Action::HangUp { conn }));
        assert!(target.session(conn).is_none());
    }
    pair.write(0, 1);
    pair.finish();
    assert_eq!(pair.nodes[0].errors(), 0);
}
