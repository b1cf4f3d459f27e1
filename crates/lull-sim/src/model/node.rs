//! The initiator's daemon around its machine: models `perform.rs`, `slots.rs` and `state_writer.rs` of `lull-initiator`.

use super::setup::Wish;
use super::state::{Asked, Frame, Kept, Node, SECTOR, Wire, node_config};
use super::turn::Turn;
use crate::canary::Canary;
use lull_proto::ConnId;
use lull_proto::initiator::{Action, Ask, End, Event, Initiator, Legacy, Origin, Report, Slot};
use lull_proto::target;
use lull_wire::messages::{PauseComplete, Reply, Request};
use lull_wire::{Incarnation, Message, OpCode, RequestFlags, StatusCode};

impl Turn<'_> {
    /// Gives a node's machine what happened and does what it wants done.
    pub fn tell_node(&mut self, at: usize, event: Event) {
        let mut actions = Vec::new();
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let Some(machine) = &mut self.state.nodes[at].machine else { return };
            machine.handle(self.now, event, &mut actions);
            for action in actions.drain(..) {
                self.perform_node(at, action, &mut events);
            }
        }
    }

    fn perform_node(&mut self, at: usize, action: Action, events: &mut Vec<Event>) {
        match action {
            Action::Dial { conn } => {
                for wire in self.state.wires.iter_mut().filter(|wire| wire.node == at) {
                    wire.close_at_node();
                }
                let node = &mut self.state.nodes[at];
                (node.dialling, node.pausing) = (Some(conn), None);
            }
            Action::Send { conn, message } => {
                if let Some(wire) = self.wire(at, conn) {
                    wire.send_up(Frame::Message(message));
                }
            }
            Action::Transmit { conn, origin, request } => {
                self.transmit(at, conn, origin, request, events);
            }
            Action::HangUp { conn } => {
                self.state.nodes[at].pausing = None;
                self.state.nodes[at].dialling.take_if(|dialled| *dialled == conn);
                if let Some(wire) = self.wire(at, conn) {
                    wire.close_at_node();
                }
            }
            Action::Answer { slot, status } => self.answer(at, slot, status),
            Action::Remember(memory) => self.state.nodes[at].wish = Some(memory),
            Action::Retain { slot, place, .. } => {
                let node = &mut self.state.nodes[at];
                if let Some(asked) = node.slots.get(&slot.0) {
                    node.retained.insert(place, (ask_of(asked.wish), asked.content));
                }
            }
            Action::Settle(incarnation) => {
                let node = &mut self.state.nodes[at];
                (node.settled, node.misses) = (incarnation, false);
                // The state file names it too.
                node.wish = node.wish.or(node.kept.as_ref().map(|kept| kept.memory));
            }
            Action::Release { before } => {
                let node = &mut self.state.nodes[at];
                node.retained = node.retained.split_off(&before);
            }
            Action::Report(Report::Violation(_)) => {
                self.state.found("violation", "an initiator says that the target broke a rule");
            }
            Action::Report(Report::LogLost { .. }) => {
                self.forsake(at);
            }
            Action::Report(Report::Ended(End::Detached)) => self.state.nodes[at].kept = None,
            Action::Open(_)
            | Action::Resize(_)
            | Action::RunHook(_)
            | Action::PrepareShutdown(_)
            | Action::CancelShutdown
            | Action::ShutDown
            | Action::LifeLost
            | Action::Report(_) => {}
        }
    }

    fn wire(&mut self, at: usize, conn: ConnId) -> Option<&mut Wire> {
        let mut wires = self.state.wires.iter_mut();
        wires.find(|wire| wire.node == at && wire.at_node == conn && wire.node_open)
    }

    fn transmit(
        &mut self,
        at: usize,
        conn: ConnId,
        origin: Origin,
        request: Request,
        events: &mut Vec<Event>,
    ) {
        let resource = usize::from(self.setup.nodes[at].0);
        let mut content = 0;
        let mut fresh = false;
        match origin {
            Origin::Consumer(slot) => {
                if let Some(asked) = self.state.nodes[at].slots.get_mut(&slot.0) {
                    fresh = !std::mem::replace(&mut asked.sent, true);
                    if let (Wish::Write(sector) | Wish::Durable(sector), 0) =
                        (asked.wish, asked.content)
                    {
                        let sector =
                            &mut self.state.owner.media[resource].sectors[usize::from(sector)];
                        sector.sent += 1;
                        asked.content = sector.sent;
                    }
                    content = asked.content;
                }
            }
            Origin::Retained(place) => {
                content = self.state.nodes[at].retained.get(&place).map_or(0, |kept| kept.1);
                if content == 0 {
                    self.state.found("SAFE-1", "what is to be replayed is not kept");
                }
            }
            Origin::Nobody => {}
        }
        if fresh && self.state.nodes[at].pausing.is_some() {
            self.state.found("PAUSE-2", "a new request is sent after PAUSE");
        }
        let swallowed = match origin {
            Origin::Retained(_) => self.sings(Canary::NoReplay),
            Origin::Nobody => self.sings(Canary::NoPauseFlush) && request.op == OpCode::Flush,
            Origin::Consumer(_) => self.sings(Canary::NoResend) && !fresh,
        };
        if swallowed {
            let machine = self.state.nodes[at].machine.as_ref();
            let Some(incarnation) = machine.map(|one| one.view(self.now).incarnation) else {
                return;
            };
            let reply = Reply { number: request.number, status: StatusCode::Done, incarnation };
            events.push(Event::Replied { conn, reply });
        } else if let Some(wire) = self.wire(at, conn) {
            wire.send_up(Frame::Request(request, content));
        }
    }

    /// A consumer asks for the next thing that it wants.
    pub fn submit(&mut self, at: usize) {
        let (resource, wishes) = &self.setup.nodes[at];
        let (resource, wish) = (usize::from(*resource), wishes[self.state.nodes[at].asked]);
        let sectors = &self.state.owner.media[resource].sectors;
        let covers = match wish {
            Wish::Flush => sectors.iter().map(|sector| sector.told[at]).collect(),
            Wish::Write(_) | Wish::Durable(_) => Vec::new(),
        };
        let node = &mut self.state.nodes[at];
        node.asked += 1;
        let slot = (0..).find(|slot| !node.slots.contains_key(slot)).unwrap_or(0);
        node.slots.insert(slot, Asked { wish, content: 0, sent: false, covers });
        let mut ask = ask_of(wish);
        if self.sings(Canary::NoOverlapWait) {
            // The machine believes that no two requests touch.
            ask.offset += (self.state.nodes[at].asked as u64) << 32;
        }
        self.tell_node(at, Event::Submit { slot: Slot(slot), ask, rest: 0 });
    }

    /// [CONN-3] A consumer is answered: once, not before it is true, and with an error only when the attachment ends.
    fn answer(&mut self, at: usize, slot: Slot, status: StatusCode) {
        let resource = usize::from(self.setup.nodes[at].0);
        let node = &mut self.state.nodes[at];
        let Some(asked) = node.slots.remove(&slot.0) else {
            self.state.found("CONN-3", "a request is answered that nobody waits for");
            return;
        };
        if status != StatusCode::Done {
            let ended = node.machine.as_ref().is_some_and(|machine| {
                matches!(machine.phase(), lull_proto::initiator::Phase::Ended(_))
            });
            if !ended {
                self.state.found("PAUSE-7", "a request is answered with an error");
            }
            return;
        }
        let mut early = false;
        let sectors = &mut self.state.owner.media[resource].sectors;
        match asked.wish {
            Wish::Write(sector) => {
                let sector = &mut sectors[usize::from(sector)];
                early = sector.executed < asked.content;
                sector.told[at] = sector.told[at].max(asked.content);
            }
            Wish::Durable(sector) => {
                let sector = &mut sectors[usize::from(sector)];
                early = sector.stable < asked.content;
                sector.told[at] = sector.told[at].max(asked.content);
                sector.flushed = sector.flushed.max(asked.content);
            }
            Wish::Flush => {
                for (sector, covers) in sectors.iter_mut().zip(asked.covers) {
                    early |= sector.stable < covers;
                    sector.flushed = sector.flushed.max(covers);
                }
            }
        }
        if early {
            self.state.found("CONN-3", "a request is answered before it is done");
        }
    }

    /// A message reached a node.
    pub fn node_receives(&mut self, at: usize, conn: ConnId, message: Message) {
        match &message {
            Message::Pause(pause) if self.sings(Canary::IgnoresPause) => {
                let complete = PauseComplete {
                    restart: pause.restart,
                    in_flight_at_pause: 0,
                    not_executed: 0,
                    retained: 0,
                    retained_bytes: 0,
                    drain_us: 0,
                    flush_us: 0,
                };
                if let Some(wire) = self.wire(at, conn) {
                    wire.send_up(Frame::Message(complete.into()));
                }
                return;
            }
            Message::Pause(pause) => self.state.nodes[at].pausing = Some(pause.restart),
            Message::Resume(resume) => {
                let restart = resume.restart;
                self.state.nodes[at].pausing.take_if(|pausing| *pausing == restart);
            }
            _ => {}
        }
        self.tell_node(at, Event::Received { conn, message });
    }

    /// The state file is written.
    pub fn kept(&mut self, at: usize) {
        let node = &mut self.state.nodes[at];
        let (Some(memory), Some(machine)) = (node.wish.take(), &node.machine) else { return };
        let ended = matches!(machine.phase(), lull_proto::initiator::Phase::Ended(End::Detached));
        let instance = node_config(self.setup, at, node).instance;
        let log = (self.setup.retain > 0).then_some(node.settled);
        node.kept = (!ended).then(|| Kept { owners: vec![instance], memory, log });
        if !std::mem::replace(&mut node.told, true) {
            self.tell_node(at, Event::Remembered);
        }
    }

    /// A connection is made, or cannot be.
    pub fn connect(&mut self, at: usize) {
        let Some(conn) = self.state.nodes[at].dialling.take() else { return };
        if !self.state.owner.daemon.as_ref().is_some_and(|daemon| daemon.accepts) {
            self.tell_node(at, Event::DialFailed { conn });
            return;
        }
        let last = self.state.wires.iter().map(|wire| wire.at_target.0);
        let lanes = self.state.owner.daemon.iter().flat_map(|daemon| daemon.lanes.keys());
        let at_target = ConnId(last.chain(lanes.map(|conn| conn.0)).max().unwrap_or(0) + 1);
        self.state.wires.push(Wire {
            node: at,
            at_node: conn,
            at_target,
            node_open: true,
            target_open: true,
            dead: false,
            up: Default::default(),
            down: Default::default(),
            claim: None,
        });
        self.tell_target(target::Event::Accepted { conn: at_target });
        self.tell_node(at, Event::Dialled { conn });
    }

    /// Starts a daemon with what its state file holds. [SAFE-5] Before it asks to be let in it notes itself there.
    pub fn start_node(&mut self, at: usize) {
        let node = &mut self.state.nodes[at];
        node.life += 1;
        let config = node_config(self.setup, at, node);
        let mut owners = config.predecessors.clone();
        if self.setup.canary != Some(Canary::NoNote) || owners.is_empty() {
            owners.push(config.instance);
        }
        let log = node.kept.take().and_then(|kept| kept.log);
        node.kept = Some(Kept { owners, memory: config.memory, log });
        let legacy = inherit(node, log, self.setup.canary);
        node.machine = Some(Initiator::inheriting(config, legacy));
        self.tell_node(at, Event::Begin);
    }

    /// The process dies: its consumers with it, and its log unless somebody keeps it.
    pub fn kill_node(&mut self, at: usize, keeps: bool) {
        if !keeps {
            self.forsake(at);
            self.state.nodes[at].retained.clear();
        }
        let node = &mut self.state.nodes[at];
        node.machine = None;
        (node.wish, node.told, node.dialling, node.pausing) = (None, false, None, None);
        node.slots.clear();
        node.waits = keeps;
        for wire in self.state.wires.iter_mut().filter(|wire| wire.node == at) {
            wire.close_at_node();
        }
    }

    /// Nobody keeps what this node's consumers were told of.
    fn forsake(&mut self, at: usize) {
        for sector in self.state.owner.media.iter_mut().flat_map(|medium| &mut medium.sectors) {
            sector.told[at] = 0;
        }
    }
}

