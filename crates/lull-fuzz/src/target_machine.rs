//! A target's machine: peers say anything, the daemon does what it was asked to.

use crate::bytes::Bytes;
use crate::events::{entries, later, order, resources, upstream};
use crate::likely;
use lull_proto::target::{
    Action, Agentless, Config, Decision, Ended, Event, ResourceIndex, SessionState, Target, Ticket,
};
use lull_proto::{ConnId, MonoTime};
use lull_wire::messages::Name;
use lull_wire::{Access, InstanceId, RestartId, Sender, TABLE, Tenure};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Connections at a time; a daemon has a limit of its own.
const MOST_CONNECTIONS: usize = 6;

/// One step of what a tick decides may lead to the next at once.
const MOST_TICKS: usize = 8;

struct World {
    now: MonoTime,
    machine: Target,
    connections: BTreeSet<ConnId>,
    accepted: u64,
    orders: u64,
    lanes: BTreeMap<ConnId, Lane>,
    /// What is to be written, in order.
    records: VecDeque<Ticket>,
    written: u64,
    flushes: VecDeque<RestartId>,
    is_down: bool,
}

struct Lane {
    resource: ResourceIndex,
    /// None for an attachment that was let go at once.
    access: Option<Access>,
    is_closing: bool,
}

/// Bytes as a life of a target.
pub fn run(bytes: &[u8]) {
    let mut from = Bytes::new(bytes);
    let config = Config {
        node: Name::new("target").expect("a name"),
        instance: InstanceId([9; 16]),
        software: Name::default(),
        keep_alive: Duration::from_secs(2),
        barrier: Duration::from_millis(from.number().min(5_000)),
        from: RestartId(from.number()),
    };
    let now = MonoTime(1);
    let machine = Target::new(now, config, resources(&mut from), entries(&mut from));
    let mut world = World {
        now,
        machine,
        connections: BTreeSet::new(),
        accepted: 0,
        orders: 0,
        lanes: BTreeMap::new(),
        records: VecDeque::new(),
        written: 0,
        flushes: VecDeque::new(),
        is_down: false,
    };
    while !from.is_over() && !world.is_down {
        if let Some(event) = world.draw(&mut from) {
            world.happens(event);
        }
    }
}

impl World {
    /// What comes next; `None` where it cannot.
    fn draw(&mut self, from: &mut Bytes<'_>) -> Option<Event> {
        Some(match from.below(20) {
            0 | 1 if self.connections.len() < MOST_CONNECTIONS => {
                self.accepted += 1;
                let conn = ConnId(self.accepted);
                self.connections.insert(conn);
                Event::Accepted { conn }
            }
            2..=5 => {
                let conn = from.pick(self.connections.iter().copied())?;
                let message = likely::of_initiator(&self.machine, conn, from)?;
                Event::Received { conn, message }
            }
            6..=9 => {
                let conn = from.pick(self.connections.iter().copied())?;
                let row = &TABLE[from.below(TABLE.len())];
                // Most of what an initiator's place is for; anything all the same.
                let row = if row.from.allows(Sender::Initiator) || from.below(8) == 0 {
                    row
                } else {
                    &TABLE[from.below(TABLE.len())]
                };
                Event::Received { conn, message: from.message(row)? }
            }
            10 => {
                let conn = from.pick(self.connections.iter().copied())?;
                self.connections.remove(&conn);
                Event::Lost { conn }
            }
            11 | 12 => {
                let closing = self.lanes.iter().filter(|(_, lane)| lane.is_closing);
                let conn = from.pick(closing.map(|(conn, _)| *conn))?;
                self.lanes.remove(&conn);
                Event::Drained { conn }
            }
            13 | 14 => {
                let ticket = self.records.pop_front()?;
                Event::Recorded { ticket, ok: from.below(8) != 0 }
            }
            15 => {
                let restart = self.flushes.pop_front()?;
                Event::Durable { restart, ok: from.below(8) != 0 }
            }
            16 => return self.own(from),
            _ => {
                self.now = later(self.now, self.machine.deadline(), from);
                self.ticks();
                return None;
            }
        })
    }

