//! Connections: two ways that keep their order, and what can befall them.

use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::{ConnId, MonoTime, initiator, target};
use lull_wire::messages::{Reply, Request};
use lull_wire::{InstanceId, Message};
use std::time::Duration;

/// What crosses a connection.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A message that is neither of the next two.
    Message(Message),
    /// A request, with whose it is and what a write writes first.
    Request(Request, Payload),
    /// A reply, with what a read has read.
    Reply(Reply, Vec<u64>),
    /// The other end closed.
    End,
}

/// What a request carries beside its header.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    /// The consumer's request that it belongs to; 0 for a flush of the initiator's own.
    pub request: u64,
    /// What its first sector is to hold.
    pub content: u64,
}

/// One way of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Nothing arrives before what was sent before it.
    due: MonoTime,
    /// Nothing arrives any more.
    pub dead: bool,
}

/// One connection. Its index is its number at the target.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The attachment that dialled.
    pub attachment: usize,
    /// Its number there.
    pub conn: ConnId,
    /// The instance that dialled.
    pub instance: InstanceId,
    /// The target that it leads to.
    pub target: usize,
    /// Whether that end still wants to hear of it.
    pub at_node: bool,
    /// Whether this one does.
    pub at_target: bool,
    /// To the target.
    pub up: Way,
    /// To the initiator.
    pub down: Way,
}

/// What a network is like.
#[derive(Clone, Copy, Debug)]
pub struct Net {
    /// The least time that anything takes.
    pub latency: Duration,
    /// What it may take beyond that.
    pub jitter: Duration,
}

impl World {
    fn delay(&mut self) -> Duration {
        let Net { latency, jitter } = self.net;
        latency + self.chance.scattered(jitter)
    }

    /// An attachment dials.
    pub(crate) fn dial(&mut self, attachment: usize, conn: ConnId) -> usize {
        let target = self.attachments[attachment].target;
        let instance = self.attachments[attachment].config.instance;
        let way = Way { due: self.now, dead: false };
        let wire = Wire {
            attachment,
            conn,
            instance,
            target,
            at_node: true,
            at_target: false,
            up: way,
            down: way,
        };
        self.wires.push(wire);
        let wire = self.wires.len() - 1;
        let at = (self.now + self.delay()).max(self.attachments[attachment].blackout_until);
        self.queue.push(at, Happening::Arrive { wire });
        wire
    }

    /// The operating system accepts for a target that is there, even for a frozen one [CONN-6].
    pub(crate) fn arrive(&mut self, wire: usize) {
        let target = self.wires[wire].target;
        let host = self.targets[target].host;
        if !self.hosts[host].up {
            return; // Nobody says no.
        }
        let there = self.targets[target].takes_dials();
        if there && self.wires[wire].at_node {
            self.wires[wire].at_target = true;
            self.targets[target].dials.push(wire);
        }
        let delay = self.delay();
        self.queue.push(self.now + delay, Happening::Dialled { wire, ok: there });
        self.accept(target);
    }

    /// Takes the dials that wait, if the process is there and accepts.
    pub(crate) fn accept(&mut self, target: usize) {
        while self.targets[target].accepts() && !self.targets[target].dials.is_empty() {
            let wire = self.targets[target].dials.remove(0);
            if self.wires[wire].at_target {
                self.tell_target(target, target::Event::Accepted { conn: ConnId(wire as u64) });
            }
        }
    }

    pub(crate) fn dialled(&mut self, wire: usize, ok: bool) {
        let Wire { attachment, conn, at_node, .. } = self.wires[wire];
        if at_node {
            self.wires[wire].at_node = ok;
            let event = match ok {
                true => initiator::Event::Dialled { conn },
                false => initiator::Event::DialFailed { conn },
            };
            self.tell_node(attachment, event);
        }
    }

