//! The lives of an attachment's daemon: how each begins, what it finds of the one before, and how it is killed.

use super::{Attachment, Kept, TRY_AGAIN, Watch};
use crate::canary::Canary;
use crate::world::World;
use crate::world::queue::Happening;
use lull_history::Outcome;
use lull_proto::MonoTime;
use lull_proto::initiator::{Config, Event, Initiator, Legacy, Policy, Succession};
use lull_wire::{Incarnation, InstanceId};

impl World {
    /// Starts an initiator's daemon for one attachment, if it does not run: the heir of what its state file names.
    pub fn start_node(&mut self, at: usize) {
        let node = &mut self.attachments[at];
        let alone = node.serves.is_none_or(|serves| self.targets[serves.target].daemon.is_some());
        if node.machine.is_some() || node.stays_away || !alone {
            return;
        }
        if node.state_fails {
            // A daemon that cannot note itself does not start; its service manager tries again.
            self.after(TRY_AGAIN, Happening::StartNode { attachment: at });
            return;
        }
        self.hosts[node.host].up = true;
        let now = self.now;
        let left = self.attachments[at].awaited.take();
        // When the life before ended nobody knows.
        let left = left.map(|left| match left.deadline {
            Some(_) => left,
            None => Succession { since: now, ..left },
        });
        if let Some(left) = &left {
            let node = &mut self.attachments[at];
            node.geometry = Some(left.promised);
            node.watch.gone = Some(left.since);
            node.watch.failing = left.expired && node.config.policy == Policy::Error;
        }
        self.begin_life(at, left);
    }

    /// One life after another; `left`: what consumers of the one before wait for, where they outlive it.
    pub(super) fn begin_life(&mut self, at: usize, left: Option<Succession>) {
        let instance = InstanceId(self.chance.id());
        let seed = self.chance.number();
        let notes = !self.sings(Canary::NoNote);
        let canary = self.canary;
        let node = &mut self.attachments[at];
        node.life += 1;
        let found = node.kept.take();
        let log = found.as_ref().and_then(|kept| kept.log);
        let (predecessors, memory) =
            found.map(|kept| (kept.owners, kept.memory)).unwrap_or_default();
        let mut owners = predecessors.clone();
        if notes || owners.is_empty() {
            owners.push(instance);
        }
        node.kept = Some(Kept { owners, memory, log });
        let legacy = inherit(node, log, canary);
        node.config = Config { instance, predecessors, memory, seed, ..node.config.clone() };
        let mut machine = Initiator::inheriting(node.config.clone(), legacy);
        if let Some(left) = left {
            machine.succeed(self.now, left);
        }
        node.machine = Some(machine);
        node.remembered = None;
        (node.wish, node.writing, node.told, node.armed) = (None, false, false, None);
        let life = node.life;
        self.note(|| format!("node-{at}: life {life} begins"));
        self.tell_node(at, Event::Begin);
        self.keep_consuming(at);
    }

    /// The process dies, or with `power` its operating system: its consumers are cut off.
    pub fn kill_node(&mut self, at: usize, power: bool) {
        let now = self.now;
        let node = &mut self.attachments[at];
        node.awaited.take_if(|_| power);
        let Some(machine) = node.machine.take() else { return };
        node.awaited = noted(&machine, now)
            .filter(|_| !power && node.log.is_kept && node.serves.is_none() && !node.watch.ended);
        (node.frozen, node.rests) = (false, false);
        node.backlog.clear();
        node.geometry = None;
        let keeps = node.log.is_kept && !power;
        node.log.waits = keeps;
        if !keeps && !std::mem::take(&mut node.log.records).is_empty() {
            node.log.lost_in = Some(node.log.settled);
        }
        let (target, resource) = (node.target, node.resource);
        let connection = node.connection.take();
        let entries = node.slots.take_all();
        let orphans = std::mem::take(&mut node.watch.orphans);
        node.watch = Watch { orphans, excused: node.watch.excused, ..Watch::default() };
        self.note(|| format!("node-{at} is killed, and its log is kept: {keeps}"));
        if !keeps {
            self.forsake(at);
        }
        for entry in entries {
            let request = entry.wanted.request;
            self.judge.ends(target, resource, request, Outcome::Unknown, &[]);
            self.attachments[at].watch.orphans.push(request);
        }
        for wire in 0..self.wires.len() {
            if self.wires[wire].attachment != at || !self.wires[wire].at_node {
                continue;
            }
            if power {
                self.wires[wire].at_node = false;
                self.wires[wire].up.dead = true;
            } else {
                self.close_at_node(wire);
            }
        }
        drop(connection);
    }
}

/// What the next life knows of consumers who outlive this one: models `awaited.rs`.
fn noted(machine: &Initiator, now: MonoTime) -> Option<Succession> {
    let left = machine.bequeath(now)?;
    let waits = machine.view(now).outage.is_some();
    Some(Succession {
        sent: Vec::new(),
        held: Vec::new(),
        whole: false,
        deadline: left.deadline.filter(|_| waits),
        ..left
    })
}

/// What a new life finds of the one before: models `heritage.rs`.
fn inherit(node: &mut Attachment, log: Option<Incarnation>, canary: Option<Canary>) -> Legacy {
    if std::mem::take(&mut node.log.waits) {
        node.log.lives.push(node.life - 1);
        let records = std::mem::take(&mut node.log.records).into_values();
        if canary == Some(Canary::ForgetsLog) {
            return Legacy::None;
        }
        node.log.records = (0..).zip(records).collect();
        if node.log.misses {
            let settled = log.unwrap_or(Incarnation::NONE);
            return Legacy::Lost { settled };
        }
        let changes = node.log.records.values().map(|record| record.ask).collect();
        return Legacy::Kept { settled: node.log.settled, changes };
    }
    node.log.lives.clear();
    node.log.records.clear();
    match log {
        Some(settled) => {
            (node.log.settled, node.log.misses) = (settled, true);
            Legacy::Lost { settled }
        }
        None => {
            (node.log.settled, node.log.misses) = (Incarnation::NONE, false);
            Legacy::None
        }
    }
}
