//! Opening and locking a file or a block device.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::engine::{Engine, FileBackend};
use super::inspect::{self, Kind, SECTOR, refusal};
use super::lock;
use super::medium::{Medium, trial_block};
use super::ring;
use crate::{Context, EngineChoice, FileSpec, OpenError};

/// Opens, locks and, if asked to, creates.
pub(crate) fn open(spec: &FileSpec, context: &Context) -> Result<FileBackend, OpenError> {
    let path = &spec.path;
    let engine = engine(spec)?;
    let (kind, created) = match inspect::look(path)? {
        Some((kind, _)) => (kind, false),
        None if spec.size.is_some() => (Kind::Regular, true),
        None => return Err(OpenError::Missing { path: path.clone() }),
    };
    match kind {
        Kind::Device if spec.size.is_some() => {
            return Err(OpenError::DeviceSize { path: path.clone() });
        }
        Kind::Regular if created => inspect::refuse_network(spec, &inspect::parent(path)?)?,
        Kind::Regular => inspect::refuse_network(spec, path)?,
        Kind::Device => {}
    }
    let file = open_file(spec, kind, created, context)?;
    let outcome = take_over(spec, context, kind, engine, file);
    if created && outcome.is_err() {
        // Nothing of it has been used yet: leave no empty file behind.
        let _ = rustix::fs::unlink(path);
    }
    outcome
}

/// Who is to do what would block; what the kernel permits is asked before anything is created.
pub(super) fn engine(spec: &FileSpec) -> Result<Engine, OpenError> {
    match spec.engine {
        EngineChoice::Threads => Ok(Engine::Threads),
        EngineChoice::Auto => Ok(ring::permitted().map_or(Engine::NoRing, |()| Engine::Ring)),
        EngineChoice::Uring => ring::permitted()
            .map(|()| Engine::Ring)
            .map_err(|errno| OpenError::NoRing { path: spec.path.clone(), source: errno.into() }),
    }
}

fn open_file(
    spec: &FileSpec,
    kind: Kind,
    create: bool,
    context: &Context,
) -> Result<OwnedFd, OpenError> {
    let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY;
    flags |= if spec.read_only { OFlags::RDONLY } else { OFlags::RDWR };
    if create {
        flags |= OFlags::CREATE | OFlags::EXCL;
    }
    // [SAFE-6] keeps mounts and other exclusive users off, and them off us.
    if kind == Kind::Device && !spec.read_only {
        flags |= OFlags::EXCL;
    }
    if spec.direct {
        flags |= OFlags::DIRECT;
    }
    let mode = Mode::RUSR | Mode::WUSR;
    let path = &spec.path;
    lock::patiently(context.lock_wait, Errno::BUSY, || rustix::fs::open(path, flags, mode)).map_err(
        |errno| match errno {
            Errno::INVAL if spec.direct => OpenError::NoDirect { path: path.clone() },
            Errno::EXIST => OpenError::Replaced { path: path.clone() },
            _ if spec.read_only => refusal(path, "open", "read", errno),
            _ => refusal(path, "open", "written", errno),
        },
    )
}

/// Locks what was opened and makes it ready to serve.
fn take_over(
    spec: &FileSpec,
    context: &Context,
    kind: Kind,
    engine: Engine,
    file: OwnedFd,
) -> Result<FileBackend, OpenError> {
    let path = &spec.path;
    let io = |doing| move |errno: Errno| refusal(path, doing, "read", errno);
    let found = rustix::fs::fstat(&file).map_err(io("look at"))?;
    let replaced = || OpenError::Replaced { path: path.clone() };
    if inspect::kind(path, &found)? != kind {
        return Err(replaced());
    }
    lock::acquire(file.as_fd(), &found, path, spec.read_only, context.lock_wait)?;
    // Somebody may have removed or replaced the name before the lock was there.
    if !inspect::look(path)?.is_some_and(|(_, now)| same(&found, &now)) {
        return Err(replaced());
    }
    let least = match kind {
        Kind::Regular => SECTOR,
        Kind::Device => {
            rustix::fs::ioctl_blksszget(&file).map_err(io("find the block size of"))?.max(SECTOR)
        }
    };
    let block = if spec.direct {
        trial_block(&file, least)
            .map_err(io("read"))?
            .ok_or_else(|| OpenError::NoDirect { path: path.clone() })?
    } else {
        least
    };
    let size = match kind {
        Kind::Regular => regular_size(spec, &file, block)?,
        Kind::Device => rustix::fs::seek(&file, SeekFrom::End(0)).map_err(io("measure"))?,
    };
    if size == 0 {
        return Err(OpenError::Empty { path: path.clone() });
    }
    let geometry = inspect::geometry(size, block, spec.read_only);
    let magic = rustix::fs::fstatfs(&file).map_err(io("look at"))?.f_type as u32;
    let in_memory = kind == Kind::Regular && inspect::is_memory(magic);
    let medium = Medium::new(file, kind, spec.direct);
    Ok(FileBackend::new(medium, geometry, path.clone(), in_memory, engine, &context.workers))
}

/// Whether two looks saw the same file: its place, and for a device what it stands for.
fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}

/// The size after the lock was taken; an empty file is given the size asked for.
fn regular_size(spec: &FileSpec, file: &OwnedFd, block: u32) -> Result<u64, OpenError> {
    let path = &spec.path;
    let io = |doing| move |errno: Errno| refusal(path, doing, "written", errno);
    let found = rustix::fs::fstat(file).map_err(io("look at"))?;
    let now = u64::try_from(found.st_size).unwrap_or(0);
    let size = inspect::accept_size(spec, now, block)?;
    if now == 0 {
        rustix::fs::ftruncate(file, size).map_err(io("give a size to"))?;
        rustix::fs::fsync(file).map_err(io("save"))?;
        save_name(path).map_err(io("save the name of"))?;
    }
    Ok(size)
}

/// Makes the directory entry durable, without which a flushed file can be gone after a crash.
fn save_name(path: &Path) -> Result<(), Errno> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty())?;
    rustix::fs::fsync(directory)
}
