//! What an initiator's machine wants done, done.

use super::{Frame, LATENCY, Later, Pair, Seen, Wire};
use lull_proto::ConnId;
use lull_proto::initiator::{Action, Event, Origin};
use lull_wire::Kind;
use lull_wire::messages::Reply;

impl Pair {
    pub fn tell(&mut self, at: usize, event: Event) {
        self.handle_node(at, event, None);
    }

    pub(super) fn tell_reply(&mut self, at: usize, conn: ConnId, reply: Reply, data: &[u64]) {
        self.handle_node(at, Event::Replied { conn, reply }, Some(data));
    }

    fn handle_node(&mut self, at: usize, event: Event, data: Option<&[u64]>) {
        let mut actions = Vec::new();
        self.nodes[at].machine.handle(self.now, event, &mut actions);
        for action in actions {
            self.perform_node(at, action, data);
        }
    }

    fn perform_node(&mut self, at: usize, action: Action, data: Option<&[u64]>) {
        match action {
            Action::Dial { conn } => {
                let (up_due, down_due) = (self.now, self.now);
                self.wires.push(Wire {
                    node: at,
                    conn,
                    at_node: true,
                    at_target: false,
                    severed: false,
                    up_due,
                    down_due,
                });
                let wire = self.wires.len() - 1;
                self.after(LATENCY, Later::Connect { wire });
            }
            Action::Send { conn, message } => {
                if let Some(wire) = self.wire_of(at, conn) {
                    self.note_up(at, message.kind());
                    self.send_up(wire, Frame::Message(message));
                }
            }
            Action::LifeLost => unreachable!("each of them keeps what it wrote"),
            Action::Transmit { conn, origin, request } => {
                let Some(wire) = self.wire_of(at, conn) else { return };
                let node = &self.nodes[at];
                let (seen, value) = match origin {
                    Origin::Consumer(slot) => (Seen::Asked(at, slot), node.waiting[&slot].value),
                    Origin::Retained(place) => (Seen::Replayed(at, place), node.retained[&place]),
                    Origin::Nobody => (Seen::Up(at, Kind::Request), 0),
                };
                match seen {
                    Seen::Up(..) => self.note_up(at, Kind::Request),
                    seen => self.trace.push(seen),
                }
                self.send_up(wire, Frame::Request(request, value));
            }
            Action::HangUp { conn } => {
                let Some(wire) = self.wire_of(at, conn) else { return };
                self.wires[wire].at_node = false;
                if !self.wires[wire].severed && !self.nodes[at].mute {
                    let when = self.wires[wire].up_due.max(self.now + LATENCY);
                    self.at(when, Later::LostAtTarget { wire });
                }
            }
            Action::Answer { slot, status } => {
                let place = self.nodes[at].place;
                self.nodes[at].answered(&mut self.histories[place], slot, status, data);
            }
            Action::Retain { slot, place, .. } => {
                let node = &mut self.nodes[at];
                node.retained.insert(place, node.waiting[&slot].value);
            }
            Action::Release { before } => {
                self.nodes[at].retained = self.nodes[at].retained.split_off(&before);
            }
            Action::Open(geometry) => self.nodes[at].geometry = Some(geometry),
            Action::Resize(size) => {
                if let Some(geometry) = &mut self.nodes[at].geometry {
                    geometry.size = size;
                }
            }
            Action::Remember(memory) => {
                self.nodes[at].memory = memory;
                self.tell(at, Event::Remembered);
            }
            Action::RunHook(timer) => self.nodes[at].hooks.push(timer),
            Action::PrepareShutdown(_) => self.nodes[at].shutdowns[0] += 1,
            Action::CancelShutdown => self.nodes[at].shutdowns[1] += 1,
            Action::ShutDown => self.nodes[at].shutdowns[2] += 1,
            Action::Settle(_) => {}
            Action::Report(report) => self.nodes[at].reports.push(report),
        }
    }
}
