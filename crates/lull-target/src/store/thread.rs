//! The thread that commits: what is asked for while one commit runs shares the next one.

use super::rows::{OUTCOMES, RESOURCES, RESTARTS, ROSTER};
use super::{FILE, Fault, HISTORY_LIMIT, OutcomeRow, ResourceRow, SeatRow, format, read};
use crate::clock::Clock;
use lull_admin::RestartRecord;
use lull_proto::MonoTime;
use lull_proto::target::Ticket;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a life that ends waits for its last changes to be stored. Its users are disconnected already.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long where somebody opens the database next: a lock that is left behind would turn them away, and a state directory
/// that is slow is worth waiting for.
const HEIRS_WAIT: Duration = Duration::from_secs(60);

/// A change of the state.
#[derive(Debug)]
pub enum Commit {
    /// A place on the roster, and the tenure of its resource.
    Seat(SeatRow, u64),
    /// A place that is gone, by its attachment.
    Gone(String),
    /// What changes of a sharer came to, by its attachment.
    Outcomes(String, OutcomeRow),
    /// The tenure of a resource.
    Tenure(String, u64),
    /// Whether places may have something to replay in another incarnation, by their attachments.
    Dirty(Vec<String>, bool),
    /// The incarnation of a resource.
    Incarnation(String, String),
    /// Resources as they are from this start on.
    Resources(Vec<(String, ResourceRow)>),
    /// A restart as far as it is.
    Restart(Box<RestartRecord>),
    /// This release serves: the state gets its format.
    Upgrade,
}

/// What became of a ticket.
pub type Done = (Ticket, bool);

enum Job {
    Commit(Option<Ticket>, Vec<Commit>),
    Histories(oneshot::Sender<Vec<RestartRecord>>),
}

/// A handle on the thread. Dropping it waits until everything asked for is committed and the database is closed, or, where
/// the state directory hangs, for [`LAST_WAIT`], and for [`HEIRS_WAIT`] where [`Store::bequeath`] was called: what was asked
/// for then is in nobody's record, and the database stays locked until the thread or the process is gone.
pub struct Store {
    health: Arc<Health>,
    last_wait: Cell<Duration>,
    jobs: Option<mpsc::Sender<Job>>,
    /// Nothing comes from it; it closes with the database.
    closed: mpsc::Receiver<()>,
}

impl Store {
    /// Takes the database of a state directory over; `done` is called on the thread with the outcome of each ticket,
    /// and dropped when the thread ends, be it by a panic.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        database: Database,
        dir: &Path,
        clock: Clock,
        done: impl Fn(Done) + Send + 'static,
    ) -> std::io::Result<Self> {
        let file = dir.join(FILE);
        Self::start_with(database, move || Ok(Database::open(&file)?), clock, done)
    }

    pub(super) fn start_with(
        database: Database,
        reopen: impl Fn() -> Result<Database, Fault> + Send + 'static,
        clock: Clock,
        done: impl Fn(Done) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let health = Arc::new(Health { clock, state: Mutex::default() });
        let theirs = Arc::clone(&health);
        let (open, closed) = mpsc::channel();
        let work = move || {
            let _open: mpsc::Sender<()> = open;
            run(Home { database: Some(database), reopen }, &queue, &theirs, done);
        };
        std::thread::Builder::new().name("lull-state".into()).spawn(work)?;
        Ok(Self { health, last_wait: Cell::new(LAST_WAIT), jobs: Some(jobs), closed })
    }

    /// Why the state cannot be written, and since when; none: the last commit succeeded, and none is under way for long.
    pub fn fault(&self) -> Option<lull_admin::Fault> {
        self.health.fault(self.health.clock.now())
    }

    /// Commits durably, after everything asked for before.
    pub fn commit(&self, ticket: Option<Ticket>, changes: Vec<Commit>) {
        self.send(Job::Commit(ticket, changes));
    }

    /// Every record, read in turn with the commits.
    pub fn histories(&self) -> oneshot::Receiver<Vec<RestartRecord>> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Histories(reply));
        answer
    }

    /// Another life, in this process or in its successor, opens the database when this handle is dropped.
    pub fn bequeath(&self) {
        self.last_wait.set(HEIRS_WAIT);
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only after this handle has let go of the queue, or by a panic: then nobody is told
            // anything any more, and who waits for that learns it from the end of `done`.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let last_wait = self.last_wait.get();
        if let Err(RecvTimeoutError::Timeout) = self.closed.recv_timeout(last_wait) {
            let waited = last_wait.as_secs();
            tracing::error!(
                "the state directory hangs; its last changes are given up after {waited} s"
            );
        }
    }
}

