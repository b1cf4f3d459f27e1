//! What a target keeps on stable storage: resources, roster and the history of restarts, in one embedded database.
//!
//! The database is locked by the daemon that owns it; [`status`] and [`histories`] read it while no daemon runs. Its
//! format is versioned: an unknown one is refused, never guessed at.

mod fault;
mod format;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod thread;
mod used;

pub(crate) use fault::Fault;
pub use format::Format;
use format::{FORMAT, RELEASE};
pub use read::{has_state, histories, status};
pub use rows::{OutcomeRow, ResourceRow, SeatRow};
pub use thread::{Commit, Done, Store};
pub use used::Used;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use rows::{OUTCOMES, RESOURCES, RESTARTS, ROSTER};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lull_admin::RestartRecord;

/// The database's file in the state directory.
const FILE: &str = "target.redb";
/// How many restarts are remembered; the oldest are forgotten beyond it.
const HISTORY_LIMIT: usize = 1000;
/// The most restarts, the newest first, in which the last one of the host is looked for.
const HOST_RESTARTS: usize = 16;
/// How often, and after which rest, a locked database is tried again: 2 s in all.
const LOCK_TRIES: usize = 40;
const LOCK_REST: Duration = Duration::from_millis(50);

/// Why the state cannot be used; each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or written.
    #[error("cannot use the state directory {dir}: {source}; {next}", dir = .dir.display(), next = next_step(.dir, .source))]
    Directory {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there, and the medium under it does not take or give it.
    #[error("the state in {file} cannot be read or written: {what}; free space or mend its file system", file = .file.display())]
    Unwritable {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        what: String,
    },
    /// Another daemon has it.
    #[error("the state directory {dir} is in use by another target; stop that one, or give another --state", dir = .dir.display())]
    InUse {
        /// Which.
        dir: PathBuf,
    },
    /// A daemon has it that was not to be disturbed by a look.
    #[error("a target runs on the state directory {dir}: ask it, by --admin where it is not at its default place", dir = .dir.display())]
    Runs {
        /// Which.
        dir: PathBuf,
    },
    /// It is not what this release wrote.
    #[error("the state in {file} is damaged ({what}); restore it from a backup, or move it away to start afresh: attached initiators are then refused until they attach anew", file = .file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A later release wrote it.
    #[error("the state in {file} has {found}; {} reads formats up to {}: run the release that wrote it, or a later one, or put back a copy of the state from before", RELEASE, FORMAT, file = .file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: Format,
    },
    /// There is none.
    #[error("there is no target's state in {dir}; give the directory of one with --state", dir = .dir.display())]
    Missing {
        /// Which.
        dir: PathBuf,
    },
}

/// Everything that a starting target remembers.
#[derive(Debug, Default)]
pub struct Remembered {
    /// By name.
    pub resources: BTreeMap<String, ResourceRow>,
    /// The roster.
    pub seats: Vec<SeatRow>,
    /// What changes of sharers came to, by their attachments.
    pub outcomes: BTreeMap<String, OutcomeRow>,
    /// The restart that has no outcome yet: this start may be its second half.
    pub unfinished: Option<RestartRecord>,
    /// How long the host was away when it restarted last, as far as that is remembered.
    pub host_downtime: Option<Duration>,
    /// The number for the next restart.
    pub next_restart: u64,
    /// Whether the state is to be brought up to the format of this release once it serves.
    pub is_behind: bool,
}

/// Opens the state for writing, makes it where there is none, and reads all of it.
pub(crate) fn open(dir: &Path) -> Result<(Database, Remembered), StoreError> {
    make_directory(dir)?;
    let file = dir.join(FILE);
    if !file.exists() {
        create(dir, &file)?;
    }
    // The database's own opening takes an empty file for a new one: a truncated state would be forgotten in silence.
    if std::fs::metadata(&file).is_ok_and(|found| found.len() == 0) {
        return Err(StoreError::Damaged { file, what: "it is empty".to_owned() });
    }
    let database = open_waiting(dir, &file, || std::thread::sleep(LOCK_REST))?;
    // Nothing is written here: a target starts on a full disk too, as far as it can.
    let remembered = read_all(&database).map_err(|fault| fault.at(&file))?;
    Ok((database, remembered))
}

/// Opens the database; one that dies, or reads the state for people, may hold its lock for a moment.
fn open_waiting(dir: &Path, file: &Path, mut rest: impl FnMut()) -> Result<Database, StoreError> {
    for _ in 0..LOCK_TRIES {
        match Database::open(file) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => rest(),
            opened => return opened.map_err(|error| not_opened(dir, file, error)),
        }
    }
    Database::open(file).map_err(|error| not_opened(dir, file, error))
}

