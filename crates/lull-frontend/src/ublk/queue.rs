//! A device's queue as its server has it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::abi::{DEPTH, entry, queue};
use super::kernel::Ring;

/// A device's queue, opened. Dropped before its device was stopped it stays open, and the device waits for the end of this
/// process: only then another one can serve it.
pub struct Queue {
    pub(super) ring: RefCell<Ring>,
    pub(super) bell: AsyncFd<OwnedFd>,
    /// A command was added that the kernel has not seen, or what is to become of requests has changed.
    pub(super) added: Notify,
    /// Requests that were taken and not answered, a bit for each tag.
    pub(super) owed: Cell<u128>,
    /// What comes is refused.
    pub(super) stopping: Cell<bool>,
    path: PathBuf,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens it, and asks for what may come under each tag. Both at once: a server that dies between the two leaves a device
    /// that no other process can serve.
    pub(super) fn open(path: PathBuf) -> io::Result<Queue> {
        const { assert!(DEPTH as u32 == u128::BITS, "a bit for each tag") };
        let (mut ring, bell) = Ring::open(&path)?;
        (0..DEPTH).for_each(|tag| ring.push(queue::FETCH, tag, entry(tag, 0)));
        ring.submit()?;
        let queue = Queue {
            ring: RefCell::new(ring),
            bell,
            added: Notify::new(),
            owed: Cell::new(0),
            stopping: Cell::new(false),
            path,
        };
        // Nothing can have come yet, since nobody was told to ask.
        let ended = queue.ring.borrow_mut().next();
        match ended {
            None => Ok(queue),
            Some((tag, result)) => Err(queue.refused(tag, result)),
        }
    }

    /// From here on what comes is refused. [CONN-5] What has come before is finished.
    pub fn refuse(&self) {
        self.stopping.set(true);
        self.added.notify_one();
    }

    /// A request has come under this tag; its bit.
    pub(super) fn takes(&self, tag: u16) -> u128 {
        let bit = 1 << tag;
        self.owed.set(self.owed.get() | bit);
        bit
    }

    /// Answers a request, and asks for the next one under its tag.
    pub(super) fn answer(&self, tag: u16, result: i32) {
        self.owed.set(self.owed.get() & !(1 << tag));
        self.ring.borrow_mut().push(queue::COMMIT_AND_FETCH, tag, entry(tag, result));
        self.added.notify_one();
    }

    /// Whether nothing can come any more, and nothing is owed.
    pub(super) fn is_over(&self) -> bool {
        self.owed.get() == 0 && self.ring.borrow().under_way() == 0
    }

    /// The kernel ended a command as it ends none that is right.
    pub(super) fn refused(&self, tag: u16, result: i32) -> io::Error {
        let path = self.path.display();
        let error = io::Error::from_raw_os_error(result.saturating_neg());
        let text = format!(
            "the kernel serves request {tag} of {path} no more ({error}); the next process that takes the device over has all \
             of them again: end this one"
        );
        io::Error::new(error.kind(), text)
    }
}
