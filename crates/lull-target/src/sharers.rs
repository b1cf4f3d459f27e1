//! Changes of those who share a resource: one ledger for all of its lanes, whichever threads they are on [SAFE-11].
//!
//! A lane of somebody who writes alone never comes here, and neither do reads and flushes of those who share.

use crate::daemon::{Input, Shared};
use crate::local::Local;
use crate::store::{Commit, OutcomeRow, Store};
use lull_proto::MonoTime;
use lull_proto::ledger::{Ledger, Outcomes, Verdict};
use lull_proto::target::{Change, Entry, ResourceIndex, Share, Ticket};
use lull_wire::{Access, AttachmentId, RequestNumber, StatusCode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Tells a lane which of its changes need not wait any longer.
#[derive(Debug, Default)]
pub struct Bell {
    calls: Mutex<Calls>,
    rung: Notify,
}

/// What became of changes that waited.
#[derive(Debug, Default)]
pub struct Calls {
    /// They are to be executed, in this order.
    pub ready: Vec<RequestNumber>,
    /// They are to be answered NOT EXECUTED.
    pub back: Vec<RequestNumber>,
}

impl Bell {
    /// Waits until there are some; they are taken with [`Bell::take`].
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Those that came since the last time.
    pub fn take(&self) -> Calls {
        std::mem::take(&mut *lock(&self.calls))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one can panic in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be stored, by whose it is.
pub type ToStore = Vec<(AttachmentId, Outcomes)>;

/// The ledger of one resource, and how its lanes are reached.
#[derive(Debug, Default)]
pub struct Sharers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ledger: Ledger,
    bells: BTreeMap<AttachmentId, Arc<Bell>>,
}

impl Inner {
    /// Rings for those that may go on.
    fn ring(&mut self) -> ToStore {
        for (attachment, number) in self.ledger.take_ready() {
            if let Some(bell) = self.bells.get(&attachment) {
                lock(&bell.calls).ready.push(number);
                bell.rung.notify_one();
            }
        }
        for (attachment, number) in self.ledger.take_back() {
            if let Some(bell) = self.bells.get(&attachment) {
                lock(&bell.calls).back.push(number);
                bell.rung.notify_one();
            }
        }
        self.ledger.to_store()
    }
}

impl Sharers {
    /// Does something with the ledger; what has to be stored because of it.
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> (T, ToStore) {
        let mut inner = lock(&self.inner);
        let done = work(&mut inner);
        (done, inner.ring())
    }

    /// What was on stable storage when this life of the process began.
    pub fn load(&self, attachment: AttachmentId, outcomes: &Outcomes) {
        lock(&self.inner).ledger.load(attachment, outcomes);
    }

    /// Outcomes are on stable storage, or could not be written.
    pub fn stored(&self, attachment: AttachmentId, outcomes: &Outcomes, ok: bool) -> ToStore {
        self.with(|inner| inner.ledger.stored(attachment, outcomes, ok)).1
    }

    /// Looks once more what has to be stored, after that failed.
    pub fn store_again(&self) -> ToStore {
        self.with(|inner| inner.ledger.store_again()).1
    }

    /// Changes that wait for others.
    pub fn waiting(&self) -> usize {
        lock(&self.inner).ledger.waiting()
    }

    /// Who is away, and has changes to send again over which nobody else may write before that.
    pub fn away(&self) -> Vec<AttachmentId> {
        let inner = lock(&self.inner);
        inner.ledger.doubted().filter(|sharer| !inner.bells.contains_key(sharer)).collect()
    }

    /// Who lost its place for good sends nothing again.
    pub fn leave(&self, attachment: AttachmentId) -> ToStore {
        self.with(|inner| inner.ledger.leave(attachment)).1
    }
}

/// One lane's way to the ledger.
pub struct Sharing {
    share: Share,
    bell: Arc<Bell>,
}

impl Sharing {
    /// A lane opens.
    pub fn open(local: &Local, resource: ResourceIndex, share: Share) -> Self {
        let bell = Arc::<Bell>::default();
        let one = Self { share, bell: Arc::clone(&bell) };
        one.with(local, resource, |inner| {
            inner.bells.insert(share.attachment, bell);
            inner.ledger.open(share.attachment, share.instance, share.lowest);
        });
        one
    }

    fn with<T>(
        &self,
        local: &Local,
        resource: ResourceIndex,
        work: impl FnOnce(&mut Inner) -> T,
    ) -> T {
        let (done, to_store) = local.shared[resource.0].sharers.with(work);
        if !to_store.is_empty() {
            local.tell(Input::Store { resource, outcomes: to_store });
        }
        done
    }

    /// Rings when changes that waited may run.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The lowest number that is unanswered when the lane opens.
    pub fn lowest(&self) -> u64 {
        self.share.lowest.0
    }

    /// Its initiator knows what became of whatever is below.
    pub fn confirm(&self, local: &Local, resource: ResourceIndex, lowest: RequestNumber) {
        self.with(local, resource, |inner| inner.ledger.confirm(self.share.attachment, lowest));
    }

    /// What is to be done with a change.
    pub fn admit(
        &self,
        local: &Local,
        resource: ResourceIndex,
        number: RequestNumber,
        (offset, length): (u64, u32),
    ) -> Verdict {
        let which = (self.share.attachment, number);
        self.with(local, resource, |inner| inner.ledger.admit(which, offset, length))
    }

    /// A change was executed, or given back; `None`: its life is over.
    pub fn done(
        &self,
        local: &Local,
        resource: ResourceIndex,
        number: RequestNumber,
        offset: u64,
        status: Option<StatusCode>,
    ) {
        let which = (self.share.attachment, number);
        self.with(local, resource, |inner| match status {
            Some(status) => inner.ledger.done(which, offset, status),
            None => inner.ledger.abandon(which, offset),
        });
    }

    /// The lane closes: what waited is never executed.
    pub fn close(
        &self,
        local: &Local,
        resource: ResourceIndex,
        waited: impl Iterator<Item = (RequestNumber, u64)>,
    ) {
        self.with(local, resource, |inner| {
            for (number, offset) in waited {
                inner.ledger.abandon((self.share.attachment, number), offset);
            }
            let attachment = self.share.attachment;
            if inner.bells.get(&attachment).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
                inner.bells.remove(&attachment);
            }
        });
    }
}

/// What of sharers is being stored, by the ticket of its commit.
#[derive(Default)]
pub struct Keeping {
    storing: BTreeMap<Ticket, (ResourceIndex, AttachmentId, Outcomes)>,
    leaving: BTreeMap<Ticket, Vec<AttachmentId>>,
    /// Since when a resource has outcomes that are to be stored and are not.
    since: BTreeMap<ResourceIndex, MonoTime>,
    /// Tickets of outcomes are counted down from the last one: the machine counts its own upwards.
    tickets: u64,
}

impl Keeping {
    /// [TIMER-5] Since when changes may have to wait for outcomes of a resource to be stored.
    pub fn since(&self, resource: ResourceIndex) -> Option<MonoTime> {
        self.since.get(&resource).copied()
    }

    /// Asks for outcomes to be stored.
    pub fn store(
        &mut self,
        now: MonoTime,
        store: &Store,
        resource: ResourceIndex,
        outcomes: ToStore,
    ) {
        for (attachment, outcomes) in outcomes {
            self.since.entry(resource).or_insert(now);
            self.tickets += 1;
            let ticket = Ticket(u64::MAX - self.tickets);
            let row = OutcomeRow::of(&outcomes);
            store.commit(Some(ticket), vec![Commit::Outcomes(attachment.to_string(), row)]);
            self.storing.insert(ticket, (resource, attachment, outcomes));
        }
    }

    fn is_storing(&self, resource: ResourceIndex) -> bool {
        self.storing.values().any(|(of, ..)| *of == resource)
    }

    /// A change of the roster is being written.
    pub fn leaves(&mut self, ticket: Ticket, change: &Change) {
        let whom = match change {
            Change::Gone(attachment) => vec![*attachment],
            Change::Missed(whom, ..) => whom.clone(),
            Change::Owner(..)
            | Change::Incarnation(..)
            | Change::Intent(_)
            | Change::Clean(_)
            | Change::Revoked(_) => return,
        };
        self.leaving.insert(ticket, whom);
    }

    /// A commit has ended; whether it was one of outcomes. Who lost its place is forgotten only when that is written:
    /// after a crash it might have it again.
    pub fn committed(
        &mut self,
        now: MonoTime,
        shared: &[Shared],
        store: &Store,
        ticket: Ticket,
        ok: bool,
    ) -> bool {
        for attachment in self.leaving.remove(&ticket).filter(|_| ok).into_iter().flatten() {
            for (place, one) in shared.iter().enumerate() {
                self.store(now, store, ResourceIndex(place), one.sharers.leave(attachment));
            }
        }
        let Some((resource, attachment, outcomes)) = self.storing.remove(&ticket) else {
            return false;
        };
        // What failed is tried again, and waited for since it was asked for first.
        if ok && !self.is_storing(resource) {
            self.since.remove(&resource);
        }
        let more = shared[resource.0].sharers.stored(attachment, &outcomes, ok);
        self.store(now, store, resource, more);
        true
    }

    /// Outcomes that could not be written are to be.
    pub fn again(&mut self, now: MonoTime, shared: &[Shared], store: &Store) {
        for (place, one) in shared.iter().enumerate() {
            let resource = ResourceIndex(place);
            self.store(now, store, resource, one.sharers.store_again());
            if !self.is_storing(resource) {
                self.since.remove(&resource);
            }
        }
    }
}

/// Reads what was on stable storage when this life of the process began.
pub fn load(shared: &[Shared], roster: &[Entry], rows: &BTreeMap<String, OutcomeRow>) {
    for entry in roster.iter().filter(|entry| entry.access == Access::Shared) {
        let row = rows.get(&entry.attachment.to_string());
        if let Some(outcomes) = row.and_then(OutcomeRow::outcomes) {
            shared[entry.resource.0].sharers.load(entry.attachment, &outcomes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store;
    use lull_block::{Context, Workers};
    use lull_wire::InstanceId;
    use std::sync::mpsc;

    const DISK: ResourceIndex = ResourceIndex(0);

    fn outcomes(number: u64) -> ToStore {
        let all = vec![(RequestNumber(number), StatusCode::Done)];
        vec![(AttachmentId([7; 16]), Outcomes { instance: InstanceId([1; 16]), all })]
    }

    /// [TIMER-5] A wait for the state to be written lasts from the first time that it was asked for until all is there.
    #[test]
    fn what_is_to_be_stored_is_known_since_when() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = store::open(dir.path()).unwrap();
        let (told, heard) = mpsc::channel();
        let done = move |done| told.send(done).unwrap();
        let store = Store::start(database, dir.path(), Clock::start(), done).unwrap();
        let context =
            Context { workers: Workers::new(1).unwrap(), lock_wait: <_>::default(), remotes: None };
        let backend = lull_block::open(&"mem:1M".parse().unwrap(), &context).unwrap();
        let (life, toll, sharers) = Default::default();
        let shared =
            [Shared { name: "db1".to_owned(), backend, is_device: false, life, toll, sharers }];
        let mut keeping = Keeping::default();
        let end = |keeping: &mut Keeping, at, ok| {
            let (ticket, _) = heard.recv().unwrap();
            assert!(keeping.committed(MonoTime(at), &shared, &store, ticket, ok));
        };
        assert_eq!(keeping.since(DISK), None);
        keeping.store(MonoTime(1), &store, DISK, outcomes(1));
        keeping.store(MonoTime(2), &store, DISK, outcomes(2));
        end(&mut keeping, 3, true);
        assert_eq!(keeping.since(DISK), Some(MonoTime(1)), "the other one is not there");
        end(&mut keeping, 4, false);
        assert_eq!(keeping.since(DISK), Some(MonoTime(1)), "it is tried again");
        keeping.store(MonoTime(5), &store, DISK, outcomes(2));
        end(&mut keeping, 6, true);
        assert_eq!(keeping.since(DISK), None);
    }
}
