//! How a target's daemon starts and ends: models `life.rs` of `lull-target`.

use super::{Daemon, Gate, TargetHost};
use crate::canary::Canary;
use crate::disk::Death;
use crate::state_dir::Medium;
use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::ConnId;
use lull_proto::ledger::Ledger;
use lull_proto::target::{Config, Event, Resource, Target};
use lull_wire::messages::{Name, Path};
use lull_wire::{Access, Incarnation, InstanceId, ResourceId, RestartId, Text};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A state directory that cannot be written keeps a target from starting; it is tried again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What follows when a target has gone down by itself.
#[derive(Clone, Copy, Debug)]
pub struct After {
    /// It is started again after this.
    pub downtime: Duration,
    /// Its operating system dies in between.
    pub power: Option<Death>,
    /// Somebody keeps the listening socket: who dials waits.
    pub socket_stays: bool,
}

impl Default for After {
    fn default() -> Self {
        Self { downtime: Duration::from_millis(40), power: None, socket_stays: true }
    }
}

impl World {
    /// A new life with what is on stable storage, if none runs. [PAUSE-5] The new incarnations are among it.
    pub fn start_target(&mut self, at: usize) {
        let no_barrier = self.sings(Canary::NoReadBarrier);
        let host = &mut self.targets[at];
        if host.daemon.is_some() {
            return;
        }
        self.hosts[host.host].up = true;
        let uppers = host.uppers.iter().flatten();
        let takes = host.state.medium == Medium::Takes;
        if !takes || uppers.clone().any(|upper| self.attachments[*upper].state_fails) {
            self.after(START_AGAIN, Happening::StartTarget { target: at });
            return;
        }
        host.life += 1;
        host.since = self.now;
        let mut gates = Vec::new();
        let mut ledgers = vec![Ledger::default(); host.disks.len()];
        for (attachment, outcomes) in &host.state.outcomes {
            if let Some(entry) = host.state.roster.get(attachment) {
                ledgers[entry.resource.0].load(*attachment, outcomes);
            }
        }
        let mut resources = Vec::new();
        for resource in 0..host.disks.len() {
            host.disks[resource].open();
            gates.push(Gate::default());
            let upper = host.uppers[resource].map(|upper| &self.attachments[upper]);
            let known = upper.map(|upper| {
                upper.kept.as_ref().map_or(ResourceId::NONE, |kept| kept.memory.identity)
            });
            let own =
                Text::clipped(&format!("{}/{}", host.name, TargetHost::resource_name(resource)));
            resources.push(Resource {
                name: TargetHost::resource_name(resource),
                identity: known.unwrap_or_else(|| host.identity(resource)),
                incarnation: Incarnation(self.chance.id()),
                tenure: host.state.tenures[resource],
                geometry: host.geometry(resource),
                path: Path::new(vec![own]).unwrap_or_default(),
                chained: upper.is_some(),
                agentless: Default::default(),
            });
        }
        let config = Config {
            node: Name::clipped(&host.name),
            instance: InstanceId(self.chance.id()),
            software: Name::default(),
            keep_alive: host.keep_alive,
            barrier: host.barrier,
            from: host.state.unfinished.take().unwrap_or(RestartId(0)),
        };
        let mut roster: Vec<_> = host.state.roster.values().cloned().collect();
        if no_barrier {
            roster.iter_mut().for_each(|entry| entry.dirty = false);
        }
        if self.canary == Some(Canary::NoBarrier) {
            roster.iter_mut().for_each(|entry| entry.dirty &= entry.access != Access::Shared);
        }
        host.daemon = Some(Daemon {
            machine: Target::new(self.now, config, resources, roster),
            lanes: BTreeMap::new(),
            running: BTreeMap::new(),
            gates,
            ledgers,
            parked: BTreeMap::new(),
            ended: BTreeSet::new(),
            claims: BTreeMap::new(),
            pulses: BTreeSet::new(),
            accepts: true,
            durable: BTreeMap::new(),
            inputs: VecDeque::new(),
            in_turn: false,
            ops: 0,
            armed: None,
        });
        host.listens = true;
        let life = host.life;
        self.note(|| format!("target-{at}: life {life} begins"));
        self.judge_started(at);
        self.after(crate::knocks::GRACE, Happening::Knock { target: at, life });
        self.settle_clients(at);
        self.start_uppers(at);
        self.arm_target(at);
        self.accept(at);
        self.replay_backlog(at);
    }

    /// A frozen daemon runs again: what came meanwhile is read first [TIMER-6].
    pub fn thaw_target(&mut self, at: usize) {
        if std::mem::take(&mut self.targets[at].frozen) {
            self.note(|| format!("target-{at} runs again"));
            self.targets[at].thawed = Some(self.now);
            self.accept(at);
            self.replay_backlog(at);
            for upper in self.uppers_of(at) {
                self.tick_node(upper);
            }
            self.tick_target(at);
        }
    }

    fn replay_backlog(&mut self, at: usize) {
        for happening in std::mem::take(&mut self.targets[at].backlog) {
            self.happen(happening);
        }
    }

