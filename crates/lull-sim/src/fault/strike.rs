//! What each fault does.

use super::{Fault, Kind};
use crate::disk::Death;
use crate::node::load::Load;
use crate::node::{Attachment, Kept};
use crate::state_dir::Medium;
use crate::target::After;
use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::initiator::Memory;
use lull_proto::target::{Decision, Event, OnTimeout, Order, Purpose, ResourceIndex};
use lull_wire::messages::Prose;
use lull_wire::{InstanceId, RestartId};
use std::time::Duration;

/// How often at most the same attachment is taken over: each adds a daemon to the world.
const MOST_ATTACHMENTS: usize = 24;
/// How many clients without an agent come at most.
const MOST_CLIENTS: usize = 12;

impl World {
    /// A fault strikes.
    pub fn strike(&mut self, fault: Fault) {
        let Fault { kind, target, attachment } = of_process(self, fault);
        let fault = Fault { kind, target, attachment };
        if self.plan.healed {
            return;
        }
        let word = kind.word();
        self.note(|| format!("** {word} (target-{target}, node-{attachment})"));
        self.coverage.struck(word, "target", self.targets[target].phase());
        self.coverage.struck(word, "initiator", self.attachments[attachment].phase_word());
        if let Some(wire) = self.wire_of(attachment) {
            self.coverage.struck(word, "session", self.session_word(wire));
        }
        match kind {
            Kind::Knocks => self.knock_falsely(attachment),
            Kind::Cut | Kind::Silence | Kind::Stall | Kind::Blackout => self.strike_wire(fault),
            Kind::KillTarget | Kind::PowerTarget | Kind::FreezeTarget => self.strike_target(fault),
            Kind::KillNode | Kind::ReplaceNode | Kind::FreezeNode | Kind::NodeStateFails => {
                self.strike_node(fault);
            }
            Kind::Restart | Kind::RestartPower | Kind::Hold | Kind::Terminate => {
                self.strike_order(kind, target);
            }
            Kind::Decide | Kind::Evict | Kind::TakeOver | Kind::Detach | Kind::Client => {
                self.strike_operator(fault);
            }
            Kind::SyncFails
            | Kind::SyncHangs
            | Kind::DiskFails
            | Kind::StateFails
            | Kind::StateFailsLate
            | Kind::WriteBack => {
                self.strike_storage(fault);
            }
        }
    }

    fn strike_wire(&mut self, Fault { kind, attachment, .. }: Fault) {
        let span = self.plan.chance.scattered(Duration::from_secs(8));
        let up = self.plan.chance.one_in(2);
        if kind == Kind::Blackout {
            self.attachments[attachment].blackout_until = self.now + span;
            return;
        }
        let Some(wire) = self.wire_of(attachment) else { return };
        match kind {
            Kind::Silence => self.silence(wire, up),
            Kind::Stall => self.stall(wire, up, span),
            _ => self.cut(wire),
        }
    }

    fn strike_target(&mut self, Fault { kind, target, .. }: Fault) {
        let span = self.downtime();
        if self.targets[target].daemon.is_none() {
            return;
        }
        match kind {
            Kind::KillTarget => {
                self.kill_target(target);
                self.after(span, Happening::StartTarget { target });
            }
            Kind::PowerTarget => {
                let death = self.death();
                self.power_cut(self.targets[target].host, death, span);
            }
            _ => {
                self.targets[target].frozen = true;
                self.thaw_later(target, span);
            }
        }
    }

    fn death(&mut self) -> Death {
        if self.plan.chance.one_in(2) { Death::Bare } else { Death::Torn }
    }

    fn thaw_later(&mut self, target: usize, span: Duration) {
        self.after(span, Happening::ThawTarget { target });
    }

    fn strike_node(&mut self, Fault { kind, attachment, .. }: Fault) {
        let span = self.downtime();
        match kind {
            // A daemon that has ended for good is not started again.
            Kind::KillNode if !self.attachments[attachment].watch.ended => {
                self.kill_node(attachment, false);
                self.after(span, Happening::StartNode { attachment });
            }
            Kind::ReplaceNode if !self.attachments[attachment].frozen => {
                let waits = self.plan.chance.one_in(2);
                let drain = self.plan.chance.scattered(Duration::from_secs(5));
                self.replace_node(attachment, if waits { drain } else { Duration::ZERO });
            }
            Kind::FreezeNode if self.attachments[attachment].machine.is_some() => {
                self.attachments[attachment].frozen = true;
                self.after(span, Happening::ThawNode { attachment });
            }
            Kind::NodeStateFails => {
                let fails = &mut self.attachments[attachment].state_fails;
                *fails = !*fails;
            }
            _ => {}
        }
    }

    /// An order with anything in it.
    pub fn any_order(&mut self, purpose: Purpose, unstoppable: bool) -> Order {
        self.restarts += 1;
        let chance = &mut self.plan.chance;
        let downtime = *chance.pick(&[0, 1, 5, 30]);
        let span = *chance.pick(&[50, 500, 5_000, 30_000]);
        let timeouts = [OnTimeout::Ask, OnTimeout::Abort, OnTimeout::Proceed, OnTimeout::Wait];
        Order {
            id: RestartId(self.restarts),
            purpose,
            reason: Prose::default(),
            downtime: Duration::from_secs(downtime),
            span: Duration::from_millis(span),
            on_timeout: *chance.pick(&timeouts),
            unstoppable,
        }
    }

