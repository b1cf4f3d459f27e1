//! A target whose resource lies on another target's: its medium is an attachment of the same process. Models the
//! backend of a `lull…` URI; the machine of the attachment is the real one.

use crate::canary::Canary;
use crate::node::slots::{Entry, Wanted};
use crate::target::{MOST_SECTORS, TargetHost};
use crate::world::World;
use lull_proto::Upstream;
use lull_proto::initiator::{Event, Retain, Slot};
use lull_proto::target::{self, Ended, ResourceIndex};
use lull_wire::{RequestFlags, StatusCode};
use std::time::Duration;

/// What an attachment is the medium of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serves {
    /// The target.
    pub target: usize,
    /// Its resource.
    pub resource: usize,
}

impl TargetHost {
    /// One more resource, which lies on what this attachment is attached to; its number.
    pub fn add_chained(&mut self, attachment: usize, sectors: usize) -> usize {
        self.disks.push(crate::disk::Disk::new(sectors));
        self.state.tenures.push(lull_wire::Tenure(0));
        self.uppers.resize(self.disks.len(), None);
        self.uppers[self.disks.len() - 1] = Some(attachment);
        self.disks.len() - 1
    }
}

impl World {
    /// Where a resource's medium is.
    pub fn root(&self, mut target: usize, mut resource: usize) -> (usize, usize) {
        while let Some(upper) = self.upper(target, resource) {
            (target, resource) = (self.attachments[upper].target, self.attachments[upper].resource);
        }
        (target, resource)
    }

    /// The attachment that a resource lies on.
    pub fn upper(&self, target: usize, resource: usize) -> Option<usize> {
        self.targets[target].uppers.get(resource).copied().flatten()
    }

    /// The disk that a resource lies on, through any number of targets.
    pub fn medium(&self, target: usize, resource: usize) -> &crate::disk::Disk {
        let (target, resource) = self.root(target, resource);
        &self.targets[target].disks[resource]
    }

    /// [CHAIN-4] Whether whatever reached the present life of the resource also reached the present one of its medium.
    pub(crate) fn is_current(&self, attachment: usize) -> bool {
        let node = &self.attachments[attachment];
        let (target, resource) = (node.target, node.resource);
        let (Some(machine), Some(daemon)) = (&node.machine, &self.targets[target].daemon) else {
            return false;
        };
        let same = machine.view(self.now).incarnation
            == daemon.machine.resources()[resource].incarnation
            && !daemon.ended.contains(&resource);
        same && self.upper(target, resource).is_none_or(|upper| self.is_current(upper))
    }

    /// A request goes on to the target above.
    pub(crate) fn pass_on(&mut self, at: usize, upper: usize, op: u64) {
        let Some(daemon) = &self.targets[at].daemon else { return };
        let Some(running) = daemon.running.get(&op) else { return };
        let wanted = Wanted {
            request: running.payload.request,
            op: running.op,
            flags: RequestFlags::none().with_if(running.fua, RequestFlags::FUA),
            first: running.first,
            count: running.count,
            content: running.payload.content,
        };
        let node = &mut self.attachments[upper];
        let slot = node.slots.insert(wanted, MOST_SECTORS);
        node.passes.insert(slot, op);
        let (ask, rest) = node.slots.asked(slot);
        self.tell_node(upper, Event::Submit { slot, ask, rest });
    }

    /// The target above has answered it, or it was given back.
    pub(crate) fn passed(&mut self, upper: usize, slot: Slot, entry: Entry, status: StatusCode) {
        let Some(Serves { target, .. }) = self.attachments[upper].serves else { return };
        let Some(op) = self.attachments[upper].passes.remove(&slot) else { return };
        let status = match status {
            StatusCode::NotExecuted if self.sings(Canary::GivesBackAsDone) => StatusCode::Done,
            other => other,
        };
        if let Some(daemon) = &mut self.targets[target].daemon
            && let Some(running) = daemon.running.get_mut(&op)
        {
            running.data = entry.data;
        }
        self.finish(target, op, status);
    }

    /// [CHAIN-4] The target above began anew: nothing of the life here is answered any more.
    pub(crate) fn life_lost(&mut self, upper: usize) {
        let Some(Serves { target, resource }) = self.attachments[upper].serves else { return };
        if self.sings(Canary::NoLifeDownstream) {
            return;
        }
        self.note(|| format!("target-{target}: disk-{resource} begins anew above"));
        if self.mute(target, resource) {
            let resource = ResourceIndex(resource);
            let event = target::Event::LifeEnded { resource, why: Ended::Upstream };
            self.tell_target(target, event);
        }
    }

    /// How the target above stands is told to the machine below, where that is news.
    pub(crate) fn tell_upstream(&mut self, upper: usize, again: bool) {
        let Some(Serves { target, resource }) = self.attachments[upper].serves else { return };
        let machine = self.attachments[upper].machine.as_ref();
        let Some(upstream) = machine.and_then(|machine| machine.upstream(self.now)) else { return };
        let bare = match upstream.clone() {
            Upstream::Away { reason, path, never, span: _ } => {
                Upstream::Away { reason, path, never, span: Duration::ZERO }
            }
            standing @ Upstream::Standing { .. } => standing,
        };
        let told = &mut self.attachments[upper].told_upstream;
        if told.replace(bare.clone()) != Some(bare) || again {
            let resource = ResourceIndex(resource);
            self.tell_target(target, target::Event::Upstream { resource, upstream });
        }
    }

    /// What a middle cannot pass on is given back, or kept again.
    pub(crate) fn give_back(&mut self, at: usize, resource: usize, on: bool) {
        if let Some(upper) = self.upper(at, resource) {
            self.tell_node(upper, Event::GiveBack { on });
        }
    }

    /// The attachments of a target's process begin with it.
    pub(crate) fn start_uppers(&mut self, at: usize) {
        for upper in self.uppers_of(at) {
            self.start_node(upper);
        }
    }

    /// They end with it.
    pub(crate) fn end_uppers(&mut self, at: usize) {
        for upper in self.uppers_of(at) {
            let node = &mut self.attachments[upper];
            node.machine = None;
            node.connection = None;
            node.geometry = None;
            node.told_upstream = None;
            node.passes.clear();
            node.slots.take_all();
            node.watch = crate::node::Watch::default();
            for wire in 0..self.wires.len() {
                if self.wires[wire].attachment == upper && self.wires[wire].at_node {
                    self.close_at_node(wire);
                }
            }
        }
    }

    /// Those that a target's resources lie on.
    pub(crate) fn uppers_of(&self, at: usize) -> Vec<usize> {
        self.targets[at].uppers.iter().copied().flatten().collect()
    }
}

/// An attachment that is a medium retains nothing.
pub fn chained(config: lull_proto::initiator::Config) -> lull_proto::initiator::Config {
    lull_proto::initiator::Config {
        policy: lull_proto::initiator::Policy::Wait,
        retain: Retain::Elsewhere,
        callback: Default::default(),
        ..config
    }
}