    /// Every session is told and closed: the process ends.
    pub(super) fn go_down(&mut self, at: usize, restart: RestartId) {
        let After { downtime, power, socket_stays } = self.targets[at].after;
        let life = self.targets[at].life;
        self.note(|| format!("target-{at}: life {life} has ended, restart {restart}"));
        self.judge_went_down(at);
        self.targets[at].state.close(life);
        self.targets[at].daemon = None;
        self.end_uppers(at);
        for wire in 0..self.wires.len() {
            if self.wires[wire].target == at && !self.targets[at].dials.contains(&wire) {
                self.close_at_target(wire);
            }
        }
        if !socket_stays {
            self.close_socket(at);
        }
        if let Some(death) = power {
            let host = self.targets[at].host;
            self.note(|| format!("host-{host}: its system dies after the clean end"));
            for resource in 0..self.targets[at].disks.len() {
                if self.upper(at, resource).is_some() {
                    continue;
                }
                self.targets[at].disks[resource].lose_power(death, &mut self.chance);
                self.judge_clean_loss(at, resource);
            }
            for attachment in 0..self.attachments.len() {
                if self.attachments[attachment].host == host
                    && self.attachments[attachment].serves.is_none()
                {
                    self.kill_node(attachment, true);
                    self.after(downtime, Happening::StartNode { attachment });
                }
            }
        }
        self.after(downtime, Happening::StartTarget { target: at });
    }

    /// Who dialled and was not accepted is turned away.
    fn close_socket(&mut self, at: usize) {
        self.targets[at].listens = false;
        self.targets[at].backlog.clear();
        for wire in std::mem::take(&mut self.targets[at].dials) {
            self.close_at_target(wire);
        }
    }

    /// The process dies. [SAFE-6] What its requests still do to the medium is done before the next life opens it.
    pub fn kill_target(&mut self, at: usize) {
        let life = self.targets[at].life;
        let Some(daemon) = self.targets[at].daemon.take() else { return };
        self.note(|| format!("target-{at}: life {life} is killed"));
        self.targets[at].frozen = false;
        self.targets[at].backlog.clear();
        for running in daemon.running.into_values() {
            if self.upper(at, running.resource).is_some() {
                continue; // It lies with the target above, whoever asked.
            }
            if self.sings(Canary::StaleIo) {
                let resource = running.resource;
                self.targets[at].stale.push((resource, running));
            } else {
                self.apply_some(at, &running);
            }
        }
        let lucky = self.chance.one_in(2);
        self.targets[at].state.crash(life, lucky);
        self.close_socket(at);
        self.end_uppers(at);
        for wire in 0..self.wires.len() {
            if self.wires[wire].target == at && self.wires[wire].at_target {
                // What was on its way may die with it.
                if self.chance.one_in(2) {
                    self.wires[wire].at_target = false;
                    self.cut(wire);
                } else {
                    self.close_at_target(wire);
                }
            }
        }
        self.abandon_clients(at);
    }

    /// The operating system dies: what no sync covered may be gone, and no connection is closed. What still stands on
    /// one learns of it when the host answers again.
    pub fn power_cut(&mut self, host: usize, death: Death, downtime: Duration) {
        self.note(|| format!("host-{host}: power is cut"));
        self.hosts[host].up = false;
        for at in 0..self.targets.len() {
            if self.targets[at].host != host {
                continue;
            }
            let open: Vec<usize> = (0..self.wires.len())
                .filter(|wire| self.wires[*wire].target == at && self.wires[*wire].at_target)
                .collect();
            for &wire in &open {
                self.wires[wire].at_target = false;
                self.wires[wire].up.dead = true;
                self.wires[wire].down.dead = true;
                let spread = self.chance.scattered(Duration::from_secs(2));
                self.after(downtime + spread, Happening::BrokenDown { wire });
            }
            self.kill_target(at);
            for resource in 0..self.targets[at].disks.len() {
                if self.upper(at, resource).is_some() {
                    continue;
                }
                self.targets[at].disks[resource].lose_power(death, &mut self.chance);
                self.judge.lost(at, resource, lull_history::Loss::Cache);
            }
            self.after(downtime, Happening::StartTarget { target: at });
        }
        for attachment in 0..self.attachments.len() {
            if self.attachments[attachment].host == host
                && self.attachments[attachment].serves.is_none()
            {
                self.kill_node(attachment, true);
                self.after(downtime, Happening::StartNode { attachment });
            }
        }
    }

    /// I/O of a killed process reaches the medium late. Only a canary lets it.
    pub(super) fn late_io(&mut self, at: usize) {
        for (_, running) in std::mem::take(&mut self.targets[at].stale) {
            self.apply(at, &running, |_| true);
        }
    }

    /// An order, as an operator or a signal gives it.
    pub fn order(&mut self, at: usize, order: lull_proto::target::Order) {
        self.note(|| format!("target-{at}: ordered {:?} {order:?}", order.id));
        self.tell_target(at, Event::Order(order));
    }

    /// The session on a connection, in a word.
    pub fn session_word(&self, wire: usize) -> &'static str {
        let target = &self.targets[self.wires[wire].target];
        let state =
            target.daemon.as_ref().map(|daemon| daemon.machine.session(ConnId(wire as u64)));
        state.flatten().map_or("none", super::session_word)
    }
}
