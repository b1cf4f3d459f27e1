//! A descriptor that is watched: a socket between a host and its guests, an end of a handover, `/dev/fuse`, an eventfd.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Makes a descriptor one that does not block, and watches it for `interest`; must be called within a tokio runtime.
///
/// # Errors
/// What the system says of a descriptor that cannot be watched, as a file cannot.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: the descriptor is owned by the result and is never exchanged: it stays open, and the same, for as long
    // as the result exists.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(|error| error.into_parts().1)
}
