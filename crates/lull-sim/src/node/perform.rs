//! What an initiator's machine wants done, done: models `perform.rs` and `state_writer.rs` of `lull-initiator`.

use super::{Connection, Kept, Record, TRY_AGAIN};
use crate::canary::Canary;
use crate::world::World;
use crate::world::queue::Happening;
use crate::world::wire::{Frame, Payload};
use lull_proto::ConnId;
use lull_proto::initiator::{Action, Ask, End, Event, Memory, Origin, Report, Retain, Slot};
use lull_wire::messages::{Reply, Request};
use lull_wire::{Message, OpCode, StatusCode};
use std::collections::BTreeMap;
use std::time::Duration;

impl World {
    pub(super) fn perform_node(&mut self, at: usize, action: Action) {
        match action {
            Action::Dial { conn } => {
                if let Some(old) = self.attachments[at].connection.take() {
                    self.close_at_node(old.wire);
                }
                let wire = self.dial(at, conn);
                let outstanding = BTreeMap::new();
                self.attachments[at].connection = Some(Connection { conn, wire, outstanding });
            }
            Action::Send { conn, message } => self.send_from_node(at, conn, message),
            Action::Transmit { conn, origin, request } => self.transmit(at, conn, origin, request),
            Action::HangUp { conn } => self.hang_up_node(at, conn),
            Action::Answer { slot, status } => self.answered(at, slot, status),
            Action::Open(geometry) => self.attachments[at].geometry = Some(geometry),
            Action::Resize(size) => {
                if let Some(geometry) = &mut self.attachments[at].geometry {
                    geometry.size = size;
                }
            }
            Action::Remember(memory) => self.remember(at, memory),
            Action::Retain { slot, place, ask } => self.retain(at, slot, place, ask),
            Action::LifeLost => self.life_lost(at),
            Action::Release { before } => self.release(at, before),
            Action::Settle(incarnation) => {
                let log = &mut self.attachments[at].log;
                (log.settled, log.misses) = (incarnation, false);
                if let Some(memory) = self.attachments[at].remembered {
                    self.remember(at, memory);
                }
            }
            Action::RunHook(_) => {}
            Action::PrepareShutdown(_) => {
                let (life, span) = (self.attachments[at].life, Duration::from_millis(300));
                self.after(span, Happening::Prepared { attachment: at, life });
            }
            Action::CancelShutdown => {}
            Action::ShutDown => {
                let life = self.attachments[at].life;
                self.after(Duration::ZERO, Happening::ShutDown { attachment: at, life });
            }
            Action::Report(report) => self.node_reports(at, &report),
        }
    }

    pub(super) fn send_from_node(&mut self, at: usize, conn: ConnId, message: Message) {
        let Some(wire) = self.present(at, conn) else { return };
        self.judge_node_sends(at, &message);
        let target = self.attachments[at].target;
        self.note(|| format!("node-{at} ▶ target-{target} {}", crate::target::words(&message)));
        let kind = message.kind();
        self.send_up(wire, Frame::Message(message));
        self.ambush(crate::fault::Watch::Up(kind), at);
    }

    fn present(&self, at: usize, conn: ConnId) -> Option<usize> {
        let connection = self.attachments[at].connection.as_ref();
        connection.filter(|present| present.conn == conn).map(|present| present.wire)
    }

    fn hang_up_node(&mut self, at: usize, conn: ConnId) {
        if let Some(wire) = self.present(at, conn) {
            self.attachments[at].connection = None;
            self.judge_hung_up(at);
            self.close_at_node(wire);
        }
    }

    /// Sends a request, a write with its payload, which stays in its slot as well.
    fn transmit(&mut self, at: usize, conn: ConnId, origin: Origin, mut request: Request) {
        let Some(wire) = self.present(at, conn) else { return };
        let slot = match origin {
            Origin::Consumer(slot) => Some(slot),
            Origin::Retained(_) | Origin::Nobody => None,
        };
        let fresh = slot.is_some_and(|slot| {
            let entry = self.attachments[at].slots.get(slot);
            entry.is_some_and(|entry| entry.number.is_none() && !entry.again)
        });
        self.judge_transmits(at, origin, fresh, &request);
        let node = &mut self.attachments[at];
        let mut payload = Payload { request: 0, content: 0 };
        let mut tenant = None;
        if let Some(slot) = slot
            && let Some(entry) = node.slots.get_mut(slot)
        {
            entry.number = Some(request.number.0);
            payload = Payload { request: entry.wanted.request, content: entry.content() };
            request.offset = entry.ask().offset;
            tenant = Some((slot, entry.tenant));
        }
        if let Origin::Retained(place) = origin
            && let Some(kept) = node.log.records.get(&place)
        {
            payload = kept.payload;
        }
        if let Some(connection) = &mut node.connection {
            connection.outstanding.insert(request.number.0, tenant);
        }
        self.note(|| format!("node-{at}: sends {request:?} for {payload:?}"));
        if self.is_swallowed(&request, origin, fresh) {
            self.reply_by_canary(at, wire, &request);
            return;
        }
        self.send_up(wire, Frame::Request(request, payload));
    }

