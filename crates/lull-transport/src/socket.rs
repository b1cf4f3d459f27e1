//! A connection on its way to another thread.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::vsock::{self, VsockStream};
use crate::{Addr, Stream};

/// A connected socket that no runtime looks after. A [`Stream`] belongs to the runtime of the thread
/// that made it; this goes anywhere.
#[derive(Debug)]
pub enum Socket {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
    /// Over vsock.
    Vsock(OwnedFd),
}

/// Where a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On this machine.
    Here,
    /// On another that the same hypervisor runs, known to it by this number.
    Machine(u32),
    /// Anywhere.
    Network,
}

impl Origin {
    /// Whether somebody there could dial `addr`, as far as can be known: what only this machine reaches is out of the
    /// reach of all others. [SEC-4]
    pub fn reaches(&self, addr: &Addr) -> bool {
        match (self, addr) {
            (Origin::Here, _) => true,
            (Origin::Machine(own), Addr::Vsock { cid, .. }) => own == cid,
            (Origin::Network, Addr::Vsock { .. }) => false,
            (_, addr) => !addr.is_loopback(),
        }
    }
}

impl Stream {
    /// Takes it away from this thread's runtime. What was received and not read stays in it.
    ///
    /// # Errors
    /// What the kernel says when the runtime cannot let go of it; it is closed then.
    pub fn into_socket(self) -> io::Result<Socket> {
        match self {
            Stream::Unix(stream) => stream.into_std().map(Socket::Unix),
            Stream::Tcp(stream) => stream.into_std().map(Socket::Tcp),
            Stream::Vsock(stream) => stream.into_fd().map(Socket::Vsock),
        }
    }
}

impl Socket {
    /// Where its peer is.
    pub fn origin(&self) -> Origin {
        match self {
            Socket::Unix(_) => Origin::Here,
            Socket::Tcp(socket) => match socket.peer_addr() {
                Ok(peer) if peer.ip().to_canonical().is_loopback() => Origin::Here,
                _ => Origin::Network,
            },
            Socket::Vsock(socket) => match vsock::peer_of(socket) {
                Ok(peer) if vsock::is_own(peer.cid()) => Origin::Here,
                Ok(peer) => Origin::Machine(peer.cid()),
                Err(_) => Origin::Network,
            },
        }
    }

    /// Gives it to this thread's runtime.
    ///
    /// # Errors
    /// What the kernel says when the runtime cannot look after it; it is closed then.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self {
            Socket::Unix(socket) => tokio::net::UnixStream::from_std(socket).map(Stream::Unix),
            Socket::Tcp(socket) => tokio::net::TcpStream::from_std(socket).map(Stream::Tcp),
            Socket::Vsock(socket) => VsockStream::of(socket).map(Stream::Vsock),
        }
    }
}
