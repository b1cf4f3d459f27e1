//! What can be told of a daemon that is down: its state directory, read without it.
//!
//! How a state directory is laid out is the daemon's business, so each daemon's crate gives a
//! reader, which [`readers`] lists.

use std::path::{Path, PathBuf};

use lull_admin::{RestartRecord, Role, Status};

use crate::daemon::{AdminArgs, Which, roles};
use crate::exit::Failure;

/// How one kind of daemon's state directory is read. Each function opens it read-only and gives
/// an error with a next step where it is locked, damaged or of another kind.
pub struct Reader {
    /// Whose directories it reads.
    pub role: Role,
    /// Whether a directory holds the state of such a daemon.
    pub has_state: fn(&Path) -> bool,
    /// The daemon's state as it left it: roster, resources, no connections.
    pub status: fn(&Path) -> anyhow::Result<Status>,
    /// All records, the newest last; none where such a daemon keeps none.
    pub histories: fn(&Path) -> anyhow::Result<Vec<RestartRecord>>,
}

/// The readers of the daemons that keep a state which people may read.
pub fn readers() -> Vec<Reader> {
    let target = Reader {
        role: Role::Target,
        has_state: lull_target::has_state,
        status: |dir| Ok(lull_target::stored_status(dir)?),
        histories: |dir| Ok(lull_target::histories(dir)?),
    };
    let initiator = Reader {
        role: Role::Initiator,
        has_state: lull_initiator::has_state,
        status: |dir| Ok(lull_initiator::stored_status(dir)?),
        histories: |_| Ok(Vec::new()),
    };
    vec![target, initiator]
}

/// A state directory and how to read it.
pub struct Found {
    reader: Reader,
    dir: PathBuf,
}

/// Whether the daemon of the directory `said` is meant, and not the one that answers at a default place, which is
/// another one.
pub fn is_meant(which: Option<Which>, said: Option<&Path>, admin: &AdminArgs) -> bool {
    let default = |role: Role| said == Some(&crate::config::default_state_dir(role));
    said.is_some() && admin.admin.is_none() && !roles(which).into_iter().any(default)
}

/// The state directory at `said`, or at the default place of the role, where there is one. Where `--admin` was given and
/// no directory, the one at the default place is another daemon's.
///
/// # Errors
/// `Failed` where nothing is at `said`, `unreachable` where nothing is anywhere.
pub fn find(
    which: Option<Which>,
    said: Option<&Path>,
    admin: &AdminArgs,
    unreachable: String,
) -> Result<Found, Failure> {
    if said.is_none() && admin.admin.is_some() {
        let text = format!("{unreachable}; what it left is read with --state DIR");
        return Err(Failure::Unreachable(text));
    }
    let wanted = roles(which);
    let found =
        readers().into_iter().filter(|reader| wanted.contains(&reader.role)).find_map(|reader| {
            let default = || crate::config::default_state_dir(reader.role);
            let dir = said.map_or_else(default, Path::to_owned);
            (reader.has_state)(&dir).then_some(Found { reader, dir })
        });
    found.ok_or_else(|| match said {
        Some(dir) => Failure::failed(format!(
            "no daemon answers, and there is no {}'s state in {}\n  next: say where its --state is, or \
             with --admin where it runs",
            wanted.iter().map(|role| role.as_str()).collect::<Vec<_>>().join("'s or "),
            dir.display()
        )),
        None => Failure::Unreachable(unreachable),
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