    fn is_swallowed(&self, request: &Request, origin: Origin, fresh: bool) -> bool {
        let flushes = request.op == OpCode::Flush;
        match (self.canary, origin) {
            (Some(Canary::NoPauseFlush), Origin::Nobody) => flushes,
            (Some(Canary::NoReplay), Origin::Retained(_)) => true,
            (Some(Canary::NoResend), Origin::Consumer(_)) => !fresh && request.op != OpCode::Read,
            _ => false,
        }
    }

    /// [SAFE-1] A change is kept over its answer. Models `journal/`.
    fn retain(&mut self, at: usize, slot: Slot, place: u64, mut ask: Ask) {
        let node = &mut self.attachments[at];
        let Some(entry) = node.slots.get(slot) else { return };
        // What the machine believes about places is undone.
        ask.offset &= u64::from(u32::MAX);
        let sector = u64::from(crate::disk::SECTOR);
        let before = ask.offset / sector - entry.wanted.first;
        let content = entry.wanted.content + before;
        let payload = Payload { request: entry.wanted.request, content };
        let carries = entry.wanted.op == OpCode::Write;
        let sectors = if carries { u64::from(ask.length) / sector } else { 0 };
        node.log.records.insert(place, Record { payload, sectors, ask });
        self.judge_retains(at);
    }

    fn release(&mut self, at: usize, before: u64) {
        let node = &mut self.attachments[at];
        let kept = node.log.records.split_off(&before);
        let released = std::mem::replace(&mut node.log.records, kept);
        let released: Vec<(Payload, u64)> =
            released.into_values().map(|record| (record.payload, record.sectors)).collect();
        self.judge_releases(at, &released);
    }

    fn reply_by_canary(&mut self, at: usize, wire: usize, request: &Request) {
        let Some(machine) = &self.attachments[at].machine else { return };
        let incarnation = machine.view(self.now).incarnation;
        let reply = Reply { number: request.number, status: StatusCode::Done, incarnation };
        self.after(
            Duration::from_micros(50),
            Happening::Down { wire, frame: Frame::Reply(reply, Vec::new()) },
        );
    }

    fn remember(&mut self, at: usize, memory: Memory) {
        let node = &mut self.attachments[at];
        (node.wish, node.remembered) = (Some(memory), Some(memory));
        self.begin_keeping(at);
    }

    fn begin_keeping(&mut self, at: usize) {
        let node = &mut self.attachments[at];
        if node.writing || node.wish.is_none() {
            return;
        }
        node.writing = true;
        let (life, longest) = (node.life, node.keeping);
        let span = self.chance.scattered(longest);
        self.after(span, Happening::Kept { attachment: at, life });
    }

    /// The state file is written, or could not be. Of several wishes that came meanwhile the last counts.
    pub(crate) fn kept(&mut self, at: usize, life: u64) {
        let node = &mut self.attachments[at];
        if !node.lives(life) {
            return;
        }
        node.writing = false;
        if node.state_fails {
            self.after(TRY_AGAIN, Happening::Kept { attachment: at, life });
            self.attachments[at].writing = true;
            return;
        }
        if let Some(memory) = node.wish.take() {
            let log = (node.config.retain != Retain::UpTo(0)).then_some(node.log.settled);
            node.kept = Some(Kept { owners: vec![node.config.instance], memory, log });
            if !std::mem::replace(&mut node.told, true) {
                self.tell_node(at, Event::Remembered);
            }
        }
        self.begin_keeping(at);
    }

    fn node_reports(&mut self, at: usize, report: &Report) {
        self.note(|| format!("node-{at}: {report:?}"));
        self.judge_node_reports(at, report);
        if let Report::Ended(end) = report {
            let node = &mut self.attachments[at];
            node.watch.ended = true;
            node.demanded = false;
            if *end == End::Detached {
                node.kept = None;
            }
        }
    }
}
