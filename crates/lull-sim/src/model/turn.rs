//! One step of the world, carried out: a machine is told something, and what it wants done is done.

use super::setup::Setup;
use super::state::{Frame, NOW, State};
use crate::canary::Canary;
use lull_proto::MonoTime;
use lull_proto::initiator;
use lull_proto::target;

/// A state on its way to the next one.
pub struct Turn<'a> {
    /// What is explored.
    pub setup: &'a Setup,
    /// The state.
    pub state: State,
    /// The time.
    pub now: MonoTime,
}

impl<'a> Turn<'a> {
    /// Begins with this state.
    pub fn new(setup: &'a Setup, state: &State) -> Self {
        Self { setup, state: state.clone(), now: NOW }
    }

    /// Whether this is left out.
    pub fn sings(&self, canary: Canary) -> bool {
        self.setup.canary == Some(canary)
    }

    /// The first frame on its way to the target arrives.
    pub fn arrive_up(&mut self, wire: usize) {
        let Some(frame) = self.state.wires[wire].up.pop_front() else { return };
        let conn = self.state.wires[wire].at_target;
        match frame {
            Frame::Message(message) => {
                if let lull_wire::Message::Attach(attach) = &message {
                    self.state.wires[wire].claim = Some(attach.epoch);
                }
                self.tell_target(target::Event::Received { conn, message });
            }
            Frame::Request(request, content) => self.admit(conn, &request, content),
            Frame::Reply(_) => {}
            Frame::End => {
                self.tell_target(target::Event::Lost { conn });
                let daemon = self.state.owner.daemon.as_ref();
                let kept = daemon.is_some_and(|daemon| daemon.machine.session(conn).is_some());
                let mut wires = self.state.wires.iter_mut();
                if let Some(wire) = wires.find(|wire| wire.at_target == conn && !kept) {
                    wire.close_at_target();
                }
            }
        }
    }

    /// The first frame on its way to a node arrives.
    pub fn arrive_down(&mut self, wire: usize) {
        let Some(frame) = self.state.wires[wire].down.pop_front() else { return };
        let (at, conn) = (self.state.wires[wire].node, self.state.wires[wire].at_node);
        match frame {
            Frame::Message(message) => self.node_receives(at, conn, message),
            Frame::Reply(reply) => self.tell_node(at, initiator::Event::Replied { conn, reply }),
            Frame::Request(..) => {}
            Frame::End => {
                self.state.wires[wire].close_at_node();
                self.tell_node(at, initiator::Event::Lost { conn });
            }
        }
    }

    /// A connection is broken, with all that is on its way.
    pub fn cut(&mut self, wire: usize) {
        let wire = &mut self.state.wires[wire];
        for (queue, open) in [(&mut wire.up, wire.target_open), (&mut wire.down, wire.node_open)] {
            queue.clear();
            queue.extend(open.then_some(Frame::End));
        }
    }

    /// A connection carries nothing any more.
    pub fn silence(&mut self, wire: usize) {
        let wire = &mut self.state.wires[wire];
        wire.dead = true;
        wire.up.clear();
        wire.down.clear();
    }

    /// The clock moves to the next deadline, and who is due is told.
    pub fn pass(&mut self) {
        let nodes = self.state.nodes.iter().filter_map(|node| node.machine.as_ref()?.deadline());
        let target = self.state.owner.daemon.as_ref().and_then(|one| one.machine.deadline());
        let Some(next) = nodes.chain(target).min() else { return };
        self.now = self.now.max(next);
        for _ in 0..3 {
            for at in 0..self.state.nodes.len() {
                let machine = self.state.nodes[at].machine.as_ref();
                if machine.and_then(|one| one.deadline()).is_some_and(|at| at <= self.now) {
                    self.tell_node(at, initiator::Event::Tick);
                }
            }
            let daemon = self.state.owner.daemon.as_ref();
            if daemon.and_then(|one| one.machine.deadline()).is_some_and(|at| at <= self.now) {
                self.tell_target(target::Event::Tick);
            }
        }
        let nodes = self.state.nodes.iter().filter_map(|node| node.machine.as_ref()?.deadline());
        let target = self.state.owner.daemon.as_ref().and_then(|one| one.machine.deadline());
        if nodes.chain(target).any(|at| at <= self.now) {
            self.state.found("progress", "a machine wants to be woken at once, again and again");
        }
    }
}
