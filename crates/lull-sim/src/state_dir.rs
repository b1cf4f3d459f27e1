//! A target's state directory: changes are committed together, in their order, and are durable when they are told.
//!
//! Models `lull-target`'s store: one thread that commits what was asked for while it committed last.

use lull_proto::ledger::Outcomes;
use lull_proto::renaming::Renaming;
use lull_proto::target::{Change, Entry, Ticket};
use lull_wire::{AttachmentId, RestartId, Tenure};
use std::collections::{BTreeMap, VecDeque};

/// What is asked to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A change that the machine waits for.
    Change(Ticket, Change),
    /// Outcomes of a sharer, which changes of others wait for.
    Outcomes(AttachmentId, Outcomes),
}

/// What a restart left on stable storage, and which life of the target wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Noted {
    /// The life.
    pub life: u64,
    /// The restart.
    pub restart: RestartId,
}

/// What becomes of commits for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Medium {
    /// They succeed.
    #[default]
    Takes,
    /// They fail, and nothing of them is there.
    Refuses,
    /// They fail at their last step, and are there all the same.
    FailsLate,
}

/// A state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateDir {
    /// Everybody who has a place.
    pub roster: BTreeMap<AttachmentId, Entry>,
    /// Of each resource.
    pub tenures: Vec<Tenure>,
    /// The last restart that was intended.
    pub intent: Option<Noted>,
    /// The last restart before which everything was durable, if it was not given up.
    pub clean: Option<Noted>,
    /// The restart that is not over.
    pub unfinished: Option<RestartId>,
    /// What it lies on.
    pub medium: Medium,
    /// What changes of sharers came to, as far as it had to be stored [SAFE-11].
    pub outcomes: BTreeMap<AttachmentId, Outcomes>,
    pending: VecDeque<Asked>,
    /// How many of them are being committed.
    committing: usize,
}

impl StateDir {
    /// An empty one for a target with so many resources.
    pub fn new(resources: usize) -> Self {
        Self { tenures: vec![Tenure(0); resources], ..Self::default() }
    }

    /// Notes what is to be committed; whether a commit has to be begun for it.
    pub fn ask(&mut self, asked: Asked) -> bool {
        self.pending.push_back(asked);
        self.begin()
    }

    /// Begins a commit of all that waits, if none runs; whether one was begun.
    pub fn begin(&mut self) -> bool {
        if self.committing > 0 || self.pending.is_empty() {
            return false;
        }
        self.committing = self.pending.len();
        true
    }

    /// What it lies on becomes so, or if it is, takes commits again.
    pub fn turn(&mut self, into: Medium) {
        self.medium = if self.medium == into { Medium::Takes } else { into };
    }

    /// Whether a commit runs.
    pub fn is_busy(&self) -> bool {
        self.committing > 0
    }

    /// Changes that are not committed yet, in their order.
    pub fn pending(&self) -> impl Iterator<Item = (Ticket, &Change)> {
        self.pending.iter().filter_map(|asked| match asked {
            Asked::Change(ticket, change) => Some((*ticket, change)),
            Asked::Outcomes(..) => None,
        })
    }

    /// Tickets and epochs under other names.
    pub fn rename(&mut self, names: &mut impl Renaming) {
        for entry in self.roster.values_mut() {
            entry.epoch = names.epoch(entry.attachment, entry.epoch);
        }
        for asked in &mut self.pending {
            let Asked::Change(ticket, change) = asked else { continue };
            *ticket = names.ticket(*ticket);
            if let Change::Owner(entry, _) = change {
                entry.epoch = names.epoch(entry.attachment, entry.epoch);
            }
        }
    }

    /// The commit that runs ends; what became of each.
    pub fn commit(&mut self, life: u64) -> Vec<(Asked, bool)> {
        let count = std::mem::take(&mut self.committing).min(self.pending.len());
        let ok = self.medium == Medium::Takes;
        let is_there = self.medium != Medium::Refuses;
        let all: Vec<_> = self.pending.drain(..count).collect();
        for asked in all.iter().filter(|_| is_there) {
            match asked {
                Asked::Change(_, change) => self.apply(change, life),
                Asked::Outcomes(attachment, outcomes) => {
                    self.outcomes.insert(*attachment, outcomes.clone());
                }
            }
        }
        all.into_iter().map(|asked| (asked, ok)).collect()
    }

    /// The process ends well: what was asked for is committed first.
    pub fn close(&mut self, life: u64) {
        self.committing = self.pending.len();
        self.commit(life);
    }

    /// The process dies; `lucky`: a commit that ran has just come through, and nobody was told.
    pub fn crash(&mut self, life: u64, lucky: bool) {
        if lucky && self.committing > 0 {
            self.commit(life);
        }
        self.pending.clear();
        self.committing = 0;
    }

    fn apply(&mut self, change: &Change, life: u64) {
        match change {
            Change::Owner(entry, tenure) => {
                let before = self.roster.insert(entry.attachment, entry.clone());
                if before.is_some_and(|before| before.instance != entry.instance) {
                    self.outcomes.remove(&entry.attachment);
                }
                self.tenures[entry.resource.0] = *tenure;
            }
            Change::Gone(attachment) => {
                self.roster.remove(attachment);
                self.outcomes.remove(attachment);
            }
            Change::Missed(whom, resource, tenure) => {
                for attachment in whom {
                    self.roster.remove(attachment);
                    self.outcomes.remove(attachment);
                }
                self.tenures[resource.0] = *tenure;
            }
            Change::Intent(restart) => {
                self.intent = Some(Noted { life, restart: *restart });
                self.unfinished = Some(*restart);
            }
            // What is not known to be clean is dirty, which costs readers a wait and nobody anything else.
            Change::Incarnation(resource, _) => {
                let there = self.roster.values_mut().filter(|entry| entry.resource == *resource);
                there.for_each(|entry| entry.dirty = entry.access.writes());
            }
            Change::Clean(restart) => self.clean = Some(Noted { life, restart: *restart }),
            Change::Revoked(_) => self.clean = None,
        }
    }
}
