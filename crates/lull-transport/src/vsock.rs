//! Sockets between a host and its guests, which the hypervisor carries: vsock(7).
//!
//! Tokio knows them not. What it has for any descriptor carries them here; a frame leaves in one gathered write, as over
//! the other kinds.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::vsock::{VMADDR_CID_ANY, VMADDR_CID_LOCAL, VsockAddr};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use crate::Addr;
use crate::watch::watch;

/// The context that stands for the machine itself.
pub(crate) const LOCAL: u32 = VMADDR_CID_LOCAL;
/// The context that stands for all of the machine's own; to listen on.
pub(crate) const ANY: u32 = VMADDR_CID_ANY;

/// A connection.
#[derive(Debug, Clone)]
pub struct VsockStream(Arc<AsyncFd<OwnedFd>>);

/// The receiving half of a [`VsockStream`].
#[derive(Debug)]
pub struct VsockReadHalf(VsockStream);

/// The sending half of a [`VsockStream`]; dropping it ends the outgoing direction.
#[derive(Debug)]
pub struct VsockWriteHalf(VsockStream, Ends);

/// Whether the outgoing direction ends with its half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    WithIt,
    Never,
}

/// A socket that listens.
#[derive(Debug)]
pub struct VsockListener {
    socket: AsyncFd<OwnedFd>,
    at: VsockAddr,
}

impl VsockStream {
    pub(crate) async fn dial(cid: u32, port: u32) -> io::Result<VsockStream> {
        let stream = tokio_vsock::VsockStream::connect(VsockAddr::new(cid, port)).await?;
        VsockStream::of(stream.into())
    }

    /// Gives a connected socket to this thread's runtime.
    pub(crate) fn of(socket: OwnedFd) -> io::Result<VsockStream> {
        Ok(VsockStream(Arc::new(watch(socket, Interest::READABLE | Interest::WRITABLE)?)))
    }

    /// Takes it away from this thread's runtime.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match Arc::try_unwrap(self.0) {
            Ok(registered) => Ok(registered.into_inner()),
            Err(shared) => Ok(shared.get_ref().try_clone()?),
        }
    }

    pub(crate) fn split(self) -> (VsockReadHalf, VsockWriteHalf) {
        (VsockReadHalf(self.clone()), VsockWriteHalf(self, Ends::WithIt))
    }

    /// Undoes [`VsockStream::split`].
    pub(crate) fn join(r: VsockReadHalf, mut w: VsockWriteHalf) -> VsockStream {
        w.1 = Ends::Never;
        drop(w);
        r.0
    }

    fn poll_receive(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|fd| read(fd.get_ref(), buf.initialize_unfilled())) {
                Ok(received) => {
                    buf.advance(received?);
                    return Poll::Ready(Ok(()));
                }
                Err(_would_block) => {}
            }
        }
    }

    fn poll_send(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(sent) = guard.try_io(|fd| write(fd.get_ref(), bufs)) {
                return Poll::Ready(sent);
            }
        }
    }

    fn end(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Write)?)
    }
}

fn read(socket: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(socket, &mut *into) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn write(socket: &OwnedFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match rustix::io::writev(socket, bufs) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// The number of the context at the other end, for which the hypervisor vouches.
pub(crate) fn peer_of(socket: impl AsFd) -> io::Result<VsockAddr> {
    ::vsock::VsockStream::from(socket.as_fd().try_clone_to_owned()?).peer_addr()
}

impl VsockListener {
    pub(crate) fn bind(cid: u32, port: u32) -> io::Result<VsockListener> {
        VsockListener::of(::vsock::VsockListener::bind_with_cid_port(cid, port)?)
    }

    /// Goes on with a socket that listens already.
    pub(crate) fn of(socket: ::vsock::VsockListener) -> io::Result<VsockListener> {
        let at = socket.local_addr()?;
        Ok(VsockListener { socket: watch(socket.into(), Interest::READABLE)?, at })
    }

    /// Takes it away from this thread's runtime.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket.into_inner()
    }

    pub(crate) async fn accept(&self) -> io::Result<VsockStream> {
        loop {
            let mut guard = self.socket.readable().await?;
            let accept = |fd: &OwnedFd| rustix::net::accept_with(fd, SocketFlags::CLOEXEC);
            if let Ok(accepted) = guard.try_io(|socket| Ok(accept(socket.get_ref())?)) {
                return VsockStream::of(accepted?);
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::Vsock { cid: self.at.cid(), port: self.at.port() })
    }
}

/// Whether `cid` is this machine.
pub(crate) fn is_own(cid: u32) -> bool {
    cid == LOCAL || ::vsock::get_local_cid().is_ok_and(|own| own == cid)
}

impl AsFd for VsockStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsFd for VsockListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

impl Drop for VsockWriteHalf {
    fn drop(&mut self) {
        if self.1 == Ends::WithIt {
            // Fails where the connection has gone already.
            let _ = self.0.end();
        }
    }
}

impl AsyncRead for VsockStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_receive(cx, buf)
    }
}

impl AsyncRead for VsockReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_receive(cx, buf)
    }
}

impl AsyncWrite for VsockStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}

impl AsyncWrite for VsockWriteHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.end())
    }
}
