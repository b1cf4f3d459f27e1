//! The view in which the space of states is finite: clocks stand still and deadlines are spans from now, connections,
//! tickets and epochs are counted anew after each step. Nothing that a machine will ever do depends on what is lost.

use super::state::{Frame, HORIZON, NOW, State, TICK, attachment, node_of};
use lull_proto::renaming::Renaming;
use lull_proto::target::Ticket;
use lull_proto::{ConnId, MonoTime};
use lull_wire::{AttachmentId, Epoch, Message};
use std::time::Duration;

/// New names for one machine.
struct Names<'a> {
    now: MonoTime,
    /// The connections that anything still refers to, in their order.
    conns: &'a [ConnId],
    /// By how much the epochs of each node's attachment are too high.
    epochs: &'a [u64],
    /// What is being written, in its order.
    tickets: &'a [Ticket],
    /// No PING and no PONG of this node is on its way.
    forgets_pings: bool,
    forgets_numbers: bool,
}

impl Renaming for Names<'_> {
    fn deadline(&mut self, at: MonoTime) -> MonoTime {
        let left = at.since(self.now);
        if at == MonoTime(u64::MAX) {
            at
        } else if left > HORIZON {
            NOW + HORIZON * 2
        } else {
            // Nobody looks at the clock between two ticks.
            NOW + TICK * left.as_nanos().div_ceil(TICK.as_nanos()) as u32
        }
    }

    fn ago(&mut self, at: MonoTime, longest: Duration) -> MonoTime {
        let ago = self.now.since(at).min(longest).as_nanos() / TICK.as_nanos();
        MonoTime(NOW.0 - (TICK * ago as u32).as_nanos() as u64)
    }

    fn conn(&mut self, conn: ConnId) -> ConnId {
        ConnId(self.conns.partition_point(|one| *one <= conn) as u64)
    }

    fn epoch(&mut self, attachment: AttachmentId, epoch: Epoch) -> Epoch {
        Epoch(epoch.0.saturating_sub(self.epochs[node_of(attachment)]))
    }

    fn ticket(&mut self, ticket: Ticket) -> Ticket {
        Ticket(self.tickets.partition_point(|one| *one <= ticket) as u64)
    }

    fn ping(&mut self, token: u64) -> u64 {
        if self.forgets_pings { 0 } else { token }
    }

    fn forgets_numbers(&mut self) -> bool {
        self.forgets_numbers
    }
}

/// Gives everything in a state that was reached at `now` the names that it would have had anyhow.
pub fn normalise(state: &mut State, now: MonoTime) {
    forget(state);
    let epochs: Vec<u64> = (0..state.nodes.len()).map(|at| superfluous(state, at, now)).collect();
    let mut tickets: Vec<Ticket> = state.owner.store.pending().map(|(ticket, _)| ticket).collect();
    tickets.sort();
    let none = Names {
        now,
        conns: &[],
        epochs: &epochs,
        tickets: &tickets,
        forgets_pings: false,
        forgets_numbers: false,
    };
    for at in 0..state.nodes.len() {
        let of_node = || state.wires.iter().filter(|wire| wire.node == at);
        let mut conns: Vec<ConnId> = of_node().map(|wire| wire.at_node).collect();
        conns.extend(state.nodes[at].dialling);
        conns.sort();
        let carries = |frame: &Frame| matches!(frame, Frame::Request(..) | Frame::Reply(_));
        let frames = || of_node().flat_map(|wire| wire.up.iter().chain(&wire.down));
        let lanes = state.owner.daemon.iter().flat_map(|daemon| &daemon.lanes);
        let runs = of_node()
            .map(|wire| wire.at_target)
            .any(|conn| lanes.clone().any(|(of, lane)| *of == conn && !lane.running.is_empty()));
        let pings =
            |frame: &Frame| matches!(frame, Frame::Message(Message::Ping(_) | Message::Pong(_)));
        let mut names = Names {
            conns: &conns,
            forgets_pings: !frames().any(pings),
            forgets_numbers: !runs && !frames().any(carries),
            ..none
        };
        let node = &mut state.nodes[at];
        if let Some(machine) = &mut node.machine {
            machine.rename(&mut names);
        }
        node.dialling = node.dialling.map(|conn| names.conn(conn));
        let memories = node.kept.iter_mut().map(|kept| &mut kept.memory).chain(&mut node.wish);
        for memory in memories {
            memory.epoch = names.epoch(attachment(at), memory.epoch);
        }
        for wire in state.wires.iter_mut().filter(|wire| wire.node == at) {
            wire.at_node = names.conn(wire.at_node);
            wire.claim = wire.claim.map(|epoch| names.epoch(attachment(at), epoch));
            for frame in wire.up.iter_mut().chain(&mut wire.down) {
                rename_frame(frame, at, &mut names);
            }
        }
    }
    rename_owner(state, none);
}