    pub(crate) fn send_up(&mut self, wire: usize, frame: Frame) {
        let blackout = self.attachments[self.wires[wire].attachment].blackout_until;
        let due = (self.now + self.delay()).max(self.wires[wire].up.due).max(blackout);
        self.wires[wire].up.due = due;
        self.queue.push(due, Happening::Up { wire, frame });
    }

    pub(crate) fn send_down(&mut self, wire: usize, frame: Frame) {
        let blackout = self.attachments[self.wires[wire].attachment].blackout_until;
        let due = (self.now + self.delay()).max(self.wires[wire].down.due).max(blackout);
        self.wires[wire].down.due = due;
        self.queue.push(due, Happening::Down { wire, frame });
    }

    /// The initiator closes: what it has sent still arrives.
    pub(crate) fn close_at_node(&mut self, wire: usize) {
        if std::mem::take(&mut self.wires[wire].at_node) {
            self.send_up(wire, Frame::End);
        }
    }

    /// The target closes.
    pub(crate) fn close_at_target(&mut self, wire: usize) {
        if std::mem::take(&mut self.wires[wire].at_target) {
            self.send_down(wire, Frame::End);
        }
    }

    pub(crate) fn deliver_up(&mut self, wire: usize, frame: Frame) {
        let Wire { target, at_target, up, .. } = self.wires[wire];
        if up.dead || !at_target {
            return;
        }
        let conn = ConnId(wire as u64);
        match frame {
            Frame::End => self.broken_up(wire),
            Frame::Message(message) => self.target_receives(target, wire, message),
            Frame::Request(request, payload) => self.admit(target, conn, &request, payload),
            Frame::Reply(..) => unreachable!("an initiator sends no replies"),
        }
    }

    pub(crate) fn deliver_down(&mut self, wire: usize, frame: Frame) {
        let Wire { attachment, conn, at_node, down, .. } = self.wires[wire];
        if down.dead || !at_node {
            return;
        }
        match frame {
            Frame::End => self.broken_down(wire),
            Frame::Message(message) => self.node_receives(attachment, conn, message),
            Frame::Reply(reply, data) => self.node_hears_reply(attachment, conn, reply, data),
            Frame::Request(..) => unreachable!("a target sends no requests"),
        }
    }

    pub(crate) fn broken_up(&mut self, wire: usize) {
        if std::mem::take(&mut self.wires[wire].at_target) {
            let target = self.wires[wire].target;
            self.tell_target(target, target::Event::Lost { conn: ConnId(wire as u64) });
        }
    }

    pub(crate) fn broken_down(&mut self, wire: usize) {
        if std::mem::take(&mut self.wires[wire].at_node) {
            let Wire { attachment, conn, .. } = self.wires[wire];
            self.tell_node(attachment, initiator::Event::Lost { conn });
        }
    }

    /// Breaks a connection with all that is under way on it; each end learns of it some time later.
    pub fn cut(&mut self, wire: usize) {
        self.wires[wire].up.dead = true;
        self.wires[wire].down.dead = true;
        for happening in [Happening::BrokenUp { wire }, Happening::BrokenDown { wire }] {
            let at = self.now + self.chance.scattered(Duration::from_millis(200));
            self.queue.push(at, happening);
        }
    }

    /// What is under way in one direction is gone, and all that follows; nobody is told.
    pub fn silence(&mut self, wire: usize, up: bool) {
        let wire = &mut self.wires[wire];
        let way = if up { &mut wire.up } else { &mut wire.down };
        way.dead = true;
    }

    /// Nothing more arrives in one direction for a while.
    pub fn stall(&mut self, wire: usize, up: bool, span: Duration) {
        let until = self.now + span;
        let wire = &mut self.wires[wire];
        let way = if up { &mut wire.up } else { &mut wire.down };
        way.due = way.due.max(until);
    }

    /// The connection that an attachment stands on.
    pub fn wire_of(&self, attachment: usize) -> Option<usize> {
        self.attachments[attachment].connection.as_ref().map(|connection| connection.wire)
    }
}