    fn strike_order(&mut self, kind: Kind, target: usize) {
        if self.targets[target].daemon.is_none() || self.targets[target].frozen {
            return;
        }
        let (purpose, unstoppable) = match kind {
            Kind::Hold => (Purpose::Hold, false),
            Kind::Terminate => (Purpose::Restart, true),
            _ => (Purpose::Restart, false),
        };
        let order = self.any_order(purpose, unstoppable);
        let power = if kind == Kind::RestartPower { Some(self.death()) } else { None };
        let downtime = self.downtime();
        let socket_stays = power.is_none() && self.plan.chance.one_in(2);
        self.targets[target].after = After { downtime, power, socket_stays };
        self.order(target, order);
    }

    fn strike_operator(&mut self, fault: Fault) {
        let Fault { kind, target, attachment } = fault;
        match kind {
            Kind::Decide if !self.targets[target].frozen => {
                let choices = [Decision::Wait, Decision::Proceed, Decision::Abort];
                let decision = match self.targets[target].phase() {
                    "sealing" => Decision::Abort,
                    _ => *self.plan.chance.pick(&choices),
                };
                self.note(|| format!("target-{target}: decided {decision:?}"));
                self.tell_target(target, Event::Decide(decision));
            }
            Kind::Evict if !self.targets[target].frozen => self.evict(attachment),
            Kind::TakeOver => self.take_over(attachment),
            Kind::Detach if !self.attachments[attachment].frozen => {
                let at_once = self.plan.chance.one_in(3);
                self.attachments[attachment].load.left = 0;
                self.detach(attachment, at_once);
            }
            Kind::Client if self.clients.len() < MOST_CLIENTS => {
                let resource = self.attachments[attachment].resource;
                let left = self.plan.chance.between(1, 30);
                let load = Load::any(&mut self.plan.chance, left, Duration::from_millis(5));
                // Whoever is kept out by it is kept out rightly.
                for other in &mut self.attachments {
                    if other.target == target && other.resource == resource && !other.watch.shared {
                        other.watch.excused = true;
                    }
                }
                self.client_comes(target, resource, load);
            }
            _ => {}
        }
    }

    /// An operator evicts an attachment's node from its resource.
    pub fn evict(&mut self, attachment: usize) {
        let node = self.attachments[attachment].config.node.clone();
        let (target, resource) =
            (self.attachments[attachment].target, self.attachments[attachment].resource);
        for other in &mut self.attachments {
            if other.target == target && other.resource == resource && other.config.node == node {
                other.watch.excused = true;
            }
        }
        for other in 0..self.attachments.len() {
            let one = &self.attachments[other];
            if one.target == target && one.resource == resource && one.config.node == node {
                self.forsake(other);
            }
        }
        let resource = Some(ResourceIndex(resource));
        self.tell_target(target, Event::Evict { node, resource });
    }

    /// Another daemon comes under this attachment's name with an older copy of its state.
    pub fn take_over(&mut self, victim: usize) {
        if self.attachments.len() >= MOST_ATTACHMENTS || self.attachments[victim].watch.ended {
            return;
        }
        self.forsake(victim);
        let old = &mut self.attachments[victim];
        old.watch.excused = true;
        old.demanded = false;
        let (target, resource, mut config) = (old.target, old.resource, old.config.clone());
        config.take_over = true;
        let memory = Memory { epoch: old.config.memory.epoch, ..Memory::default() };
        let host = self.add_host();
        let mut rival = Attachment::new(host, target, resource, config);
        let owners = vec![InstanceId(self.plan.chance.id())];
        rival.kept = Some(Kept { owners, memory, log: None });
        rival.watch.excused = true;
        rival.demanded = false;
        rival.load = Load::any(&mut self.plan.chance, 20, Duration::from_millis(50));
        self.attachments.push(rival);
        self.start_node(self.attachments.len() - 1);
    }

    fn strike_storage(&mut self, Fault { kind, target, attachment }: Fault) {
        let resource = self.attachments[attachment].resource;
        let state = &mut self.targets[target].state;
        match kind {
            Kind::StateFails => state.turn(Medium::Refuses),
            Kind::StateFailsLate => state.turn(Medium::FailsLate),
            Kind::SyncFails => self.targets[target].disks[resource].syncs_fail = 1,
            Kind::SyncHangs => {
                let span = self.plan.chance.scattered(Duration::from_secs(200));
                self.targets[target].disks[resource].hangs_until = self.now + span;
            }
            Kind::DiskFails => {
                let disk = &mut self.targets[target].disks[resource];
                disk.fails = !disk.fails;
            }
            _ => {
                let disk = &mut self.targets[target].disks[resource];
                disk.write_back(&mut self.plan.chance);
                disk.evict();
            }
        }
    }
}

/// What befalls a process that is a target and an initiator befalls both.
fn of_process(world: &World, fault: Fault) -> Fault {
    let kind = match fault.kind {
        Kind::KillNode => Kind::KillTarget,
        Kind::FreezeNode => Kind::FreezeTarget,
        _ => return fault,
    };
    match world.attachments[fault.attachment].serves {
        Some(serves) => Fault { kind, target: serves.target, ..fault },
        None => fault,
    }
}
