//! What is wrong with the database: damage, another format, or a medium that does not do its work at the moment.

use super::{Format, StoreError};
use std::io;
use std::path::Path;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// What it holds makes no sense.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A later release wrote it.
    #[error("it has {0}")]
    Format(Format),
    /// The system failed to read or write it; this may pass.
    #[error("{0}")]
    Io(String),
}

impl Fault {
    pub(crate) fn at(self, file: &Path) -> StoreError {
        let file = file.to_owned();
        match self {
            Self::Damaged(what) => StoreError::Damaged { file, what },
            Self::Format(found) => StoreError::Format { file, found },
            Self::Io(what) => StoreError::Unwritable { file, what },
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            // A file that ends too early is damaged, not its medium.
            redb::Error::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Damaged(source.to_string())
            }
            redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseAlreadyOpen => {
                Self::Io(error.to_string())
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// The database has an error of its own for each step; all of them are the same here.
macro_rules! from_steps {
    ($($step:ty),+) => {$(
        impl From<$step> for Fault {
            fn from(error: $step) -> Self {
                redb::Error::from(error).into()
            }
        }
    )+};
}

from_steps!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
