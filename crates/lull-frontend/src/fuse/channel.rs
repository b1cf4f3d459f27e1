//! The kernel's end of a mount: requests come out of `/dev/fuse`, replies go in.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::task::{Poll, Waker};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::abi;
use super::serve::Owner;
use lull_transport::watch;

/// What a mount's next server has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who owns the file.
    pub owner: Owner,
    /// How many have it open.
    pub users: u64,
    /// The longest read or write that was agreed on with the kernel, in bytes; 0 before that.
    pub most: u32,
    /// The kernel asks again for what a server left unanswered (Linux 6.9 and later).
    pub resends: bool,
}

type Watcher = Box<dyn Fn(&Record)>;

/// One mount's channel.
pub struct Channel {
    fd: AsyncFd<OwnedFd>,
    record: Cell<Record>,
    watcher: RefCell<Option<Watcher>>,
    /// Requests that a device has and has not answered.
    in_flight: Cell<usize>,
    /// One was taken that may not have come to a device yet.
    taking: Cell<bool>,
    /// Whoever waits for none of them.
    waiting: RefCell<Option<Waker>>,
}

impl Channel {
    /// Takes an open `/dev/fuse` that nobody has served yet; must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the kernel says when it can neither be made non-blocking nor be watched.
    pub fn new(fd: OwnedFd, owner: Owner) -> io::Result<Channel> {
        Self::with(fd, Record { owner, users: 0, most: 0, resends: false })
    }

    /// Goes on with a mount that somebody served before; what he left unanswered the kernel is told to ask again, where
    /// it can.
    ///
    /// # Errors
    /// As [`Channel::new`], and where the kernel refuses.
    pub fn take_over(fd: OwnedFd, record: Record) -> io::Result<Channel> {
        let channel = Self::with(fd, record)?;
        if record.resends {
            let notice = abi::resend();
            rustix::io::write(channel.fd.get_ref(), &notice)?;
        }
        Ok(channel)
    }

    fn with(fd: OwnedFd, record: Record) -> io::Result<Channel> {
        let fd = watch(fd, Interest::READABLE | Interest::ERROR)?;
        let record = Cell::new(record);
        let (watcher, in_flight, taking, waiting) = Default::default();
        Ok(Channel { fd, record, watcher, in_flight, taking, waiting })
    }

    /// What its next server has to know.
    pub fn record(&self) -> Record {
        self.record.get()
    }

    /// Tells of what its next server has to know, at once and whenever that changes.
    pub fn watch(&self, watcher: impl Fn(&Record) + 'static) {
        watcher(&self.record.get());
        self.watcher.replace(Some(Box::new(watcher)));
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record.get();
        change(&mut record);
        self.record.set(record);
        if let Some(watcher) = &*self.watcher.borrow() {
            watcher(&record);
        }
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
        self.record.get().users
    }

    pub(super) fn opened(&self) {
        self.update(|record| record.users += 1);
    }

    pub(super) fn released(&self) {
        self.update(|record| record.users = record.users.saturating_sub(1));
    }

    /// Whether no request is unanswered that a device has, or is to have once there is memory for it.
    pub fn is_idle(&self) -> bool {
        self.in_flight.get() == 0 && !self.taking.get()
    }

    /// A request was taken, and is not with a device until what this returns is dropped.
    pub(super) fn taking(&self) -> Taking<'_> {
        self.taking.set(true);
        Taking(self)
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

    /// Waits until the request that waits, which is counted itself, is the only one. It may be given up.
    pub(super) async fn others_done(&self) {
        let _uncounted = Uncounted::new(self);
        self.idle().await;
    }

    /// The descriptor, for whoever serves the mount next.
    ///
    /// # Errors
    /// What the system says.
    pub fn to_owned_fd(&self) -> io::Result<OwnedFd> {
        self.fd.get_ref().try_clone()
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

/// A request that was taken. There is one at a time.
pub(super) struct Taking<'a>(&'a Channel);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.taking.set(false);
    }
}

/// A request that is not counted for as long as this is there.
struct Uncounted<'a>(&'a Channel);

impl<'a> Uncounted<'a> {
    fn new(channel: &'a Channel) -> Self {
        channel.end();
        Self(channel)
    }
}

impl Drop for Uncounted<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("record", &self.record).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    /// [INIT-1] A server that leaves gives up what waits for the others; those are abandoned only then.
    #[tokio::test]
    async fn who_gives_up_waiting_for_the_others_is_counted_as_before() {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let channel = Channel::new(fd, Owner { uid: 0, gid: 0, mode: 0o600 }).unwrap();
        channel.begin();
        channel.begin();
        {
            let mut waits = std::pin::pin!(channel.others_done());
            let pending = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx).is_pending()));
            assert!(pending.await, "there is another one");
        }
        channel.end();
        assert!(!channel.is_idle(), "the other one");
        channel.end();
        assert!(channel.is_idle());
    }
}
