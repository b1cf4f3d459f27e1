//! The target's stable storage: group commit after a delay, and what a crash leaves of it.

use lull_proto::target::{Change, Entry, Ticket};
use lull_wire::{AttachmentId, Tenure};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is committed, and how storage behaves.
#[derive(Clone, Debug)]
pub struct Store {
    pub roster: BTreeMap<AttachmentId, Entry>,
    pub tenures: Vec<Tenure>,
    /// Every change that was committed, in order.
    pub log: Vec<Change>,
    /// Asked for and not committed: gone with a crash.
    pub pending: BTreeMap<Ticket, Change>,
    /// Who had completed and retained nothing when the clean record was asked for.
    pub clean: Vec<AttachmentId>,
    /// From asking to committing.
    pub delay: Duration,
    /// Changes that storage refuses.
    pub fails: fn(&Change) -> bool,
    /// Whether what it refuses is there all the same: storage failed at the last step of it.
    pub fails_late: bool,
    /// Whether backends can be flushed.
    pub durable: bool,
    /// How long that takes.
    pub flush: Duration,
}

impl Store {
    pub fn new(resources: usize) -> Self {
        Self {
            roster: BTreeMap::new(),
            tenures: vec![Tenure(0); resources],
            log: Vec::new(),
            pending: BTreeMap::new(),
            clean: Vec::new(),
            delay: Duration::from_micros(300),
            fails: |_| false,
            fails_late: false,
            durable: true,
            flush: Duration::from_millis(1),
        }
    }

    /// Commits what was asked for under this ticket; whether it could.
    pub fn commit(&mut self, ticket: Ticket) -> Option<(Change, bool)> {
        let change = self.pending.remove(&ticket)?;
        let fails = (self.fails)(&change);
        if fails && !self.fails_late {
            return Some((change, false));
        }
        match &change {
            Change::Owner(entry, tenure) => {
                self.roster.insert(entry.attachment, entry.clone());
                self.tenures[entry.resource.0] = *tenure;
            }
            Change::Gone(attachment) => {
                self.roster.remove(attachment);
            }
            Change::Missed(whom, resource, tenure) => {
                whom.iter().for_each(|attachment| {
                    self.roster.remove(attachment);
                });
                self.tenures[resource.0] = *tenure;
            }
            Change::Clean(_) => {
                for seat in &self.clean {
                    self.roster.get_mut(seat).expect("a place").dirty = false;
                }
            }
            Change::Revoked(_) | Change::Incarnation(..) => {
                let writers = self.roster.values_mut();
                writers.for_each(|entry| entry.dirty = entry.access.writes());
            }
            Change::Intent(_) => {}
        }
        self.log.push(change.clone());
        Some((change, !fails))
    }
}
