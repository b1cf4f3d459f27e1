//! What a peer would say next. Among messages that say anything, so that all states are reached.

use crate::bytes::Bytes;
use crate::events::GEOMETRY;
use lull_proto::initiator::{Initiator, Phase};
use lull_proto::target::{SessionState, Target};
use lull_proto::{ConnId, MonoTime};
use lull_wire::messages::{
    Attach, Attached, Connect, Detach, Detached, Hello, Name, Pause, PauseComplete, Pong, Ready,
    Resume, Welcome,
};
use lull_wire::{
    Access, AttachmentId, Epoch, Features, Incarnation, InstanceId, Message, RequestNumber,
    ResourceId, RestartId, Tenure,
};

/// What the initiator on a connection would say; `None` where nothing is its turn.
pub fn of_initiator(machine: &Target, conn: ConnId, from: &mut Bytes<'_>) -> Option<Message> {
    let who = from.byte() % 3 + 1;
    Some(match machine.session(conn)? {
        SessionState::Accepted { .. } => Hello {
            min_version: 1,
            max_version: 2,
            instance: InstanceId([who; 16]),
            node: Name::new(["a", "b", "c"][usize::from(who) - 1])?,
            software: Name::default(),
            callback: Default::default(),
        }
        .into(),
        SessionState::Greeted { .. } => attach(machine, who, from)?,
        SessionState::Arriving { .. } => Ready { replayed: 0, replayed_bytes: 0 }.into(),
        SessionState::Asked { .. } => {
            let retained = u64::from(from.byte() % 2);
            PauseComplete {
                restart: machine.phase().restart()?.id,
                in_flight_at_pause: 0,
                not_executed: 0,
                retained,
                retained_bytes: retained * 4096,
                drain_us: 0,
                flush_us: 0,
            }
            .into()
        }
        SessionState::Sharing { .. } if from.below(4) == 0 => {
            Detach { reason: Default::default() }.into()
        }
        SessionState::Ready { .. }
        | SessionState::Sharing { .. }
        | SessionState::Complete { .. }
        | SessionState::Fencing { .. }
        | SessionState::Recording { .. }
        | SessionState::Closing { .. }
        | SessionState::Detaching { .. } => Pong { token: 0 }.into(),
    })
}

fn attach(machine: &Target, who: u8, from: &mut Bytes<'_>) -> Option<Message> {
    let attachment = AttachmentId([who; 16]);
    let seat = machine.seat(attachment).map(|seat| &seat.entry);
    let place = seat.map_or_else(|| from.below(2), |entry| entry.resource.0);
    let resource = &machine.resources()[place];
    let knows = seat.is_some() && from.coin();
    Some(
        Attach {
            attachment,
            resource: resource.name.clone(),
            identity: ResourceId::NONE,
            access: from.pick([Access::ReadWrite, Access::Shared, Access::ReadOnly])?,
            epoch: Epoch(seat.map_or(1, |entry| entry.epoch.0.saturating_add(1))),
            predecessor: seat.map_or(InstanceId::NONE, |entry| entry.instance),
            take_over: from.below(8) == 0,
            dirty: from.coin(),
            hold_ms: if from.coin() { u64::MAX } else { from.number() },
            incarnation: if knows { resource.incarnation } else { Incarnation::NONE },
            tenure: if knows { resource.tenure } else { Tenure(0) },
            lowest: RequestNumber(1),
        }
        .into(),
    )
}

/// What the target would say to this attachment.
pub fn of_target(machine: &Initiator, now: MonoTime, from: &mut Bytes<'_>) -> Option<Message> {
    let view = machine.view(now);
    let life = 1 + u8::from(from.below(8) == 0);
    let restart = view.pause.map_or(RestartId(from.number().min(3)), |(restart, _)| restart);
    Some(match view.phase {
        Phase::Dialling if from.coin() => Connect { restart, barrier_ms: 0 }.into(),
        Phase::Dialling => Welcome {
            version: 1 + u16::from(from.coin()),
            instance: InstanceId([9; 16]),
            node: Name::default(),
            software: Name::default(),
            keep_alive_ms: 2_000,
        }
        .into(),
        Phase::Attaching => Attached {
            epoch: view.epoch,
            identity: ResourceId([1; 16]),
            incarnation: Incarnation([life; 16]),
            tenure: Tenure(1),
            size: GEOMETRY.size,
            block: GEOMETRY.block,
            preferred: GEOMETRY.preferred,
            max_length: GEOMETRY.max_length,
            features: Features::EXTENTS,
            path: Default::default(),
        }
        .into(),
        Phase::Ready | Phase::Paused if from.below(4) != 0 => Resume { restart }.into(),
        Phase::Sharing | Phase::Ready | Phase::Replaying if from.below(4) == 0 => {
            Pause { restart, span_ms: 30_000, downtime_ms: 1000, reason: Default::default() }.into()
        }
        Phase::Detaching => Detached { epoch: view.epoch }.into(),
        Phase::Idle
        | Phase::Away
        | Phase::Replaying
        | Phase::Ready
        | Phase::Sharing
        | Phase::Draining
        | Phase::Flushing
        | Phase::Paused
        | Phase::Ended(_) => Pong { token: 0 }.into(),
    })
}
