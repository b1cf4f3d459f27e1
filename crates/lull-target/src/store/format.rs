//! In which format the state is, and who may read it.
//!
//! A release knows all formats up to [`FORMAT`]. A state says its own, and the lowest format that a reader must know
//! ("needs"), which is lower where what was added does no harm to who does not know it. The table that says so, and the
//! name of the writer beside it, never change.
//!
//! A newer release leaves the format as it found it until it serves, and writes what the format has until then: if it
//! does not come to serve, the release before it can be put back.

use super::Fault;
use super::rows::{META, NOTES};
use redb::{ReadTransaction, TableError, WriteTransaction};
use std::fmt;

/// The newest format that this release knows, and the one that it leaves behind.
pub const FORMAT: u64 = 1;
/// The lowest format that a reader of [`FORMAT`] must know.
const NEEDS: u64 = 1;
/// This release, for people.
pub const RELEASE: &str = concat!("lull ", env!("CARGO_PKG_VERSION"));

const FORMAT_KEY: &str = "format";
const NEEDS_KEY: &str = "needs";
const WRITER_KEY: &str = "writer";

/// What a state says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Its format.
    pub number: u64,
    /// What its reader must know.
    pub needs: u64,
    /// The release that gave it this format; empty where it did not say.
    pub writer: String,
}

impl Format {
    /// What this release leaves behind.
    pub fn ours() -> Self {
        Self { number: FORMAT, needs: NEEDS, writer: RELEASE.to_owned() }
    }

    /// Whether this release reads it.
    pub fn is_known(&self) -> bool {
        self.needs <= FORMAT
    }

    /// Whether it is to be brought up once this release serves.
    pub fn is_behind(&self) -> bool {
        self.number < FORMAT || (self.number == FORMAT && self.writer.is_empty())
    }

    /// As a successor is told of it.
    pub fn to_words(&self) -> String {
        format!("{} {} {}", self.number, self.needs, self.writer)
    }

    /// As a predecessor told it; `None` where it is not so.
    pub fn of_words(words: &str) -> Option<Self> {
        let mut words = words.splitn(3, ' ');
        let number = words.next()?.parse().ok()?;
        let needs = words.next()?.parse().ok()?;
        Some(Self { number, needs, writer: words.next()?.to_owned() })
    }
}

/// For people, as the end of "it has …".
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "format {}", self.number)?;
        if !self.writer.is_empty() {
            write!(f, ", written by {}", self.writer.escape_debug())?;
        }
        Ok(())
    }
}

/// The format of a state that this release reads.
pub(super) fn known(transaction: &ReadTransaction) -> Result<Format, Fault> {
    let meta = transaction.open_table(META)?;
    let number =
        |key| -> Result<Option<u64>, Fault> { Ok(meta.get(key)?.map(|value| value.value())) };
    let Some(found) = number(FORMAT_KEY)? else {
        return Err(Fault::Damaged("it has no format".to_owned()));
    };
    let writer = match transaction.open_table(NOTES) {
        Ok(notes) => notes.get(WRITER_KEY)?.map(|text| text.value().to_owned()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let needs = number(NEEDS_KEY)?.unwrap_or(found);
    let format = Format { number: found, needs, writer: writer.unwrap_or_default() };
    if format.is_known() { Ok(format) } else { Err(Fault::Format(format)) }
}

/// Brings the state up to the format of this release.
pub(super) fn upgrade(transaction: &WriteTransaction) -> Result<(), Fault> {
    let Format { number, needs, writer } = Format::ours();
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT_KEY, number)?;
    meta.insert(NEEDS_KEY, needs)?;
    transaction.open_table(NOTES)?.insert(WRITER_KEY, writer.as_str())?;
    Ok(())
}
