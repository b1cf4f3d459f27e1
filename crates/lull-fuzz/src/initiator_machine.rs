//! An initiator's machine: the target says anything, the daemon does what it was asked to.

use crate::bytes::Bytes;
use crate::events::later;
use crate::likely;
use lull_proto::initiator::{
    Action, Ask, Config, Event, Initiator, Legacy, Memory, Origin, Phase, Policy, Retain, Slot,
};
use lull_proto::{ConnId, Geometry, MonoTime};
use lull_wire::messages::{Address, Name, Reply};
use lull_wire::{
    Access, AttachmentId, Epoch, Incarnation, InstanceId, OpCode, RequestFlags, RequestNumber,
    ResourceId, Sender, StatusCode, TABLE, Tenure,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// One step of what a tick decides may lead to the next at once.
const MOST_TICKS: usize = 8;

struct World {
    now: MonoTime,
    machine: Initiator,
    retain: Retain,
    /// What the front end was shown.
    geometry: Option<Geometry>,
    /// The connection that is being dialled, and the one that stands.
    dialling: Option<ConnId>,
    standing: Option<ConnId>,
    open: BTreeSet<Slot>,
    asked: u32,
    sent: Vec<RequestNumber>,
    /// Places of the retained log.
    kept: BTreeSet<u64>,
    is_to_remember: bool,
    is_to_prepare: bool,
    is_preparing: bool,
}

/// Bytes as a life of an attachment.
pub fn run(bytes: &[u8]) {
    let mut from = Bytes::new(bytes);
    let mut world = World::new(&mut from);
    world.happens(Event::Begin);
    while !from.is_over() {
        if let Some(event) = world.draw(&mut from) {
            world.happens(event);
        }
    }
    // [CONN-5] Whatever it was told, it can be left, and then it owes nothing.
    for _ in 0..64 {
        world.happens(Event::Detach { at_once: true });
        if matches!(world.machine.phase(), Phase::Ended(_)) {
            return;
        }
        if let Some(conn) = world.standing.take() {
            world.happens(Event::Lost { conn });
        } else if let Some(conn) = world.dialling.take() {
            world.happens(Event::DialFailed { conn });
        }
        if let Some(at) = world.machine.deadline() {
            world.now = world.now.max(at);
            world.ticks();
        }
    }
    panic!("it does not end: {:?}", world.machine.phase());
}

fn config(from: &mut Bytes<'_>, retain: Retain) -> Config {
    let policies = [Policy::Wait, Policy::Error, Policy::Hook, Policy::Shutdown];
    let knows = from.coin();
    let known = |n: u8| if knows { [n; 16] } else { [0; 16] };
    Config {
        node: Name::new("a").expect("a name"),
        instance: InstanceId([7; 16]),
        predecessors: if knows { vec![InstanceId([6; 16])] } else { Vec::new() },
        software: Name::default(),
        callback: Address::default(),
        attachment: AttachmentId([1; 16]),
        resource: Name::new("disk-a").expect("a name"),
        access: Access::ReadWrite,
        take_over: from.coin(),
        policy: policies[from.below(4)],
        restart_timeout: Duration::from_secs(60),
        resume_timeout: Duration::from_secs(10),
        hold: if from.coin() { Duration::MAX } else { Duration::from_secs(60) },
        retain,
        memory: Memory {
            epoch: Epoch(u64::from(knows)),
            identity: ResourceId(known(1)),
            incarnation: Incarnation(known(1)),
            tenure: Tenure(u64::from(knows)),
        },
        seed: from.number(),
    }
}

/// What the life before left.
fn legacy(from: &mut Bytes<'_>) -> Legacy {
    let settled = Incarnation([from.byte() % 3; 16]);
    match from.below(4) {
        0 => {
            let change = |at| Ask {
                op: OpCode::Write,
                flags: RequestFlags::none(),
                offset: at * 4096,
                length: 4096,
            };
            Legacy::Kept { settled, changes: (0..from.below(5) as u64).map(change).collect() }
        }
        1 => Legacy::Lost { settled },
        _ => Legacy::None,
    }
}

impl World {
    fn new(from: &mut Bytes<'_>) -> Self {
        let retains =
            [Retain::UpTo(1 << 20), Retain::UpTo(8192), Retain::UpTo(0), Retain::Elsewhere];
        let retain = retains[from.below(4)];
        let (config, legacy) = (config(from, retain), legacy(from));
        let kept = match &legacy {
            Legacy::Kept { changes, .. } if retain != Retain::Elsewhere => changes.len() as u64,
            Legacy::Kept { .. } | Legacy::Lost { .. } | Legacy::None => 0,
        };
        Self {
            now: MonoTime(1),
            machine: Initiator::inheriting(config, legacy),
            retain,
            geometry: None,
            dialling: None,
            standing: None,
            open: BTreeSet::new(),
            asked: 0,
            sent: Vec::new(),
            kept: (0..kept).collect(),
            is_to_remember: false,
            is_to_prepare: false,
            is_preparing: false,
        }
    }

    /// What comes next; `None` where it cannot.
    fn draw(&mut self, from: &mut Bytes<'_>) -> Option<Event> {
        Some(match from.below(24) {
            0..=2 => {
                let conn = self.dialling.take()?;
                if from.below(8) == 0 {
                    Event::DialFailed { conn }
                } else {
                    self.standing = Some(conn);
                    Event::Dialled { conn }
                }
            }
            3..=7 => {
                let message = likely::of_target(&self.machine, self.now, from)?;
                Event::Received { conn: self.standing?, message }
            }
            8 | 9 => {
                let row = &TABLE[from.below(TABLE.len())];
                let row = if row.from.allows(Sender::Target) || from.below(8) == 0 {
                    row
                } else {
                    &TABLE[from.below(TABLE.len())]
                };
                Event::Received { conn: self.standing?, message: from.message(row)? }
            }
            10..=13 => {
                let known = from.pick(self.sent.iter().rev().take(8).copied());
                let number = known.filter(|_| from.below(8) != 0);
                let reply = Reply {
                    number: number.unwrap_or_else(|| RequestNumber(from.number())),
                    status: StatusCode::from(from.byte().saturating_sub(0xf6)),
                    incarnation: match from.below(8) {
                        0 => Incarnation([from.byte() % 5; 16]),
                        _ => self.machine.view(self.now).incarnation,
                    },
                };
                Event::Replied { conn: self.standing?, reply }
            }
            14 => Event::Lost { conn: self.standing.take()? },
            15..=18 => self.submit(from)?,
            19 if core::mem::take(&mut self.is_to_remember) => Event::Remembered,
            20 if core::mem::take(&mut self.is_to_prepare) => Event::Prepared,
            21 => match from.below(12) {
                0 => Event::Detach { at_once: from.coin() },
                1..=5 if self.retain == Retain::Elsewhere => Event::GiveBack { on: from.coin() },
                _ => Event::Knocked,
            },
            _ => {
                self.now = later(self.now, self.machine.deadline(), from);
                self.ticks();
                return None;
            }
        })
    }

    /// A request as a front end lets it through.
    fn submit(&mut self, from: &mut Bytes<'_>) -> Option<Event> {
        use OpCode::{Discard, Extents, Flush, Read, ReadAhead, Write, WriteZeroes};
        let geometry = self.geometry?;
        let op =
            from.pick([Read, Write, Write, Flush, Discard, WriteZeroes, Extents, ReadAhead])?;
        let ask = if op == Flush {
            Ask::FLUSH
        } else {
            let block = u64::from(geometry.block);
            let offset = block.checked_mul(from.number())?;
            let end = offset.checked_add(block).filter(|end| *end <= geometry.size)?;
            let fua = op != Read && op != Extents && op != ReadAhead && from.coin();
            let flags = RequestFlags::none().with_if(fua, RequestFlags::FUA);
            Ask { op, flags, offset, length: (end - offset) as u32 }
        };
        // Some of it is left for further pieces.
        let pieces = if matches!(op, Discard | WriteZeroes) { from.below(4) as u64 } else { 0 };
        let room = geometry.size - ask.offset - u64::from(ask.length);
        let rest = (pieces * u64::from(ask.length)).min(room);
        self.asked += 1;
        self.open.insert(Slot(self.asked));
        Some(Event::Submit { slot: Slot(self.asked), ask, rest })
    }

    /// As often as a deadline has come: one that stays behind would keep the daemon busy for nothing.
    fn ticks(&mut self) {
        for _ in 0..MOST_TICKS {
            self.happens(Event::Tick);
            if self.machine.deadline().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("a deadline stays behind: {:?}", self.machine);
    }

    fn happens(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.handle(self.now, event, &mut actions);
        actions.into_iter().for_each(|action| self.perform(action));
        let view = self.machine.view(self.now);
        let unanswered = u64::from(view.in_flight) + u64::from(view.held);
        assert!(unanswered >= self.open.len() as u64, "[CONN-3] an answer is forgotten");
        if matches!(view.phase, Phase::Ended(_)) {
            assert!(self.open.is_empty(), "[CONN-3] it ended and owes answers");
        }
        if self.retain == Retain::Elsewhere {
            let _ = self.machine.upstream(self.now);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { conn } => (self.dialling, self.standing) = (Some(conn), None),
            Action::Open(geometry) => {
                assert!(self.geometry.replace(geometry).is_none(), "shown twice");
            }
            Action::Resize(size) => {
                let geometry = self.geometry.as_mut().expect("it is shown before it grows");
                assert!(size >= geometry.size, "[CONN-7] it shrinks");
                geometry.size = size;
            }
            Action::Answer { slot, status } => {
                assert!(self.open.remove(&slot), "[CONN-3] {slot:?} is answered twice");
                let elsewhere = self.retain == Retain::Elsewhere;
                assert!(status != StatusCode::NotExecuted || elsewhere, "[CHAIN-1]");
            }
            Action::Transmit { conn, origin, request } => {
                assert_eq!(Some(conn), self.standing, "sent to nobody");
                match origin {
                    Origin::Consumer(slot) => assert!(self.open.contains(&slot), "it is answered"),
                    Origin::Retained(place) => {
                        assert!(self.kept.contains(&place), "{place} was let go");
                    }
                    Origin::Nobody => {}
                }
                self.sent.push(request.number);
            }
            Action::Retain { slot, place, .. } => {
                assert!(self.open.contains(&slot), "its payload is gone");
                assert!(self.kept.insert(place), "{place} is kept twice");
            }
            Action::Release { before } => self.kept = self.kept.split_off(&before),
            Action::Remember(_) => self.is_to_remember = true,
            Action::LifeLost => assert_eq!(self.retain, Retain::Elsewhere, "[CHAIN-4]"),
            Action::PrepareShutdown(_) => {
                assert!(!core::mem::replace(&mut self.is_preparing, true), "[TIMER-2] once");
                self.is_to_prepare = true;
            }
            Action::CancelShutdown | Action::ShutDown => {
                assert!(core::mem::take(&mut self.is_preparing), "[TIMER-2] after preparing");
                self.is_to_prepare = false;
            }
            Action::HangUp { conn } => {
                if self.standing == Some(conn) {
                    self.standing = None;
                }
                if self.dialling == Some(conn) {
                    self.dialling = None;
                }
            }
            Action::Send { .. } | Action::Settle(_) | Action::RunHook(_) | Action::Report(_) => {}
        }
    }
}