/// A wish as the machine is asked for it.
fn ask_of(wish: Wish) -> Ask {
    let write = |sector: u8, flags| Ask {
        op: OpCode::Write,
        flags,
        offset: u64::from(sector) * SECTOR,
        length: SECTOR as u32,
    };
    let none = RequestFlags::none();
    match wish {
        Wish::Flush => Ask::FLUSH,
        Wish::Write(sector) => write(sector, none),
        Wish::Durable(sector) => write(sector, none.with(RequestFlags::FUA)),
    }
}

/// What a new life finds of the one before [SAFE-10]: models `heritage.rs`.
fn inherit(node: &mut Node, log: Option<Incarnation>, canary: Option<Canary>) -> Legacy {
    let records = std::mem::take(&mut node.retained).into_values();
    if std::mem::take(&mut node.waits) {
        if canary == Some(Canary::ForgetsLog) {
            return Legacy::None;
        }
        node.retained = (0..).zip(records).collect();
        if node.misses {
            return Legacy::Lost { settled: log.unwrap_or(Incarnation::NONE) };
        }
        let changes = node.retained.values().map(|(ask, _)| *ask).collect();
        return Legacy::Kept { settled: node.settled, changes };
    }
    (node.settled, node.misses) = (log.unwrap_or(Incarnation::NONE), log.is_some());
    log.map_or(Legacy::None, |settled| Legacy::Lost { settled })
}
