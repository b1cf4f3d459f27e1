//! Whatever comes, in whatever order: no machine panics, and no consumer is answered twice.

use crate::alone::{attached, connect, pause, resume, welcome};
use crate::pair::{ask, config};
use lull_proto::initiator::{self, Initiator, Origin, Policy, Retain, Slot};
use lull_proto::target::{
    self, Agentless, Decision, OnTimeout, Order, Purpose, Resource, ResourceIndex, Target, Ticket,
};
use lull_proto::{ConnId, Geometry, MonoTime, Never, Upstream};
use lull_wire::messages::{
    Attach, Detach, Detached, Disconnect, Hello, Hold, Name, Path, PauseComplete, PauseProgress,
    Ping, Pong, Ready, Refused, Reply, Resized, Stall,
};
use lull_wire::{
    Access, AttachmentId, DisconnectCode, Epoch, Features, Incarnation, InstanceId, Message,
    OpCode, RefusalCode, RequestNumber, ResourceId, RestartId, Retry, StatusCode, Tenure, Text,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..200_000u64, Just(u64::MAX)]
}

fn disconnect(restart: u64, code: u8, downtime_ms: u64) -> Message {
    Disconnect {
        restart: RestartId(restart),
        code: DisconnectCode::from(code),
        downtime_ms,
        resource: Default::default(),
        where_to: Default::default(),
        detail: Default::default(),
    }
    .into()
}

