//! Passing open sockets and short messages to another process, most likely a successor.
//!
//! A [`socketpair`] keeps the boundaries of messages (`SOCK_SEQPACKET`). One end goes to a child
//! through [`inherit`], which finds it again with [`inherited`]; both ends then speak in
//! [`Parcel`]s over a [`Channel`], or with [`send_fds`] and [`recv_fds`] where blocking is wanted.
//! [`Successor`] and [`Predecessor`] are the two sides of a restart on that.

mod activation;
mod channel;
mod inherit;

mod parcel;
mod program;
mod successor;

pub use activation::from_service_manager;
pub use channel::Channel;
pub use inherit::{InheritError, inherit, inherited, passed};
pub use parcel::{MAX_FDS, MAX_MESSAGE, Parcel, ParcelError, recv_fds, send_fds};
pub use program::start_program;
pub use successor::{Heir, Predecessor, Successor, SuccessorError, VARIABLE};

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Two connected ends, both close-on-exec and blocking until a [`Channel`] takes them.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(pair)
}
