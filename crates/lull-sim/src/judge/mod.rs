//! The judges: they stand outside, see what goes in and comes out, and know the rules.
//!
//! They never ask a machine what it believes of itself, but for what an operator would see as well.

mod at_node;
mod at_target;
mod sharers;

use crate::world::World;
use lull_history::{Checker, Fault, Held, Loss, Op, Outcome, Promise};
use lull_proto::MonoTime;
use lull_proto::target::Entry;
use lull_wire::{Access, AttachmentId, Epoch, RestartId};
use sharers::Crowd;
use std::collections::BTreeMap;

/// The first thing that is wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When.
    pub at: MonoTime,
    /// The rule, or `history`, `progress`, `panic`.
    pub rule: &'static str,
    /// What was seen.
    pub text: String,
}

/// What the judges know of one disk.
#[derive(Clone, Debug)]
struct Disk {
    checker: Checker,
    /// A life of the target began and its writer has not replayed since.
    stale: bool,
    /// Its cache was lost since then.
    lost: bool,
    /// A write-back failed in this life of the target, and its writer has not replayed in a later one.
    broken: Option<u64>,
    /// What those who share it did.
    crowd: Crowd,
}

impl Disk {
    /// A life of its target, or of its cache, begins with somebody of this access on the roster.
    fn begins_anew(&mut self, access: Access, now: MonoTime) {
        self.stale |= access.writes();
        if access == Access::Shared {
            // What several have unanswered is done again in any order, whatever was seen of it before.
            self.checker.redone();
            self.crowd.begins_anew(now);
        }
    }
}

/// What the judges remember.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    /// One for each disk of each target.
    disks: Vec<Vec<Disk>>,
    /// Where the medium of a resource is, if it lies on another target's.
    roots: BTreeMap<(usize, usize), (usize, usize)>,
    /// Whose each acknowledged change is, with the life of its initiator.
    done: BTreeMap<u64, (usize, u64)>,
    /// The last epoch that each target granted.
    granted: BTreeMap<(usize, AttachmentId), Epoch>,
    /// Targets that go without everybody's PAUSE COMPLETE.
    proceeds: BTreeMap<usize, bool>,
    /// Since when each target makes everything durable.
    settling: BTreeMap<usize, MonoTime>,
    /// The last restart of each that may go without its clean record: an operator let it proceed, or its order did.
    left_out: BTreeMap<usize, RestartId>,
    /// Requests that were answered.
    pub answered: u64,
}

impl Judge {
    /// One more target with so many disks, full of zeroes.
    pub fn add_target(&mut self, disks: usize) {
        let disk = Disk {
            checker: Checker::new(Promise::Retained, Some(0)),
            stale: false,
            lost: false,
            broken: None,
            crowd: Crowd::default(),
        };
        self.disks.push(vec![disk; disks]);
    }

    /// One more resource of a target, which lies on this one of another.
    pub fn add_chained(&mut self, target: usize, root: (usize, usize)) {
        let resource = self.disks[target].len();
        let (above, disk) = root;
        let unused = self.disks[above][disk].clone();
        self.disks[target].push(unused);
        self.roots.insert((target, resource), root);
    }

    /// What is known of the medium that a resource lies on.
    fn disk(&mut self, target: usize, resource: usize) -> &mut Disk {
        let (target, resource) =
            self.roots.get(&(target, resource)).copied().unwrap_or((target, resource));
        &mut self.disks[target][resource]
    }

    /// A request is answered, or cut off; a fault of a read is not looked at.
    pub fn ends(
        &mut self,
        target: usize,
        resource: usize,
        request: u64,
        outcome: Outcome,
        data: &[u64],
    ) -> Option<Fault> {
        let content: Vec<Held> = data.iter().copied().map(Held::from).collect();
        self.disk(target, resource).checker.end(request, outcome, &content).err()
    }

    /// A change cannot happen any more.
    pub fn settles(&mut self, target: usize, resource: usize, request: u64) {
        self.disk(target, resource).checker.settle(request);
    }

    /// What nobody keeps and no flush covered on a disk may be lost.
    pub fn lost(&mut self, target: usize, resource: usize, loss: Loss) {
        let disk = self.disk(target, resource);
        disk.lost |= loss == Loss::Cache;
        disk.stale |= disk.lost;
        disk.checker.lost(loss);
    }

    /// Nobody ever keeps anything for this one.
    pub fn never_kept(&mut self, target: usize, resource: usize, by: u64) {
        self.disk(target, resource).checker.forsaken(by);
    }

    /// Nobody keeps anything for this one any more. If it had still to replay, it never will.
    pub fn forsaken(&mut self, target: usize, resource: usize, by: u64) {
        let disk = self.disk(target, resource);
        disk.checker.forsaken(by);
        if disk.stale || disk.broken.is_some() {
            disk.checker.lost(if disk.lost { Loss::Cache } else { Loss::Pages });
        }
    }
}

impl World {
    /// A consumer asks.
    pub(crate) fn judge_begins(
        &mut self,
        target: usize,
        resource: usize,
        request: u64,
        by: u64,
        op: Op,
    ) {
        self.judge_sharer_asks(target, resource, request);
        self.judge.disk(target, resource).checker.begin(request, by, op);
    }

    /// A consumer is answered; what it read has to be explained.
    pub(crate) fn judge_ends(
        &mut self,
        target: usize,
        resource: usize,
        request: u64,
        outcome: Outcome,
        data: &[u64],
    ) {
        self.judge.answered += 1;
        if outcome == Outcome::Done {
            self.judge_sharer_told(target, resource, request);
        }
        if let Some(fault) = self.judge.ends(target, resource, request, outcome, data) {
            self.found("history", || format!("disk-{resource} of target-{target}: {fault}"));
        }
    }

    /// An attachment's log is gone, and with it what only the log kept.
    pub(crate) fn forsake(&mut self, at: usize) {
        let node = &self.attachments[at];
        let (target, resource) = (node.target, node.resource);
        if node.serves.is_some() {
            return; // It keeps nothing.
        }
        let lives: Vec<u64> = node.log.lives.iter().copied().chain([node.life]).collect();
        for life in lives {
            self.judge.forsaken(target, resource, crate::node::writer(at, life));
        }
    }

    /// A write-back failed.
    pub(crate) fn judge_broken(&mut self, target: usize, resource: usize) {
        self.judge.lost(target, resource, Loss::Pages);
        self.judge.disk(target, resource).broken = Some(self.targets[target].life);
    }

    /// [SAFE-4] A new life of a disk begins, in which a flush is worth something again.
    pub(crate) fn judge_renewed(&mut self, target: usize, resource: usize) {
        let chained = self.upper(target, resource).is_some();
        let roster = self.targets[target].state.roster.values();
        let of_disk = |entry: &&Entry| entry.resource.0 == resource;
        let disk = self.judge.disk(target, resource);
        if !chained {
            disk.broken = None;
        }
        roster.filter(of_disk).for_each(|entry| disk.begins_anew(entry.access, self.now));
    }

    /// The writer of a disk has replayed what it keeps.
    pub(crate) fn judge_replayed(&mut self, target: usize, resource: usize) {
        let life = self.targets[self.root(target, resource).0].life;
        let disk = self.judge.disk(target, resource);
        if disk.stale {
            disk.checker.redone();
        }
        disk.stale = false;
        disk.lost = false;
        disk.broken = disk.broken.filter(|broken| *broken == life);
    }
}