fn from_target() -> impl Strategy<Value = Message> {
    let refused = (0..15u16, 0..3u8, prop_oneof![0..5u64, Just(u64::MAX)]);
    prop_oneof![
        3 => Just(welcome()),
        3 => Just(connect()),
        6 => (1..6u64, 1..4u8).prop_map(|(epoch, life)| {
            let incarnation = Incarnation([life; 16]);
            lull_wire::messages::Attached { incarnation, ..attached(epoch) }.into()
        }),
        4 => (0..3u64).prop_map(resume),
        4 => (0..3u64).prop_map(pause),
        1 => (0..3u64, 0..7u8, span()).prop_map(|(id, code, ms)| disconnect(id, code, ms)),
        1 => refused.prop_map(|(code, retry, epoch)| Refused {
            code: RefusalCode::from(code),
            retry: Retry::from(retry),
            retry_after_ms: 3,
            epoch: Epoch(epoch),
            tenure: Tenure(0),
            detail: Default::default(),
        }.into()),
        1 => Just(Detached { epoch: Epoch(1) }.into()),
        1 => span().prop_map(|span_ms| Hold {
            span_ms, path: Default::default(), reason: Default::default()
        }.into()),
        1 => (0..5u64).prop_map(|token| Ping { token }.into()),
        1 => (0..5u64).prop_map(|token| Pong { token }.into()),
        1 => (0..99u64).prop_map(|blocks| Resized { size: blocks * 4096 }.into()),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Event(initiator::Event),
    /// About the connection that was dialled last.
    Dialled,
    Message(Message),
    Reply(u64, u8, u8),
    Lost,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let submit = (0..5u16, 0..4u64, 0..3u64);
    let step = prop_oneof![
        3 => span().prop_map(Step::Pass),
        2 => Just(Step::Dialled),
        12 => from_target().prop_map(Step::Message),
        6 => (1..12u64, 0..9u8, 1..4u8).prop_map(|(n, status, life)| Step::Reply(n, status, life)),
        1 => Just(Step::Lost),
        6 => submit.prop_map(|(op, block, more)| {
            let op = OpCode::from(1 + op as u8);
            let ask = if op == OpCode::Flush { initiator::Ask::FLUSH } else { ask(op, block) };
            let rest = if op == OpCode::Flush { 0 } else { more * u64::from(ask.length) };
            Step::Event(initiator::Event::Submit { slot: Slot(0), ask, rest })
        }),
        1 => any::<bool>().prop_map(|at_once| {
            Step::Event(initiator::Event::Detach { at_once })
        }),
        1 => Just(Step::Event(initiator::Event::Knocked)),
        1 => any::<bool>().prop_map(|on| Step::Event(initiator::Event::GiveBack { on })),
        2 => Just(Step::Event(initiator::Event::Prepared)),
        3 => Just(Step::Event(initiator::Event::Remembered)),
        1 => (0..9u64).prop_map(|conn| {
            Step::Event(initiator::Event::DialFailed { conn: ConnId(conn) })
        }),
        1 => (0..9u64).prop_map(|conn| {
            Step::Event(initiator::Event::Dialled { conn: ConnId(conn) })
        }),
    ];
    prop::collection::vec(step, 1..120)
}

fn run_initiator(policy: Policy, retain: Retain, steps: Vec<Step>) {
    let (mut now, mut conn, mut slots) = (MonoTime(1), ConnId(0), 0);
    let mut machine = Initiator::new(initiator::Config { policy, retain, ..config(0, "disk-a") });
    let (mut open, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let mut prepares = false;
    let begin = Step::Event(initiator::Event::Begin);
    for step in core::iter::once(begin).chain(steps) {
        let event = match step {
            Step::Pass(millis) => {
                let millis = millis.min(1_000_000);
                now = now + Duration::from_millis(millis);
                initiator::Event::Tick
            }
            Step::Event(initiator::Event::Submit { ask, rest, .. }) => {
                slots += 1;
                open.insert(Slot(slots));
                initiator::Event::Submit { slot: Slot(slots), ask, rest }
            }
            Step::Event(event) => event,
            Step::Dialled => initiator::Event::Dialled { conn },
            Step::Message(message) => initiator::Event::Received { conn, message },
            Step::Reply(number, status, life) => initiator::Event::Replied {
                conn,
                reply: Reply {
                    number: RequestNumber(number),
                    status: StatusCode::from(status),
                    incarnation: Incarnation([life; 16]),
                },
            },
            Step::Lost => initiator::Event::Lost { conn },
        };
        let mut actions = Vec::new();
        machine.handle(now, event, &mut actions);
        for action in actions {
            match action {
                initiator::Action::Dial { conn: dialled } => conn = dialled,
                initiator::Action::Answer { slot, .. } => {
                    assert!(open.remove(&slot), "[CONN-3] {slot:?} is answered twice");
                }
                initiator::Action::Transmit { origin, .. } => match origin {
                    Origin::Consumer(slot) => assert!(open.contains(&slot)),
                    Origin::Retained(place) => assert!(kept.contains(&place), "{place} was let go"),
                    Origin::Nobody => {}
                },
                initiator::Action::Retain { slot, place, .. } => {
                    assert!(open.contains(&slot), "its payload is gone");
                    assert!(kept.insert(place), "{place} is kept twice");
                }
                initiator::Action::Release { before } => kept = kept.split_off(&before),
                initiator::Action::LifeLost => {
                    assert_eq!(retain, Retain::Elsewhere, "[CHAIN-4]");
                }
                initiator::Action::Send { .. }
                | initiator::Action::HangUp { .. }
                | initiator::Action::Open(_)
                | initiator::Action::Resize(_)
                | initiator::Action::Remember(_)
                | initiator::Action::Settle(_)
                | initiator::Action::RunHook(_)
                | initiator::Action::Report(_) => {}
                initiator::Action::PrepareShutdown(_) => {
                    assert!(!core::mem::replace(&mut prepares, true), "[TIMER-2] once an outage");
                }
                initiator::Action::CancelShutdown | initiator::Action::ShutDown => {
                    assert!(core::mem::replace(&mut prepares, false), "[TIMER-2] after preparing");
                }
            }
        }
        let view = machine.view(now);
        if retain == Retain::Elsewhere {
            let _ = machine.upstream(now);
        }
        if matches!(view.phase, initiator::Phase::Ended(_)) {
            assert!(open.is_empty(), "[CONN-3] it ended and owes answers");
        }
    }
}

fn target_event() -> impl Strategy<Value = target::Event> {
    let conn = || (0..5u64).prop_map(ConnId);
    let id = |n: u8| [n; 16];
    let attach = (1..4u8, 0..3u8, 0..5u8, 0..9u64, any::<bool>(), 0..4u64, span()).prop_map(
        move |(attachment, place, access, epoch, take_over, tenure, hold_ms)| {
            Attach {
                attachment: AttachmentId(id(attachment)),
                resource: Name::new(["disk-a", "disk-b", "none"][place as usize]).unwrap(),
                identity: ResourceId::NONE,
                access: Access::from(access),
                epoch: Epoch(epoch),
                predecessor: InstanceId(id(attachment)),
                take_over,
                dirty: false,
                hold_ms,
                incarnation: Incarnation::NONE,
                tenure: Tenure(tenure),
                lowest: RequestNumber(1),
            }
            .into()
        },
    );
    let message = prop_oneof![
        4 => (0..4u8).prop_map(move |node| Hello {
            min_version: 1,
            max_version: 1,
            instance: InstanceId(id(node)),
            node: Name::new(["", "a", "b", "c"][node as usize]).unwrap(),
            software: Name::default(),
            callback: Default::default(),
        }.into()),
        6 => attach,
        3 => Just(Ready { replayed: 0, replayed_bytes: 0 }.into()),
        3 => (1..3u64).prop_map(|restart| PauseComplete {
            restart: RestartId(restart), in_flight_at_pause: 0, not_executed: 0,
            retained: 0, retained_bytes: 0, drain_us: 0, flush_us: 0,
        }.into()),
        1 => (1..3u64).prop_map(|restart| PauseProgress {
            restart: RestartId(restart), in_flight: 1, oldest_ms: 1, unflushed: 1,
        }.into()),
        1 => Just(Detach { reason: Default::default() }.into()),
        1 => Just(Stall {
            restart: RestartId(1), longest_us: 1, held: 0, away_us: 0, resume_us: 0,
        }.into()),
        1 => Just(Ping { token: 1 }.into()),
        1 => from_target(),
    ];
    let order = (1..3u64, any::<bool>(), any::<bool>(), 0..4usize, span()).prop_map(
        |(restart, hold, unstoppable, policy, span)| {
            use OnTimeout::{Abort, Ask, Proceed, Wait};
            target::Event::Order(Order {
                id: RestartId(restart),
                purpose: if hold { Purpose::Hold } else { Purpose::Restart },
                reason: Default::default(),
                downtime: Duration::ZERO,
                span: Duration::from_millis(span.min(60_000)),
                on_timeout: [Ask, Abort, Proceed, Wait][policy],
                unstoppable,
            })
        },
    );
    let decision =
        prop_oneof![Just(Decision::Wait), Just(Decision::Proceed), Just(Decision::Abort)];
    prop_oneof![
        4 => conn().prop_map(|conn| target::Event::Accepted { conn }),
        16 => (conn(), message).prop_map(|(conn, message)| target::Event::Received { conn, message }),
        2 => conn().prop_map(|conn| target::Event::Lost { conn }),
        4 => conn().prop_map(|conn| target::Event::Drained { conn }),
        8 => (1..20u64, any::<bool>()).prop_map(|(ticket, ok)| {
            target::Event::Recorded { ticket: Ticket(ticket), ok }
        }),
        2 => (1..3u64, any::<bool>()).prop_map(|(restart, ok)| {
            target::Event::Durable { restart: RestartId(restart), ok }
        }),
        1 => (0..2u32).prop_map(|writers| target::Event::Agentless {
            resource: ResourceIndex(0), now: Agentless { writers, readers: 0 },
        }),
        2 => order,
        1 => decision.prop_map(target::Event::Decide),
        1 => Just(target::Event::Evict { node: Name::new("a").unwrap(), resource: None }),
        2 => upstream(),
        1 => (0..2usize, ended()).prop_map(|(place, why)| target::Event::LifeEnded {
            resource: ResourceIndex(place), why,
        }),
        4 => Just(target::Event::Tick),
    ]
}

fn ended() -> impl Strategy<Value = target::Ended> {
    use target::Ended::{Forgotten, Upstream, WriteBack};
    proptest::sample::select(vec![WriteBack, Upstream, Forgotten])
}

fn upstream() -> impl Strategy<Value = target::Event> {
    let path = prop_oneof![Just("above/disk"), Just("target/disk-b")];
    let never = prop_oneof![Just(None), Just(Some(Never::Circle)), Just(Some(Never::Fenced))];
    (0..3usize, any::<bool>(), path, span(), never).prop_map(
        |(place, stands, node, span_ms, never)| {
            let path = Path::new(vec![Text::clipped(node)]).unwrap();
            let geometry = fresh_target().resources()[0].geometry;
            let upstream = if stands {
                Upstream::Standing { path, identity: ResourceId([2; 16]), geometry }
            } else {
                let span = Duration::from_millis(span_ms);
                Upstream::Away { reason: Default::default(), span, path, never }
            };
            target::Event::Upstream { resource: ResourceIndex(place), upstream }
        },
    )
}

pub fn fresh_target() -> Target {
    let resource = |name: &str, n: u8| Resource {
        name: Name::new(name).unwrap(),
        identity: ResourceId([n; 16]),
        incarnation: Incarnation([n; 16]),
        tenure: Tenure(2),
        geometry: Geometry {
            size: 1 << 20,
            block: 4096,
            preferred: 4096,
            max_length: 1 << 20,
            features: Features::EXTENTS,
        },
        path: Default::default(),
        chained: name == "disk-b",
        agentless: Agentless::default(),
    };
    let config = target::Config {
        node: Name::new("target").unwrap(),
        instance: InstanceId([9; 16]),
        software: Name::default(),
        keep_alive: Duration::from_secs(2),
        barrier: Duration::ZERO,
        from: RestartId(0),
    };
    let resources = vec![resource("disk-a", 1), resource("disk-b", 2)];
    Target::new(MonoTime(1), config, resources, Vec::new())
}

fn run_target(events: Vec<(u64, target::Event)>) {
    let (mut now, mut machine) = (MonoTime(1), fresh_target());
    for (millis, event) in events {
        now = now + Duration::from_millis(millis);
        let ticked = event == target::Event::Tick;
        let tenures: Vec<Tenure> = machine.resources().iter().map(|one| one.tenure).collect();
        machine.handle(now, event, &mut Vec::new());
        if ticked {
            assert!(machine.deadline().is_none_or(|at| at > now), "it spins: {machine:?}");
        }
        for (resource, before) in machine.resources().iter().zip(tenures) {
            assert!(resource.tenure >= before, "[SAFE-7] a tenure fell");
        }
        let _ = machine.rows(now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// [CONN-3] [SEC-4] Whatever a target says: no panic, and each slot is answered at most once.
    #[test]
    fn an_initiator_survives_anything(steps in steps(), policy in 0..4usize, keeps in any::<bool>()) {
        let policies = [Policy::Wait, Policy::Error, Policy::Hook, Policy::Shutdown];
        let retain = if keeps { Retain::UpTo(1 << 20) } else { Retain::Elsewhere };
        run_initiator(policies[policy], retain, steps);
    }

    /// [SEC-4] Whatever initiators and operators do: no panic, no tenure falls, no deadline stays behind.
    #[test]
    fn a_target_survives_anything(
        events in prop::collection::vec((0..3_000u64, target_event()), 1..150)
    ) {
        run_target(events);
    }
}