/// The database. After an error of its medium it refuses everything until it is opened again, which also finds out
/// what of the failed commit is there.
struct Home<R> {
    database: Option<Database>,
    reopen: R,
}

impl<R: Fn() -> Result<Database, Fault>> Home<R> {
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.reopen)()?,
        };
        let worked = work(&database)?;
        self.database = Some(database);
        Ok(worked)
    }
}

/// A row that is not looked at more closely, in bytes: it is less.
const ROW: usize = 1024;

/// There only while a medium that has failed is tried.
const PROBE: TableDefinition<&str, &[u8]> = TableDefinition::new("probe");

/// How often a state that could not be written is tried again, where nobody asks for a commit.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What people are told of the medium.
struct Health {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why a commit failed, until one succeeds that is as large as it was.
    fault: Option<lull_admin::Fault>,
    /// Bytes of the largest commit that has failed since then.
    refused: usize,
    /// Since when one is under way.
    busy: Option<MonoTime>,
    /// When it was last tried whether the medium has recovered.
    looked: Option<MonoTime>,
}

/// A commit that takes longer is told of: its medium hangs. Nothing ends it.
const HANGS_AFTER: Duration = Duration::from_secs(5);

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_good(&self) -> bool {
        self.lock().fault.is_none()
    }

    fn fault(&self, now: MonoTime) -> Option<lull_admin::Fault> {
        let state = self.lock();
        let hangs = state.busy.filter(|since| now.since(*since) >= HANGS_AFTER);
        let hangs = hangs.map(|since| {
            let why = "it hangs: a write to it does not end".to_owned();
            lull_admin::Fault { since: self.clock.unix_ms(since), why }
        });
        state.fault.clone().or(hangs)
    }

    /// Commits so many bytes, and notes the outcome. A medium has recovered when it takes as much as it did not take before:
    /// on a full disk a small commit goes through every now and then.
    fn watch(&self, bytes: usize, work: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        self.lock().busy = Some(self.clock.now());
        let outcome = work();
        let mut state = self.lock();
        state.busy = None;
        match &outcome {
            Ok(()) if bytes >= state.refused => (state.fault, state.refused) = (None, 0),
            Ok(()) => {}
            Err(error) => {
                state.refused = state.refused.max(bytes);
                let since = self.clock.unix_ms(self.clock.now());
                let fault = || lull_admin::Fault { since, why: error.to_string() };
                state.fault.get_or_insert_with(fault);
            }
        }
        outcome
    }

    /// Where the medium has failed, whether it takes again what it did not take; nobody waits for the outcome, which is noted.
    /// Not more often than somebody looks where nothing is committed: one that fails has the database opened anew.
    fn look_again(&self, now: MonoTime, work: impl FnOnce(usize) -> Result<(), Fault>) {
        let refused = {
            let mut state = self.lock();
            let is_due = state.looked.is_none_or(|last| now.since(last) >= TRY_AGAIN);
            let refused = state.fault.as_ref().filter(|_| is_due).map(|_| state.refused);
            state.looked = refused.map(|_| now).or(state.looked);
            refused
        };
        if let Some(bytes) = refused {
            let _ = self.watch(bytes, || work(bytes));
        }
    }
}

