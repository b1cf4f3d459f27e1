//! What a target keeps on stable storage: resources, roster and the history of restarts, in one embedded database.
//!
//! The database is locked by the daemon that owns it; [`status`] and [`histories`] read it while no daemon runs. Its
//! format is versioned: an unknown one is refused, never guessed at.

mod read;
mod rows;
mod thread;

pub use read::{histories, status};
pub use rows::{ResourceRow, SeatRow};
pub use thread::{Commit, Done, Store};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use rows::{META, RESOURCES, RESTARTS, ROSTER};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lull_admin::RestartRecord;

/// The format that this release reads and writes.
pub const FORMAT: u64 = 1;
/// The database's file in the state directory.
const FILE: &str = "target.redb";
/// How many restarts are remembered; the oldest are forgotten beyond it.
const HISTORY_LIMIT: usize = 1000;

/// Why the state cannot be used; each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or written.
    #[error("cannot use the state directory {dir}: {source}; make it writable, or give another --state", dir = .dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("the state directory {dir} is in use by another target; stop that one, or give another --state", dir = .dir.display())]
    InUse {
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
    /// It was written by another release.
    #[error("the state in {file} has format {found}, this release knows {FORMAT}; run the release that wrote it", file = .file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: u64,
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
    /// The restart that has no outcome yet: this start may be its second half.
    pub unfinished: Option<RestartRecord>,
    /// The number for the next restart.
    pub next_restart: u64,
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
    let database = Database::open(&file).map_err(|error| not_opened(dir, &file, error))?;
    let remembered =
        prepare(&database).and_then(|()| read_all(&database)).map_err(|fault| fault.at(&file))?;
    Ok((database, remembered))
}

fn make_directory(dir: &Path) -> Result<(), StoreError> {
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    if dir.exists() && !dir.is_dir() {
        return Err(unusable(io::ErrorKind::NotADirectory.into()));
    }
    std::fs::create_dir_all(dir).map_err(unusable)
}

/// Makes a new database under its name only when it is whole, so that what has the name is never half of one.
fn create(dir: &Path, file: &Path) -> Result<(), StoreError> {
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    let young = dir.join(format!(".{FILE}.{}", std::process::id()));
    // One of a process of the same number that was killed at it.
    let _ = std::fs::remove_file(&young);
    let database = Database::create(&young).map_err(|error| not_opened(dir, &young, error))?;
    prepare(&database).map_err(|fault| fault.at(&young))?;
    drop(database);
    // Where another target was faster, its database is used, or found in use.
    let named = match std::fs::hard_link(&young, file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unusable(error)),
        _ => Ok(()),
    };
    std::fs::remove_file(&young).map_err(unusable)?;
    named?;
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(unusable)
}

/// What a successor looks at while its predecessor has the database open.
pub(crate) fn check(dir: &Path) -> Result<(), StoreError> {
    let unusable = |source| StoreError::Directory { dir: dir.to_owned(), source };
    make_directory(dir)?;
    let probe = dir.join(".probe");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(unusable)
}

fn not_opened(dir: &Path, file: &Path, error: redb::DatabaseError) -> StoreError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { dir: dir.to_owned() },
        redb::DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Directory { dir: dir.to_owned(), source }
        }
        other => StoreError::Damaged { file: file.to_owned(), what: other.to_string() },
    }
}

/// What is wrong inside the database.
#[derive(Debug)]
pub(crate) enum Fault {
    Damaged(String),
    Format(u64),
}

impl Fault {
    pub(crate) fn at(self, file: &Path) -> StoreError {
        let file = file.to_owned();
        match self {
            Self::Damaged(what) => StoreError::Damaged { file, what },
            Self::Format(found) => StoreError::Format { file, found },
        }
    }
}

impl<E: std::error::Error> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Checks the format, or writes it into a database that is new.
fn prepare(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("format")?.map(|value| value.value());
        match found {
            Some(FORMAT) => {}
            Some(other) => return Err(Fault::Format(other)),
            None => {
                meta.insert("format", FORMAT)?;
            }
        }
        transaction.open_table(RESOURCES)?;
        transaction.open_table(ROSTER)?;
        transaction.open_table(RESTARTS)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read_all(database: &impl ReadableDatabase) -> Result<Remembered, Fault> {
    let transaction = database.begin_read()?;
    let mut remembered = Remembered { next_restart: 1, ..Remembered::default() };
    for row in transaction.open_table(RESOURCES)?.iter()? {
        let (name, row) = row?;
        remembered.resources.insert(name.value().to_owned(), serde_json::from_str(row.value())?);
    }
    for row in transaction.open_table(ROSTER)?.iter()? {
        remembered.seats.push(serde_json::from_str(row?.1.value())?);
    }
    if let Some(last) = transaction.open_table(RESTARTS)?.last()? {
        remembered.next_restart = last.0.value() + 1;
        let record: RestartRecord = serde_json::from_str(last.1.value())?;
        remembered.unfinished = record.outcome.is_none().then_some(record);
    }
    Ok(remembered)
}

type Table = TableDefinition<'static, &'static str, &'static str>;
