//! A descriptor that is watched: `/dev/fuse`, an eventfd.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor that does not block; must be called within a tokio runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the result and is never exchanged: it stays open, and the same, for as long
    // as the result exists.
    let watched =
        unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::ERROR) };
    watched.map_err(|error| error.into_parts().1)
}