fn run<R: Fn() -> Result<Database, Fault>>(
    mut home: Home<R>,
    queue: &mpsc::Receiver<Job>,
    health: &Health,
    done: impl Fn(Done),
) {
    loop {
        let wait = if health.is_good() { Duration::MAX } else { TRY_AGAIN };
        let first = match queue.recv_timeout(wait) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                let now = health.clock.now();
                health.look_again(now, |bytes| home.with(|database| probe(database, bytes)));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut tickets = Vec::new();
        let mut changes = Vec::new();
        let mut readers = Vec::new();
        for job in std::iter::once(first).chain(queue.try_iter()) {
            match job {
                Job::Commit(ticket, more) => {
                    tickets.extend(ticket);
                    changes.extend(more);
                }
                Job::Histories(reply) => readers.push(reply),
            }
        }
        let ok = changes.is_empty() || {
            let bytes = size_of(&changes);
            let committed =
                health.watch(bytes, || home.with(|database| commit(database, &changes)));
            if let Err(fault) = &committed {
                tracing::error!(
                    "the state could not be written: {fault}; free space or mend its file system"
                );
            }
            committed.is_ok()
        };
        tickets.into_iter().for_each(|ticket| done((ticket, ok)));
        if ok {
            let now = health.clock.now();
            health.look_again(now, |bytes| home.with(|database| probe(database, bytes)));
        }
        for reply in readers {
            let records = home.with(read::records);
            if let Err(fault) = &records {
                tracing::error!("the state could not be read: {fault}");
            }
            let _ = reply.send(records.unwrap_or_default());
        }
    }
}

fn commit(database: &Database, changes: &[Commit]) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    for change in changes {
        apply(&transaction, change)?;
    }
    transaction.commit()?;
    Ok(())
}

/// About how many bytes they write.
fn size_of(changes: &[Commit]) -> usize {
    let text = |row: serde_json::Result<String>| row.map_or(ROW, |text| ROW + text.len());
    let size = |change: &Commit| match change {
        Commit::Restart(record) => text(serde_json::to_string(record)),
        Commit::Outcomes(_, row) => text(serde_json::to_string(row)),
        Commit::Resources(rows) => ROW * rows.len(),
        Commit::Dirty(attachments, _) => ROW * attachments.len(),
        Commit::Seat(..)
        | Commit::Gone(_)
        | Commit::Tenure(..)
        | Commit::Incarnation(..)
        | Commit::Upgrade => ROW,
    };
    changes.iter().map(size).sum()
}

/// Commits so many bytes that mean nothing, and takes them away again.
pub(super) fn probe(database: &Database, bytes: usize) -> Result<(), Fault> {
    let mut ballast = vec![0; bytes];
    // What a file system cannot make smaller. Without it the probe says less, and no more.
    let _ = getrandom::fill(&mut ballast);
    let transaction = database.begin_write()?;
    transaction.open_table(PROBE)?.insert("ballast", ballast.as_slice())?;
    transaction.commit()?;
    let transaction = database.begin_write()?;
    transaction.delete_table(PROBE)?;
    transaction.commit()?;
    Ok(())
}

fn apply(transaction: &WriteTransaction, change: &Commit) -> Result<(), Fault> {
    match change {
        Commit::Seat(seat, tenure) => {
            let row = serde_json::to_string(seat)?;
            transaction.open_table(ROSTER)?.insert(seat.attachment.as_str(), row.as_str())?;
            set_tenure(transaction, &seat.resource, *tenure)?;
        }
        Commit::Gone(attachment) => {
            transaction.open_table(ROSTER)?.remove(attachment.as_str())?;
            transaction.open_table(OUTCOMES)?.remove(attachment.as_str())?;
        }
        Commit::Outcomes(attachment, row) => {
            let row = serde_json::to_string(row)?;
            transaction.open_table(OUTCOMES)?.insert(attachment.as_str(), row.as_str())?;
        }
        Commit::Tenure(resource, tenure) => set_tenure(transaction, resource, *tenure)?,
        Commit::Dirty(attachments, dirty) => {
            let mut table = transaction.open_table(ROSTER)?;
            for attachment in attachments {
                rewrite(&mut table, attachment, |row| SeatRow { dirty: *dirty, ..row })?;
            }
        }
        Commit::Incarnation(resource, incarnation) => {
            let incarnation = incarnation.clone();
            rewrite(&mut transaction.open_table(RESOURCES)?, resource, |row| ResourceRow {
                incarnation,
                ..row
            })?;
        }
        Commit::Resources(rows) => {
            let mut table = transaction.open_table(RESOURCES)?;
            for (name, row) in rows {
                table.insert(name.as_str(), serde_json::to_string(row)?.as_str())?;
            }
        }
        Commit::Upgrade => format::upgrade(transaction)?,
        Commit::Restart(record) => {
            let mut table = transaction.open_table(RESTARTS)?;
            table.insert(record.id, serde_json::to_string(record)?.as_str())?;
            if let Some(oldest) = record.id.checked_sub(HISTORY_LIMIT as u64) {
                table.retain(|id, _| id > oldest)?;
            }
        }
    }
    Ok(())
}