/// Another directory is advised only where a target would not leave what it knows behind, and nothing else where none can
/// be made.
fn next_step(dir: &Path, source: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let may_pass = matches!(
        source.kind(),
        PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded
    );
    match (may_pass, dir.join(FILE).exists()) {
        (true, true) => "make it writable or free space there",
        (true, false) => "make it writable or free space there, or give another --state",
        (false, true) => "mend its file system",
        (false, false) => "give another --state",
    }
}

fn make_directory(dir: &Path) -> Result<(), StoreError> {
    look(dir)?;
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(unusable)
}

/// What a start would say of a state directory, as far as that is seen without making it.
pub(crate) fn look(dir: &Path) -> Result<(), StoreError> {
    match dir.ancestors().find(|at| at.exists()) {
        Some(there) if !there.is_dir() => {
            let source = io::ErrorKind::NotADirectory.into();
            Err(StoreError::Directory { dir: dir.to_owned(), source })
        }
        Some(_) | None => Ok(()),
    }
}

/// Makes a new database under its name only when it is whole, so that what has the name is never half of one.
fn create(dir: &Path, file: &Path) -> Result<(), StoreError> {
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    let young = dir.join(format!(".{FILE}.{}", std::process::id()));
    // One of a process of the same number that was killed at it.
    let _ = std::fs::remove_file(&young);
    let made = Database::create(&young).map_err(Fault::from).and_then(|database| found(&database));
    if let Err(fault) = made {
        let _ = std::fs::remove_file(&young);
        return Err(unusable(io::Error::other(fault.to_string())));
    }
    // Where another target was faster, its database is used, or found in use.
    let named = match std::fs::hard_link(&young, file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unusable(error)),
        _ => Ok(()),
    };
    std::fs::remove_file(&young).map_err(unusable)?;
    named?;
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(unusable)
}

/// What a successor looks at while its predecessor has the database open, and says in which format it is.
pub(crate) fn check(dir: &Path, format: Option<Format>) -> Result<(), StoreError> {
    if let Some(found) = format.filter(|format| !format.is_known()) {
        return Err(StoreError::Format { file: dir.join(FILE), found });
    }
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    make_directory(dir)?;
    let probe = dir.join(".probe");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(unusable)
}

fn not_opened(dir: &Path, file: &Path, error: redb::DatabaseError) -> StoreError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { dir: dir.to_owned() },
        redb::DatabaseError::Storage(redb::StorageError::Io(source))
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            StoreError::Directory { dir: dir.to_owned(), source }
        }
        other => Fault::from(other).at(file),
    }
}

/// Makes the tables of a database that is new, in one transaction.
fn found(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    format::upgrade(&transaction)?;
    transaction.open_table(RESOURCES)?;
    transaction.open_table(ROSTER)?;
    transaction.open_table(RESTARTS)?;
    transaction.commit()?;
    Ok(())
}

fn read_all(database: &impl ReadableDatabase) -> Result<Remembered, Fault> {
    let transaction = database.begin_read()?;
    let is_behind = format::known(&transaction)?.is_behind();
    let mut remembered = Remembered { next_restart: 1, is_behind, ..Remembered::default() };
    for row in transaction.open_table(RESOURCES)?.iter()? {
        let (name, row) = row?;
        let (name, row) = (name.value(), serde_json::from_str::<ResourceRow>(row.value())?);
        if !row.makes_sense() {
            return Err(Fault::Damaged(format!("what it says of the resource {name}")));
        }
        remembered.resources.insert(name.to_owned(), row);
    }
    for row in transaction.open_table(ROSTER)?.iter()? {
        let (attachment, row) = row?;
        let seat: SeatRow = serde_json::from_str(row.value())?;
        // [SAFE-7] Who is on the roster and cannot be read is not forgotten: somebody else would be let in.
        if !seat.makes_sense() || seat.attachment != attachment.value() {
            return Err(Fault::Damaged(format!(
                "what it says of the attachment {}",
                attachment.value()
            )));
        }
        remembered.seats.push(seat);
    }
    // Where nobody ever shared there is no such table.
    match transaction.open_table(OUTCOMES) {
        Ok(table) => {
            for row in table.iter()? {
                let (attachment, row) = row?;
                let row: OutcomeRow = serde_json::from_str(row.value())?;
                remembered.outcomes.insert(attachment.value().to_owned(), row);
            }
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let restarts = transaction.open_table(RESTARTS)?;
    let mut newest = Vec::new();
    for row in restarts.iter()?.rev().take(HOST_RESTARTS) {
        let (id, row) = row?;
        remembered.next_restart = remembered.next_restart.max(id.value() + 1);
        newest.push(serde_json::from_str::<RestartRecord>(row.value())?);
    }
    remembered.host_downtime = crate::chronicle::host_downtime(newest.iter());
    remembered.unfinished = newest.into_iter().next().filter(|last| last.outcome.is_none());
    Ok(remembered)
}

type Table = TableDefinition<'static, &'static str, &'static str>;
