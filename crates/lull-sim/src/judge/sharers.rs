//! What is seen of those who share a disk: nothing that was executed is executed again over what another one was told
//! is done [SAFE-11].

use crate::target::Running;
use crate::world::World;
use lull_proto::MonoTime;
use lull_wire::Access;
use std::collections::BTreeMap;

/// A change of a sharer that was executed.
#[derive(Clone, Copy, Debug)]
struct Executed {
    request: u64,
    by: usize,
    first: u64,
    count: u64,
}

/// What was executed on one disk, and when its consumers asked and were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd {
    /// In order.
    executed: Vec<Executed>,
    begun: BTreeMap<u64, MonoTime>,
    answered: BTreeMap<u64, MonoTime>,
    /// When the first life began that came after the disk was last open.
    since: MonoTime,
    pub(super) opened: bool,
}

impl Crowd {
    /// A life begins. What the one before it did while it was closed is as if it had done it.
    pub(super) fn begins_anew(&mut self, now: MonoTime) {
        if std::mem::take(&mut self.opened) {
            self.since = now;
        }
    }
}

impl World {
    fn crowd(&mut self, running: &Running) -> Option<(usize, &mut Crowd)> {
        let (by, _) = running.from.filter(|_| running.changes())?;
        let node = &self.attachments[by];
        let (target, resource) = (node.target, node.resource);
        (node.config.access == Access::Shared)
            .then(|| (by, &mut self.judge.disks[target][resource].crowd))
    }

    /// A consumer of a sharer asks.
    pub(super) fn judge_sharer_asks(&mut self, target: usize, resource: usize, request: u64) {
        self.judge.disks[target][resource].crowd.begun.insert(request, self.now);
    }

    /// It is told that it is done.
    pub(super) fn judge_sharer_told(&mut self, target: usize, resource: usize, request: u64) {
        self.judge.disks[target][resource].crowd.answered.insert(request, self.now);
    }

    /// A change was executed.
    pub(super) fn judge_executed(&mut self, running: &Running) {
        let (request, first, count) = (running.payload.request, running.first, running.count);
        if let Some((by, crowd)) = self.crowd(running) {
            crowd.executed.push(Executed { request, by, first, count });
        }
    }

    /// A change is about to be executed. What was unanswered when the disk closed is done again in any order;
    /// whatever was answered before that, or asked afterwards, stays above what was executed before it.
    pub(super) fn judge_repeats(&mut self, at: usize, running: &Running) {
        let request = running.payload.request;
        let Some((by, crowd)) = self.crowd(running) else { return };
        let since = crowd.since;
        let same = |one: &Executed| one.request == request && one.first == running.first;
        let Some(place) = crowd.executed.iter().position(same) else { return };
        let above = crowd.executed[place..].iter().find(|later| {
            let apart = later.first + later.count <= running.first
                || running.first + running.count <= later.first;
            let told = crowd.answered.get(&later.request);
            let asked = crowd.begun.get(&later.request);
            let fixed = told.is_some_and(|told| *told < since)
                || (told.is_some() && asked.is_some_and(|asked| *asked >= since));
            later.by != by && !apart && fixed
        });
        if let Some(later) = above.copied() {
            self.found("SAFE-11", || {
                format!(
                    "target-{at} executes {running:?} again, over {later:?}, which was answered"
                )
            });
        }
    }
}