fn rename_owner(state: &mut State, none: Names<'_>) {
    let lanes = state.owner.daemon.iter().flat_map(|daemon| daemon.lanes.keys().copied());
    let mut conns: Vec<ConnId> =
        state.wires.iter().map(|wire| wire.at_target).chain(lanes).collect();
    conns.sort();
    conns.dedup();
    let mut names = Names { conns: &conns, ..none };
    if let Some(daemon) = &mut state.owner.daemon {
        daemon.machine.rename(&mut names);
        daemon.lanes = std::mem::take(&mut daemon.lanes)
            .into_iter()
            .map(|(conn, lane)| (names.conn(conn), lane))
            .collect();
    }
    state.owner.store.rename(&mut names);
    for wire in &mut state.wires {
        wire.at_target = names.conn(wire.at_target);
    }
}

/// What nobody will ever see again.
fn forget(state: &mut State) {
    let daemon = &state.owner.daemon;
    let has_session =
        |conn| daemon.as_ref().is_some_and(|daemon| daemon.machine.session(conn).is_some());
    state.wires.retain(|wire| wire.node_open || wire.target_open || has_session(wire.at_target));
    // Their order says nothing.
    state.wires.sort_by_key(|wire| (wire.node, wire.at_node));
    let owner = &mut state.owner;
    if owner.daemon.is_none() {
        // What they said of that life is judged while it lasts.
        (owner.store.intent, owner.store.clean) = (None, None);
    }
}

/// By how much all epochs of a node's attachment may be lowered: the lowest becomes the first.
fn superfluous(state: &State, at: usize, now: MonoTime) -> u64 {
    let id = attachment(at);
    let node = &state.nodes[at];
    let machine = node.machine.iter().map(|machine| machine.view(now).epoch);
    let memories = node.kept.iter().map(|kept| &kept.memory).chain(&node.wish);
    let stored = state.owner.store.roster.get(&id).map(|entry| entry.epoch);
    let seat = state.owner.daemon.as_ref().and_then(|daemon| daemon.machine.seat(id));
    let pending = state.owner.store.pending().filter_map(|(_, change)| match change {
        lull_proto::target::Change::Owner(entry, _) if entry.attachment == id => Some(entry.epoch),
        _ => None,
    });
    let wires = state.wires.iter().filter(|wire| wire.node == at);
    let claims = wires.clone().filter_map(|wire| wire.claim);
    let frames = wires.flat_map(|wire| wire.up.iter().chain(&wire.down));
    machine
        .chain(memories.map(|memory| memory.epoch))
        .chain(stored)
        .chain(seat.map(|seat| seat.entry.epoch))
        .chain(pending)
        .chain(claims)
        .chain(frames.filter_map(epoch_of))
        .map(|epoch| epoch.0)
        .filter(|epoch| *epoch > 0)
        .min()
        .map_or(0, |lowest| lowest - 1)
}

fn epoch_of(frame: &Frame) -> Option<Epoch> {
    match frame {
        Frame::Message(Message::Attach(attach)) => Some(attach.epoch),
        Frame::Message(Message::Attached(attached)) => Some(attached.epoch),
        Frame::Message(Message::Refused(refused)) => Some(refused.epoch),
        Frame::Message(Message::Detached(detached)) => Some(detached.epoch),
        Frame::Message(_) | Frame::Request(..) | Frame::Reply(_) | Frame::End => None,
    }
}

fn rename_frame(frame: &mut Frame, at: usize, names: &mut Names<'_>) {
    let Frame::Message(message) = frame else { return };
    let id = attachment(at);
    match message {
        Message::Attach(attach) => attach.epoch = names.epoch(id, attach.epoch),
        Message::Attached(attached) => attached.epoch = names.epoch(id, attached.epoch),
        Message::Refused(refused) => refused.epoch = names.epoch(id, refused.epoch),
        Message::Detached(detached) => detached.epoch = names.epoch(id, detached.epoch),
        // How long something took is only shown.
        Message::PauseComplete(told) => {
            (told.in_flight_at_pause, told.drain_us, told.flush_us) = (0, 0, 0);
        }
        Message::PauseProgress(told) => told.oldest_ms = 0,
        Message::Stall(stall) => {
            (stall.longest_us, stall.away_us, stall.resume_us) = (0, 0, 0);
        }
        _ => {}
    }
}
