//! One byte stream, whatever carries it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::vsock::{self, VsockReadHalf, VsockStream, VsockWriteHalf};
use crate::{Addr, Admitted, NotAdmitted, Socket};

/// For how long nothing may come from a TCP peer before its machine is asked whether it is still there, and how often.
const SILENT: Duration = Duration::from_secs(30);
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How often it is asked in vain.
const ASKED: u32 = 3;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP, without delay for small segments.
    Tcp(TcpStream),
    /// Over vsock.
    Vsock(VsockStream),
}

/// The receiving half of a [`Stream`].
#[derive(Debug)]
pub enum ReadHalf {
    /// Of a unix socket.
    Unix(unix::OwnedReadHalf),
    /// Of a TCP connection.
    Tcp(tcp::OwnedReadHalf),
    /// Of a vsock connection.
    Vsock(VsockReadHalf),
}

/// The sending half of a [`Stream`]; dropping it ends the outgoing direction.
#[derive(Debug)]
pub enum WriteHalf {
    /// Of a unix socket.
    Unix(unix::OwnedWriteHalf),
    /// Of a TCP connection.
    Tcp(tcp::OwnedWriteHalf),
    /// Of a vsock connection.
    Vsock(VsockWriteHalf),
}

/// Who is at the other end of a unix socket, as the kernel vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The user that connected (or listened).
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process, where the kernel knows it.
    pub pid: Option<i32>,
}

/// A dial that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {addr}: {source}")]
pub struct DialError {
    /// What was dialled.
    pub addr: Addr,
    /// What the kernel or the resolver said.
    pub source: io::Error,
}

