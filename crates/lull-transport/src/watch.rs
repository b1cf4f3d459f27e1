//! A descriptor that is watched: a socket between a host and its guests, an end of a handover.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Makes a descriptor one that does not block, and watches it; must be called within a tokio runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: the descriptor is owned by the result and is never exchanged: it stays open, and the same, for as long
    // as the result exists.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