    /// What operators, media and the target above do.
    fn own(&mut self, from: &mut Bytes<'_>) -> Option<Event> {
        let count = self.machine.resources().len();
        let resource = ResourceIndex(from.below(count));
        Some(match from.below(8) {
            0..=2 => {
                self.orders += 1;
                Event::Order(order(self.orders, from))
            }
            3 => {
                let all = [Decision::Wait, Decision::Proceed, Decision::Abort];
                Event::Decide(from.pick(all)?)
            }
            4 => {
                let node = Name::new(["a", "b", "c"][from.below(3)])?;
                Event::Evict { node, resource: from.coin().then_some(resource) }
            }
            5 => {
                let (writers, readers) = (from.below(2) as u32, from.below(2) as u32);
                Event::Agentless { resource, now: Agentless { writers, readers } }
            }
            6 => {
                let why = [Ended::WriteBack, Ended::Upstream, Ended::Forgotten][from.below(3)];
                Event::LifeEnded { resource, why }
            }
            _ if self.machine.resources()[resource.0].chained => {
                Event::Upstream { resource, upstream: upstream(from) }
            }
            _ => return None,
        })
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
        let tenures: Vec<Tenure> = self.machine.resources().iter().map(|one| one.tenure).collect();
        let mut actions = Vec::new();
        if let Event::Received { conn, .. } = event {
            self.machine.heard(conn);
        }
        self.machine.handle(self.now, event, &mut actions);
        actions.into_iter().for_each(|action| self.perform(action));
        for (resource, before) in self.machine.resources().iter().zip(tenures) {
            assert!(resource.tenure >= before, "[SAFE-7] a tenure fell");
        }
        let _ = self.machine.rows(self.now);
        let _ = self.machine.still_here();
    }

    /// What the attachment on a connection may do.
    fn access(&self, conn: ConnId) -> Option<Access> {
        match *self.machine.session(conn)? {
            SessionState::Arriving { attachment }
            | SessionState::Sharing { attachment }
            | SessionState::Asked { attachment, .. } => {
                Some(self.machine.seat(attachment)?.entry.access)
            }
            _ => None,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Open { conn, resource, read_only, version: _, share: _ } => {
                assert!(!self.lanes.contains_key(&conn), "a second lane for {conn:?}");
                let access = self.access(conn);
                assert!(access.is_none_or(|access| access.writes() != read_only), "{conn:?}");
                let apart = |lane: &Lane| match (access, lane.access) {
                    (Some(one), Some(other)) => {
                        one.writes() && other.writes() && !one.goes_beside(other)
                    }
                    (_, None) | (None, _) => false,
                };
                let mut lanes = self.lanes.values();
                let other = lanes.find(|lane| lane.resource == resource && apart(lane));
                assert!(other.is_none(), "[SAFE-5] [SAFE-9] two lanes write {resource:?}");
                self.lanes.insert(conn, Lane { resource, access, is_closing: false });
            }
            Action::Close { conn } => {
                let lane = self.lanes.get_mut(&conn).expect("a lane that is there is closed");
                assert!(!lane.is_closing, "closed twice");
                lane.is_closing = true;
            }
            Action::Record { ticket, change: _ } => {
                assert!(ticket.0 > self.written, "{ticket:?} is given out again");
                self.written = ticket.0;
                self.records.push_back(ticket);
            }
            Action::MakeDurable { restart } => self.flushes.push_back(restart),
            Action::Down { .. } => self.is_down = true,
            Action::Renew { resource } => {
                let open = self.lanes.values().any(|lane| lane.resource == resource);
                assert!(!open, "a life ends while {resource:?} has lanes");
            }
            Action::Send { .. }
            | Action::Refuse { .. }
            | Action::HangUp { .. }
            | Action::StartWriteBack
            | Action::StopAccepting
            | Action::GiveBack { .. }
            | Action::Report(_) => {}
        }
    }
}