impl Stream {
    /// Connects to `addr`. It has no time limit of its own: whoever dials sets one.
    pub async fn dial(addr: &Addr) -> Result<Stream, DialError> {
        let connected = match addr {
            Addr::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            Addr::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(stream) => Stream::from_tcp(stream),
                Err(error) => Err(error),
            },
            Addr::Vsock { cid, port } => VsockStream::dial(*cid, *port).await.map(Stream::Vsock),
        };
        connected.map_err(|source| DialError { addr: addr.clone(), source })
    }

    /// Two connected ends in one process.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Stream::Unix(a), Stream::Unix(b)))
    }

    pub(crate) fn from_tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// Refuses a peer on another machine that reaches this one over vsock and is not on the list; who may come over the
    /// other kinds is decided elsewhere. [SEC-1]
    ///
    /// # Errors
    /// Who it is, and how it is let in.
    pub fn check_peer(&self, admitted: &Admitted) -> Result<(), NotAdmitted> {
        match self {
            Stream::Vsock(stream) => admitted.check(vsock::peer_of(stream).ok().map(|at| at.cid())),
            Stream::Unix(_) | Stream::Tcp(_) => Ok(()),
        }
    }

    /// Has the kernel find out whether a TCP peer's machine is still there, for a protocol that does not ask: one that
    /// has lost its power says nothing. After a minute without a sign of it the connection breaks (`TimedOut`), if nothing is
    /// just being sent to it; otherwise when the kernel has tried that for long enough (`tcp_retries2`, a quarter of an hour). Of the
    /// other kinds of streams the kernel knows it anyway; there it does nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn miss_peer(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                sockopt::set_socket_keepalive(stream, true)?;
                sockopt::set_tcp_keepidle(stream, SILENT)?;
                sockopt::set_tcp_keepintvl(stream, ASKED_EVERY)?;
                // No limit for what was sent, which would end whoever is stopped and takes nothing, as well.
                sockopt::set_tcp_keepcnt(stream, ASKED)?;
                Ok(())
            }
            Stream::Unix(_) | Stream::Vsock(_) => Ok(()),
        }
    }

    /// Goes on with a stream that another process, or another part of this one, gave away with [`Stream::into_fd`];
    /// must be called within a runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        let domain = sockopt::socket_domain(&fd)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        match domain {
            AddressFamily::UNIX => UnixStream::from_std(fd.into()).map(Stream::Unix),
            AddressFamily::INET | AddressFamily::INET6 => {
                TcpStream::from_std(fd.into()).map(Stream::Tcp)
            }
            AddressFamily::VSOCK => VsockStream::of(fd).map(Stream::Vsock),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Its descriptor; the stream itself goes on.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.into_socket().map(|socket| match socket {
            Socket::Unix(socket) => socket.into(),
            Socket::Tcp(socket) => socket.into(),
            Socket::Vsock(socket) => socket,
        })
    }

    /// Undoes [`Stream::into_split`].
    ///
    /// # Errors
    /// The halves are of two streams.
    pub fn rejoin(r: ReadHalf, w: WriteHalf) -> io::Result<Stream> {
        let other = || io::Error::from(io::ErrorKind::InvalidInput);
        match (r, w) {
            (ReadHalf::Unix(r), WriteHalf::Unix(w)) => {
                r.reunite(w).map(Stream::Unix).map_err(|_| other())
            }
            (ReadHalf::Tcp(r), WriteHalf::Tcp(w)) => {
                r.reunite(w).map(Stream::Tcp).map_err(|_| other())
            }
            (ReadHalf::Vsock(r), WriteHalf::Vsock(w)) => Ok(Stream::Vsock(VsockStream::join(r, w))),
            (ReadHalf::Unix(_) | ReadHalf::Tcp(_) | ReadHalf::Vsock(_), _) => Err(other()),
        }
    }

    /// The peer for people: user and process of a unix socket, the address of another connection.
    pub fn peer(&self) -> String {
        match self {
            Stream::Unix(_) => match self.credentials() {
                Some(PeerCredentials { uid, pid: Some(pid), .. }) => format!("uid {uid} pid {pid}"),
                Some(PeerCredentials { uid, .. }) => format!("uid {uid}"),
                None => "unix peer".into(),
            },
            Stream::Tcp(stream) => match stream.peer_addr() {
                Ok(addr) => addr.to_string(),
                Err(_) => "tcp peer that has gone".into(),
            },
            Stream::Vsock(stream) => match vsock::peer_of(stream) {
                Ok(addr) => format!("vsock {}:{}", addr.cid(), addr.port()),
                Err(_) => "vsock peer that has gone".into(),
            },
        }
    }

    /// The kernel's word on the peer of a unix socket; `None` for the others.
    pub fn credentials(&self) -> Option<PeerCredentials> {
        let Stream::Unix(stream) = self else {
            return None;
        };
        let found = stream.peer_cred().ok()?;
        Some(PeerCredentials { uid: found.uid(), gid: found.gid(), pid: found.pid() })
    }

    /// Separates the directions, so that one task reads while another writes.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Stream::Unix(stream) => {
                let (r, w) = stream.into_split();
                (ReadHalf::Unix(r), WriteHalf::Unix(w))
            }
            Stream::Tcp(stream) => {
                let (r, w) = stream.into_split();
                (ReadHalf::Tcp(r), WriteHalf::Tcp(w))
            }
            Stream::Vsock(stream) => {
                let (r, w) = stream.split();
                (ReadHalf::Vsock(r), WriteHalf::Vsock(w))
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Vsock(stream) => stream.as_fd(),
        }
    }
}

macro_rules! reads {
    ($half:ident) => {
        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $half::Unix(inner) => Pin::new(inner).poll_read(cx, buf),
                    $half::Tcp(inner) => Pin::new(inner).poll_read(cx, buf),
                    $half::Vsock(inner) => Pin::new(inner).poll_read(cx, buf),
                }
            }
        }
    };
}

macro_rules! writes {
    ($half:ident) => {
        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $half::Unix(inner) => Pin::new(inner).poll_write(cx, buf),
                    $half::Tcp(inner) => Pin::new(inner).poll_write(cx, buf),
                    $half::Vsock(inner) => Pin::new(inner).poll_write(cx, buf),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $half::Unix(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
                    $half::Tcp(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
                    $half::Vsock(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
                }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $half::Unix(inner) => Pin::new(inner).poll_shutdown(cx),
                    $half::Tcp(inner) => Pin::new(inner).poll_shutdown(cx),
                    $half::Vsock(inner) => Pin::new(inner).poll_shutdown(cx),
                }
            }
        }
    };
}

reads!(Stream);
reads!(ReadHalf);
writes!(Stream);
writes!(WriteHalf);
