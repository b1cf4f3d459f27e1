//! A connection on its way to another thread.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::Stream;

/// A connected socket that no runtime looks after. A [`Stream`] belongs to the runtime of the thread
/// that made it; this goes anywhere.
#[derive(Debug)]
pub enum Socket {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
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
        }
    }
}

impl Socket {
    /// Whether its peer is on this host, as [`Addr::is_loopback`](crate::Addr::is_loopback) has it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Socket::Unix(_) => true,
            Socket::Tcp(socket) => {
                let peer = socket.peer_addr();
                peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
            }
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
        }
    }
}
