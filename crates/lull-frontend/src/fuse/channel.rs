//! The kernel's end of a mount: requests come out of `/dev/fuse`, replies go in.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::task::{Poll, Waker};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::abi;
use crate::watch::watch;

/// One mount's channel.
#[derive(Debug)]
pub struct Channel {
    fd: AsyncFd<OwnedFd>,
    /// Requests that a device has and has not answered.
    in_flight: Cell<usize>,
    /// Those who have the file open.
    users: Cell<u64>,
    /// Whoever waits for none of them.
    waiting: RefCell<Option<Waker>>,
}

impl Channel {
    /// Takes an open `/dev/fuse`; must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the kernel says when it can neither be made non-blocking nor be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Channel> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let fd = watch(fd)?;
        Ok(Channel {
            fd,
            in_flight: Cell::new(0),
            users: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Receives the next request into `buffer`, which must have room for the longest; `None` when the mount is no
    /// more.
    pub(super) async fn next(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            // The end of a mount is told as an error.
            let mut ready = self.fd.ready(Interest::READABLE | Interest::ERROR).await?;
            match rustix::io::read(self.fd.get_ref(), &mut *buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(Errno::AGAIN) => ready.clear_ready(),
                // The request was taken back while it was read.
                Err(Errno::INTR | Errno::NOENT) => {}
                Err(Errno::NODEV) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers with these bytes. The kernel takes a reply at once, whole, or not at all: then the one who asked is
    /// gone, or the mount is, and nobody is left to hear it.
    pub(super) fn answer(&self, unique: u64, body: &[u8]) {
        let header = abi::out(unique, body.len(), 0);
        let _ = rustix::io::writev(self.fd.get_ref(), &[IoSlice::new(&header), IoSlice::new(body)]);
    }

    /// Answers with an error, a positive number of Linux; 0 is success with nothing to tell.
    pub(super) fn refuse(&self, unique: u64, errno: i32) {
        let header = abi::out(unique, 0, errno);
        let _ = rustix::io::writev(self.fd.get_ref(), &[IoSlice::new(&header)]);
    }

    /// How many have the file open, a loop device being one.
    pub fn users(&self) -> u64 {
        self.users.get()
    }

    pub(super) fn opened(&self) {
        self.users.set(self.users.get() + 1);
    }

    pub(super) fn released(&self) {
        self.users.set(self.users.get().saturating_sub(1));
    }

    pub(super) fn begin(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(super) fn end(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0
            && let Some(waker) = self.waiting.take()
        {
            waker.wake();
        }
    }

    /// Waits until no device owes an answer.
    pub(super) async fn idle(&self) {
        poll_fn(|cx| {
            if self.in_flight.get() == 0 {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
