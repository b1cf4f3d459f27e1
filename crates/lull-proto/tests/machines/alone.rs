//! One machine by hand, message by message.

use crate::pair::{BLOCK, BLOCKS, ask, config};
use lull_proto::initiator::{Action, Ask, Config, Event, Initiator, Legacy, Report, Slot};
use lull_proto::{ConnId, MonoTime, Violation};
use lull_wire::messages::{Attached, Connect, Disconnect, Pause, Reply, Request, Resume, Welcome};
use lull_wire::{
    DisconnectCode, Epoch, Features, Incarnation, InstanceId, Kind, Message, OpCode, RequestNumber,
    ResourceId, RestartId, StatusCode, Tenure, VERSION,
};
use std::time::Duration;

/// An initiator and everything that it wanted done.
#[derive(Clone)]
pub struct Alone {
    pub now: MonoTime,
    pub machine: Initiator,
    pub actions: Vec<Action>,
    pub conn: ConnId,
    /// What replies say.
    pub incarnation: Incarnation,
    slots: u32,
}

pub fn welcome() -> Message {
    let (instance, node, software) = (InstanceId([9; 16]), Default::default(), Default::default());
    Welcome { version: VERSION, instance, node, software, keep_alive_ms: 2000 }.into()
}

pub fn connect() -> Message {
    Connect { restart: RestartId(0), barrier_ms: 0 }.into()
}

pub fn attached(epoch: u64) -> Attached {
    Attached {
        epoch: Epoch(epoch),
        identity: ResourceId([1; 16]),
        incarnation: Incarnation([1; 16]),
        tenure: Tenure(1),
        size: BLOCKS as u64 * BLOCK,
        block: BLOCK as u32,
        preferred: 65_536,
        max_length: 1 << 20,
        features: Features::none(),
        path: Default::default(),
    }
}

pub fn pause(id: u64) -> Message {
    let (restart, reason) = (RestartId(id), Default::default());
    Pause { restart, span_ms: 30_000, downtime_ms: 1000, reason }.into()
}

pub fn disconnect(code: DisconnectCode, restart: u64) -> Message {
    Disconnect {
        restart: RestartId(restart),
        code,
        downtime_ms: 0,
        resource: Default::default(),
        where_to: Default::default(),
        detail: Default::default(),
    }
    .into()
}

pub fn resume(id: u64) -> Message {
    Resume { restart: RestartId(id) }.into()
}

impl Alone {
    pub fn new(config: Config) -> Self {
        Self::inheriting(config, Legacy::None)
    }

    /// The heir of a life that left this.
    pub fn inheriting(config: Config, legacy: Legacy) -> Self {
        let machine = Initiator::inheriting(config, legacy);
        let (now, incarnation) = (MonoTime(1_000_000_000), Incarnation([1; 16]));
        Self { now, machine, actions: Vec::new(), conn: ConnId(0), incarnation, slots: 0 }
    }

    /// Dialling, with HELLO sent.
    pub fn greeted() -> Self {
        let mut alone = Self::new(config(0, "disk-a"));
        alone.handle(Event::Begin);
        alone.connects();
        alone
    }

    pub fn sharing() -> Self {
        let mut alone = Self::greeted();
        alone.attaches(1);
        alone.receive(resume(0));
        alone
    }

    /// The dial that it began last.
    pub fn dialled(&self) -> ConnId {
        let dial = self.actions.iter().rev().find_map(|action| match action {
            Action::Dial { conn } => Some(*conn),
            _ => None,
        });
        dial.expect("it dials")
    }

    /// The dial that it began succeeds.
    pub fn connects(&mut self) {
        self.conn = self.dialled();
        self.handle(Event::Dialled { conn: self.conn });
    }

    /// Up to READY, with this epoch.
    pub fn attaches(&mut self, epoch: u64) {
        self.receive(welcome());
        self.receive(connect());
        self.receive(attached(epoch).into());
        self.handle(Event::Remembered);
    }

    pub fn handle(&mut self, event: Event) {
        self.machine.handle(self.now, event, &mut self.actions);
    }

    pub fn receive(&mut self, message: Message) {
        self.handle(Event::Received { conn: self.conn, message });
    }

    pub fn lose(&mut self) {
        self.handle(Event::Lost { conn: self.conn });
    }

    pub fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(next) = self.machine.deadline().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.handle(Event::Tick);
        }
        self.now = until;
    }

    pub fn submit(&mut self, op: OpCode, block: u64) -> Slot {
        self.submit_ask(ask(op, block))
    }

    pub fn submit_ask(&mut self, ask: Ask) -> Slot {
        self.slots += 1;
        let slot = Slot(self.slots);
        self.handle(Event::Submit { slot, ask, rest: 0 });
        slot
    }

    pub fn reply(&mut self, number: RequestNumber, status: StatusCode) {
        let reply = Reply { number, status, incarnation: self.incarnation };
        self.handle(Event::Replied { conn: self.conn, reply });
    }

    /// One block is written, and not flushed.
    pub fn write_answered(&mut self) {
        self.submit(OpCode::Write, 1);
        let request = self.transmitted().pop().expect("it is sent");
        self.reply(request.number, StatusCode::Done);
    }

    pub fn transmitted(&self) -> Vec<Request> {
        let request = |action: &Action| match action {
            Action::Transmit { request, .. } => Some(request.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(request).collect()
    }

    pub fn sent(&self, kind: Kind) -> Vec<Message> {
        let message = |action: &Action| match action {
            Action::Send { message, .. } => Some(message.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(message).filter(|one| one.kind() == kind).collect()
    }

    pub fn answers(&self) -> Vec<(Slot, StatusCode)> {
        let answer = |action: &Action| match action {
            Action::Answer { slot, status } => Some((*slot, *status)),
            _ => None,
        };
        self.actions.iter().filter_map(answer).collect()
    }

    pub fn reported(&self, is: impl Fn(&Report) -> bool) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Report(report) if is(report)))
    }

    pub fn violation(&self) -> Option<Violation> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Report(Report::Violation(violation)) => Some(*violation),
            _ => None,
        })
    }
}
