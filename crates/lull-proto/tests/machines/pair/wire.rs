//! Connections: two queues, and what can befall them.

use super::{LATENCY, Later, Pair, Seen};
use lull_proto::target;
use lull_proto::{ConnId, MonoTime, initiator};
use lull_wire::messages::{Reply, Request};
use lull_wire::{Kind, Message, OpCode};

/// What crosses a connection.
#[derive(Clone, Debug)]
pub enum Frame {
    Message(Message),
    /// With the value that a write writes.
    Request(Request, u64),
    /// With the values that a read read.
    Reply(Reply, Vec<u64>),
}

impl Frame {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Message(message) => message.kind(),
            Self::Request(..) => Kind::Request,
            Self::Reply(..) => Kind::Reply,
        }
    }
}

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Target,
    Node,
}

/// A connection of this node breaks once so many frames have arrived at this side.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub node: usize,
    pub side: Side,
    pub after: usize,
}

/// One connection. Its index is its number at the target.
#[derive(Clone, Debug)]
pub struct Wire {
    pub node: usize,
    pub conn: ConnId,
    /// Whether this end still wants to hear of it.
    pub at_node: bool,
    pub at_target: bool,
    /// Nothing arrives any more.
    pub severed: bool,
    pub up_due: MonoTime,
    pub down_due: MonoTime,
}

impl Pair {
    pub(super) fn wire_of(&self, node: usize, conn: ConnId) -> Option<usize> {
        self.wires.iter().position(|wire| wire.node == node && wire.conn == conn && wire.at_node)
    }

    pub(super) fn send_up(&mut self, wire: usize, frame: Frame) {
        let due = self.wires[wire].up_due.max(self.now + LATENCY);
        self.wires[wire].up_due = due;
        self.at(due, Later::ToTarget { wire, frame });
    }

    pub(super) fn send_down(&mut self, wire: usize, frame: Frame) {
        let due = self.wires[wire].down_due.max(self.now + LATENCY);
        self.wires[wire].down_due = due;
        self.at(due, Later::ToNode { wire, frame });
    }

    /// Both ends learn of it; what is under way is gone.
    pub(super) fn sever(&mut self, wire: usize) {
        self.wires[wire].severed = true;
        self.after(LATENCY, Later::LostAtTarget { wire });
        self.after(LATENCY, Later::LostAtNode { wire });
    }

    /// Whether a frame arrives; one on a network that swallows it takes the connection with it, unheard.
    fn arrives(&mut self, wire: usize) -> bool {
        if self.nodes[self.wires[wire].node].mute {
            self.wires[wire].severed = true;
        }
        !self.wires[wire].severed
    }

    fn maybe_cut(&mut self, wire: usize, side: Side) {
        let node = self.wires[wire].node;
        if let Some(cut) = self.cut.as_mut().filter(|cut| cut.side == side && cut.node == node) {
            cut.after -= 1;
            if cut.after == 0 {
                self.cut = None;
                self.sever(wire);
            }
        }
    }

    /// Takes what was on its way, or keeps it for who is frozen.
    pub(super) fn happen(&mut self, later: Later) {
        match &later {
            Later::ToTarget { .. }
            | Later::LostAtTarget { .. }
            | Later::Durable { .. }
            | Later::Execute { .. }
            | Later::Commit { .. }
            | Later::Drained { .. }
                if self.target_frozen =>
            {
                self.backlog.push_back(later);
                return;
            }
            Later::ToNode { wire, .. }
            | Later::LostAtNode { wire }
            | Later::Connected { wire, .. }
                if self.nodes[self.wires[*wire].node].frozen =>
            {
                let node = self.wires[*wire].node;
                self.nodes[node].backlog.push_back(later);
                return;
            }
            Later::ToTarget { .. }
            | Later::LostAtTarget { .. }
            | Later::Durable { .. }
            | Later::Execute { .. }
            | Later::Commit { .. }
            | Later::Drained { .. }
            | Later::ToNode { .. }
            | Later::LostAtNode { .. }
            | Later::Connected { .. }
            | Later::Connect { .. }
            | Later::Start { .. } => {}
        }
        match later {
            Later::Connect { wire } => self.connect(wire),
            Later::Connected { wire, ok } => self.connected(wire, ok),
            Later::ToTarget { wire, frame } => self.deliver_up(wire, frame),
            Later::ToNode { wire, frame } => self.deliver_down(wire, frame),
            Later::LostAtTarget { wire } => {
                if core::mem::take(&mut self.wires[wire].at_target) {
                    self.tell_target(target::Event::Lost { conn: ConnId(wire as u64) });
                }
            }
            Later::LostAtNode { wire } => {
                if core::mem::take(&mut self.wires[wire].at_node) {
                    let Wire { node, conn, .. } = self.wires[wire];
                    self.tell(node, initiator::Event::Lost { conn });
                }
            }
            Later::Start { from } => self.start(from),
            Later::Execute { life, .. }
            | Later::Drained { life, .. }
            | Later::Commit { life, .. }
            | Later::Durable { life, .. } => {
                if life == self.life && self.target.is_some() {
                    self.finish_work(later);
                }
            }
        }
    }

    /// The system accepts for a target that is there, even for a frozen one.
    fn connect(&mut self, wire: usize) {
        if self.nodes[self.wires[wire].node].mute {
            return;
        }
        let ok = self.target.is_some() && self.accepting;
        if ok && self.wires[wire].at_node {
            self.wires[wire].at_target = true;
            self.tell_target(target::Event::Accepted { conn: ConnId(wire as u64) });
        }
        self.after(LATENCY, Later::Connected { wire, ok });
    }

    fn connected(&mut self, wire: usize, ok: bool) {
        let Wire { node, conn, at_node, .. } = self.wires[wire];
        if at_node {
            self.wires[wire].at_node = ok;
            let event = if ok {
                initiator::Event::Dialled { conn }
            } else {
                initiator::Event::DialFailed { conn }
            };
            self.tell(node, event);
        }
    }

    fn deliver_up(&mut self, wire: usize, frame: Frame) {
        if !self.arrives(wire) || !self.wires[wire].at_target {
            return;
        }
        let conn = ConnId(wire as u64);
        match frame {
            Frame::Message(message) => self.tell_target(target::Event::Received { conn, message }),
            Frame::Request(request, value) => {
                if let Some(at) = self.lanes.arrive(conn, &request, value) {
                    let offered = self.life % 2 == 1 || request.op != OpCode::Extents;
                    assert!(offered, "[CONN-8] what was not offered is asked: {request:?}");
                    let span = self.chance(self.service.as_nanos() as u64);
                    let life = self.life;
                    let span = self.lag + std::time::Duration::from_nanos(span);
                    self.after(span, Later::Execute { life, conn, at });
                }
            }
            Frame::Reply(..) => unreachable!("an initiator sends no replies"),
        }
        self.maybe_cut(wire, Side::Target);
    }

    fn deliver_down(&mut self, wire: usize, frame: Frame) {
        if !self.arrives(wire) || !self.wires[wire].at_node {
            return;
        }
        let Wire { node, conn, .. } = self.wires[wire];
        match frame {
            Frame::Message(message) => {
                self.tell(node, initiator::Event::Received { conn, message });
            }
            Frame::Reply(reply, data) => self.tell_reply(node, conn, reply, &data),
            Frame::Request(..) => unreachable!("a target sends no requests"),
        }
        self.maybe_cut(wire, Side::Node);
    }

    pub(super) fn note_up(&mut self, node: usize, kind: Kind) {
        self.trace.push(Seen::Up(node, kind));
    }
}