fn set_tenure(transaction: &WriteTransaction, resource: &str, tenure: u64) -> Result<(), Fault> {
    let mut table = transaction.open_table(RESOURCES)?;
    rewrite(&mut table, resource, |row| ResourceRow { tenure, ..row })
}

/// Writes a row, where there is one, as it is to be.
fn rewrite<Row: Serialize + DeserializeOwned>(
    table: &mut redb::Table<'_, &str, &str>,
    key: &str,
    to: impl FnOnce(Row) -> Row,
) -> Result<(), Fault> {
    let row = table.get(key)?.map(|row| serde_json::from_str::<Row>(row.value()));
    if let Some(row) = row {
        table.insert(key, serde_json::to_string(&to(row?))?.as_str())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [PAUSE-10] [TIMER-5] A state directory that hangs is told of, as one that fails is, until it goes on.
    #[test]
    fn a_commit_that_does_not_end_is_a_fault() {
        let health = Health { clock: Clock::start(), state: Mutex::default() };
        let after = |seconds| health.clock.now() + Duration::from_secs(seconds);
        let done = health.watch(1, || {
            assert!(health.fault(after(0)).is_none(), "one that is under way is none");
            let fault = health.fault(after(6)).expect("it takes too long");
            assert!(fault.why.contains("hangs"), "{fault:?}");
            Ok(())
        });
        assert!(done.is_ok() && health.fault(after(6)).is_none());
    }

    /// [PAUSE-10] [TIMER-5] A state directory that hangs for ever keeps no target from ending.
    #[test]
    fn a_thread_that_hangs_is_waited_for_no_longer_than_that() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = super::super::open(dir.path()).unwrap();
        let (release, hangs) = mpsc::channel::<()>();
        let done = move |_| {
            let _ = hangs.recv();
        };
        let clock = Clock::start();
        let store = Store::start(database, dir.path(), clock, done).unwrap();
        store.commit(Some(Ticket(1)), Vec::new());
        let began = clock.now();
        drop(store);
        assert!(clock.now().since(began) >= LAST_WAIT);
        drop(release);
    }

    /// [PAUSE-9] Whoever opens the database next is not turned away by the lock of one whose last commit was slow.
    #[test]
    fn one_that_is_bequeathed_is_waited_for_longer_and_is_not_locked_then() {
        let dir = tempfile::tempdir().unwrap();
        let (database, _) = super::super::open(dir.path()).unwrap();
        let done = |_| std::thread::sleep(LAST_WAIT + Duration::from_secs(1));
        let store = Store::start(database, dir.path(), Clock::start(), done).unwrap();
        store.commit(Some(Ticket(1)), Vec::new());
        store.bequeath();
        drop(store);
        assert!(Database::open(dir.path().join(FILE)).is_ok());
    }

    /// [PAUSE-10] [TIMER-5] It is not over, and begins anew, with each small commit that a full disk has room for.
    #[test]
    fn a_medium_that_takes_less_than_it_refused_has_not_recovered() {
        let health = Health { clock: Clock::start(), state: Mutex::default() };
        let full = || Err(Fault::Io("no space".to_owned()));
        let since = |health: &Health| health.fault(health.clock.now()).map(|fault| fault.since);
        assert!(health.watch(2 * ROW, full).is_err());
        let begun = since(&health);
        assert!(begun.is_some());
        assert!(health.watch(ROW, || Ok(())).is_ok() && since(&health) == begun);
        let (now, later) = (health.clock.now(), health.clock.now() + TRY_AGAIN);
        health.look_again(now, |bytes| if bytes > ROW { full() } else { Ok(()) });
        assert_eq!(since(&health), begun);
        health.look_again(now, |_| unreachable!("it was tried in this moment"));
        health.look_again(later, |bytes| {
            assert_eq!(bytes, 2 * ROW, "as much as it refused");
            Ok(())
        });
        assert_eq!(since(&health), None);
        health.look_again(later + TRY_AGAIN, |_| unreachable!("nothing is wrong with it"));
    }
}
