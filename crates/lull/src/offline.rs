//! What can be told of a daemon that is down: its state directory, read without it.
//!
//! How a state directory is laid out is the daemon's business, so each daemon's crate gives a
//! reader, which [`readers`] lists.

use std::path::{Path, PathBuf};

use lull_admin::{RestartRecord, Role, Status};

use crate::daemon::{Which, roles};
use crate::exit::Failure;

/// How one kind of daemon's state directory is read. Each function opens it read-only and gives
/// an error with a next step where it is locked, damaged or of another kind.
pub struct Reader {
    /// Whose directories it reads.
    pub role: Role,
    /// The daemon's state as it left it: roster, resources, no connections.
    pub status: fn(&Path) -> anyhow::Result<Status>,
    /// All records, the newest last.
    pub histories: fn(&Path) -> anyhow::Result<Vec<RestartRecord>>,
}

/// The readers of the daemons that keep a state which people may read.
pub fn readers() -> Vec<Reader> {
    let target = Reader {
        role: Role::Target,
        status: |dir| Ok(lull_target::stored_status(dir)?),
        histories: |dir| Ok(lull_target::histories(dir)?),
    };
    vec![target]
}

/// A state directory and how to read it.
pub struct Found {
    reader: Reader,
    dir: PathBuf,
}

/// The state directory at `said`, or at the default place of the role, where there is one.
pub fn find(which: Option<Which>, said: Option<&Path>) -> Option<Found> {
    let wanted = roles(which);
    readers().into_iter().filter(|reader| wanted.contains(&reader.role)).find_map(|reader| {
        let default = || crate::config::default_state_dir(reader.role);
        let dir = said.map_or_else(default, Path::to_owned);
        dir.is_dir().then_some(Found { reader, dir })
    })
}

impl Found {
    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The daemon's state as it left it.
    pub fn status(&self) -> Result<Status, Failure> {
        Ok((self.reader.status)(&self.dir)?)
    }

    /// All records, the newest last.
    pub fn histories(&self) -> Result<Vec<RestartRecord>, Failure> {
        Ok((self.reader.histories)(&self.dir)?)
    }
}
