//! From a spec to a backend that serves.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::faulty::Faulty;
use crate::memory::Memory;
use crate::null::Null;
use crate::size::Shown;
use crate::volatile::Volatile;
use crate::{Backend, BackendSpec, Geometry, RemoteSpec, Workers};

/// What the backends of one process share.
#[derive(Clone)]
pub struct Context {
    /// The threads for whatever would block the caller's.
    pub workers: Workers,
    /// How long to wait for a lock that another process holds: a dead predecessor keeps it while
    /// the kernel still has I/O of it in flight. Zero: do not wait.
    pub lock_wait: Duration,
    /// Who opens what lies behind a network; `None`: it is refused.
    pub remotes: Option<Arc<dyn Remotes>>,
}

/// The way to media that lie behind a network, which this crate knows nothing of.
pub trait Remotes: Send + Sync {
    /// Connects to what `spec` names and makes it ready to serve. May block.
    ///
    /// # Errors
    /// [`OpenError::Remote`], with the next step.
    fn open(&self, spec: &RemoteSpec) -> Result<Arc<dyn Backend>, OpenError>;
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process that this one can see.
    Process {
        /// Its id.
        pid: u32,
        /// The name of its command, empty if it cannot be read.
        command: String,
    },
    /// Somebody in another process namespace or on another machine.
    Unseen,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process { pid, .. } if *pid == std::process::id() => {
                write!(f, "this very process ({pid})")
            }
            Self::Process { pid, command } if command.is_empty() => write!(f, "process {pid}"),
            Self::Process { pid, command } => write!(f, "process {pid} ({command})"),
            Self::Unseen => f.write_str("a process that cannot be seen from here"),
        }
    }
}

/// Why a backend could not be opened; each says what to do next.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("{path} does not exist: check the path, or add size=… to create it, as in file:{path},size=1G", path = .path.display())]
    Missing { path: PathBuf },
    #[error("{path} cannot be created because its directory does not exist: create it with mkdir -p", path = .path.display())]
    NoParent { path: PathBuf },
    #[error("{path} is a directory: name a file in it, as in file:{path}/disk.img,size=1G", path = .path.display())]
    Directory { path: PathBuf },
    #[error("{path} is {kind}: name a regular file or a block device", path = .path.display())]
    NotAMedium { path: PathBuf, kind: &'static str },
    #[error("{path} may not be {wanted} by this user: change its owner or mode{hint}", path = .path.display())]
    Denied { path: PathBuf, wanted: &'static str, hint: &'static str },
    #[error("{path} is on a read-only medium: add read-only to share it as it is", path = .path.display())]
    ReadOnlyMedium { path: PathBuf },
    #[error("{path} is locked by {holder}: stop that one first, or add read-only if both only read", path = .path.display())]
    Locked { path: PathBuf, holder: Holder },
    #[error("{path} is in use, mounted or opened exclusively by another program: unmount or stop it (lsblk and fuser -v {path} show who)", path = .path.display())]
    DeviceBusy { path: PathBuf },
    #[error("{path} is on a network file system ({kind}), where neither a lock nor a flush can be relied on: share it from the machine that has the disk, or add network=on if you know better", path = .path.display())]
    Network { path: PathBuf, kind: &'static str },
    #[error("{path} has {size} bytes, which is no multiple of {block}: extend it with truncate --size=%{block} {path}", path = .path.display())]
    Unaligned { path: PathBuf, size: u64, block: u32 },
    #[error("{path} is empty: give it a size with truncate --size=1G {path}, or remove it and add size=… to create it", path = .path.display())]
    Empty { path: PathBuf },
    #[error("{path} has {size} bytes ({shown}) but size={wanted} is asked for: leave size= out to use it as it is", path = .path.display(), shown = Shown(*.size), wanted = Shown(*.wanted))]
    SizeDiffers { path: PathBuf, size: u64, wanted: u64 },
    #[error("{path} is a block device, which size= cannot create: leave size= out", path = .path.display())]
    DeviceSize { path: PathBuf },
    #[error("{path} cannot bypass the page cache (direct=on): its file system does not support it; use direct=off", path = .path.display())]
    NoDirect { path: PathBuf },
    #[error("{path} cannot be served through io_uring (engine=uring): {source}; containers and kernel.io_uring_disabled forbid it, and Linux before 5.6 lacks it; permit it, or use engine=auto", path = .path.display())]
    NoRing { path: PathBuf, source: io::Error },
    #[error("{path} was replaced while it was being opened: try again", path = .path.display())]
    Replaced { path: PathBuf },
    #[error("mem: {size} bytes are more than this process can address: use a smaller size")]
    TooLarge { size: u64 },
    #[error("{why}")]
    Remote { why: String },
    #[error("cannot {doing} {path}: {source}", path = .path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
}

/// The most that a `mem:` backend may have: beyond it the table of its chunks alone would be
/// larger than what most machines can give (4 TiB have 64 Mi chunks).
const LARGEST_MEMORY: u64 = 4 << 40;

/// Opens what `spec` names, locks it and makes it ready to serve. May block, for the medium and
/// for up to `context.lock_wait`.
///
/// # Errors
/// Whatever keeps it from being served, with the next step.
pub fn open(spec: &BackendSpec, context: &Context) -> Result<Arc<dyn Backend>, OpenError> {
    Ok(match spec {
        BackendSpec::File(file) => Arc::new(crate::file::open(file, context)?),
        BackendSpec::Memory { size } => Arc::new(Memory::new(memory_size(*size)?)),
        BackendSpec::Null { size } => Arc::new(Null::new(*size)),
        BackendSpec::Remote(spec) => match &context.remotes {
            Some(remotes) => remotes.open(spec)?,
            None => {
                let why = format!("{spec} lies behind a network, which this program does not use");
                return Err(OpenError::Remote { why });
            }
        },
        BackendSpec::Faulty(faults, inner) => {
            let opened = open(inner, context)?;
            match &**inner {
                BackendSpec::File(file) if faults.volatile => {
                    let volatile = Arc::new(Volatile::new(opened, &file.path)?);
                    let inner = Arc::clone(&volatile);
                    Arc::new(Faulty::new(faults.clone(), inner, Some(volatile))?)
                }
                _ => Arc::new(Faulty::new(faults.clone(), opened, None)?),
            }
        }
    })
}

/// What [`open`] would serve, from looking only: nothing is opened for I/O, created or locked, so
/// that a successor can check while its predecessor still serves. `None` where only a connection
/// would tell: a server may have room for one, which the predecessor has.
///
/// # Errors
/// Whatever would keep [`open`] from succeeding, as far as it can be seen from outside.
pub fn check(spec: &BackendSpec) -> Result<Option<Geometry>, OpenError> {
    Ok(match spec {
        BackendSpec::File(file) => Some(crate::file::check(file)?),
        BackendSpec::Memory { size } => Some(Memory::geometry_of(memory_size(*size)?)),
        BackendSpec::Null { size } => Some(Null::new(*size).geometry()),
        BackendSpec::Remote(_) => None,
        BackendSpec::Faulty(_, inner) => check(inner)?,
    })
}

fn memory_size(size: u64) -> Result<u64, OpenError> {
    if size > LARGEST_MEMORY {
        return Err(OpenError::TooLarge { size });
    }
    Ok(size)
}
