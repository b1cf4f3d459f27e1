//! What a face asks of whoever owns the data, and the duty to answer.

use std::future::Future;

use tokio::sync::oneshot;

use crate::nbd::{Errno, Geometry};
use crate::{fuse, nbd, ublk, vhost_user};

/// What a consumer wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Fill the buffer from the device.
    Read,
    /// Write the buffer.
    Write {
        /// On stable storage before it is answered.
        fua: bool,
    },
    /// Everything answered before this was submitted is on stable storage before it is answered.
    Flush,
    /// The content of the range is no longer needed.
    Discard,
    /// The range reads as zeroes.
    WriteZeroes {
        /// On stable storage before it is answered.
        fua: bool,
        /// The range must stay allocated.
        keep_allocated: bool,
        /// To be refused with [`Errno::NotSupported`] and without effect where it would take as
        /// long as writing them.
        fast: bool,
    },
    /// Fill the buffer with a list of [`Extent`](crate::nbd::Extent)s, as many as there is room for, and
    /// answer with the buffer cut to that list. Its first extent begins at the offset; its last
    /// one may reach beyond the range.
    Extents,
    /// The range will be read soon.
    Cache,
}

impl Op {
    /// Whether it alters what the device holds.
    pub fn is_change(self) -> bool {
        match self {
            Op::Read | Op::Flush | Op::Extents | Op::Cache => false,
            Op::Write { .. } | Op::Discard | Op::WriteZeroes { .. } => true,
        }
    }
}

/// A device as one consumer uses it: an NBD connection, a mounted file, a guest.
pub trait Device {
    /// Memory that a request's bytes live in. `as_ref` and `as_mut` are exactly as long as was asked.
    type Buffer: AsRef<[u8]> + AsMut<[u8]> + 'static;

    /// Size and abilities. Read when a consumer comes; later only to see whether the device has
    /// grown, when it asks for what lies beyond the size that it was told.
    fn geometry(&self) -> Geometry;

    /// Memory for `length` bytes (1 up to the geometry's `max_length`, or a list of up to
    /// [`MAX_EXTENTS`](crate::nbd::MAX_EXTENTS)); `None` while there is none,
    /// which stops the face from reading further until [`Device::buffer_freed`].
    fn buffer(&self, length: u32) -> Option<Self::Buffer>;

    /// Bytes that nobody else can have while somebody has this buffer: at least its own.
    fn footprint(&self, buffer: &Self::Buffer) -> usize {
        buffer.as_ref().len()
    }

    /// Ends when [`Device::buffer`] may succeed again. It may end too early.
    fn buffer_freed(&self) -> impl Future<Output = ()>;

    /// How many wait for [`Device::buffer_freed`], so that memory which is kept for nothing is missed; as many as can be where
    /// nobody counts them.
    fn waiting(&self) -> usize {
        usize::MAX
    }

    /// [`Device::buffer`] as soon as there is one.
    fn some_buffer(&self, length: u32) -> impl Future<Output = Self::Buffer> {
        async move {
            loop {
                match self.buffer(length) {
                    Some(buffer) => return buffer,
                    None => self.buffer_freed().await,
                }
            }
        }
    }

    /// Takes a request. Range, alignment and permission are checked already. `buffer` has `length`
    /// bytes for the payload of a write and for what a read fills, which is at most `max_length`;
    /// it has room for a list of extents; for everything else, where the range may be any part of
    /// the device, it is `None`.
    /// [CONN-3] Each request is answered exactly once through `reply`, possibly before this returns.
    fn submit(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Self::Buffer>,
        reply: Reply<Self::Buffer>,
    );
}

/// What a request came to: for a read the filled buffer; otherwise a buffer given back or nothing.
pub type Outcome<B> = Result<Option<B>, Errno>;

/// The duty to answer one request. [CONN-3] It is a bug to drop it unanswered, and panics.
#[derive(Debug)]
pub struct Reply<B: AsRef<[u8]>>(Option<Duty<B>>);

/// To whom, and how.
#[derive(Debug)]
pub(crate) enum Duty<B: AsRef<[u8]>> {
    /// The client of an NBD connection.
    Nbd(nbd::Duty<B>),
    /// The kernel, for who uses a mounted file.
    Fuse(fuse::Duty),
    /// A guest's driver.
    Guest(vhost_user::Duty),
    /// The kernel, for who uses a block device.
    Ublk(ublk::Duty),
    /// The face itself, which asked on somebody's behalf.
    Own(oneshot::Sender<Outcome<B>>),
}

impl<B: AsRef<[u8]>> Reply<B> {
    pub(crate) fn new(duty: Duty<B>) -> Self {
        Reply(Some(duty))
    }

    /// Answers. A read is answered with its filled buffer, a question about extents with their
    /// list; a buffer that comes with another answer is dropped. Where nobody is left to hear it,
    /// the answer goes nowhere.
    ///
    /// Panics where a read is answered with success and without exactly the bytes it asked for.
    pub fn done(mut self, outcome: Outcome<B>) {
        match self.0.take() {
            Some(Duty::Nbd(duty)) => duty.done(outcome),
            Some(Duty::Fuse(duty)) => duty.done(outcome),
            Some(Duty::Guest(duty)) => duty.done(outcome),
            Some(Duty::Ublk(duty)) => duty.done(outcome),
            // Whoever asked may have been taken down meanwhile.
            Some(Duty::Own(asker)) => drop(asker.send(outcome)),
            None => unreachable!("the duty leaves only where the reply ends"),
        }
    }

    /// Answers with an error.
    pub fn fail(self, errno: Errno) {
        self.done(Err(errno));
    }

    /// Gives up the duty where it cannot be fulfilled any more, because whoever should answer is
    /// being taken down. An NBD connection is cut, so that its client does not wait for ever; a
    /// mounted file's requests stay with the kernel until its descriptor is closed, and a guest's in the record of what
    /// is in flight; a block device's fail.
    pub fn abandon(mut self) {
        match self.0.take() {
            Some(Duty::Nbd(duty)) => duty.abandon(),
            Some(Duty::Fuse(duty)) => duty.abandon(),
            Some(Duty::Guest(duty)) => duty.abandon(),
            Some(Duty::Ublk(duty)) => duty.abandon(),
            Some(Duty::Own(_)) | None => {}
        }
    }

    /// Gives up the duty where the connection was taken out of this process: what is owed to an NBD client, for
    /// whoever resumes it. `None`: nobody has to be answered by that one, since a mounted file's kernel, a guest's
    /// record, or a block device's kernel asks the next one again.
    pub fn into_owed(mut self) -> Option<nbd::Owed> {
        match self.0.take() {
            Some(Duty::Nbd(duty)) => Some(duty.into_owed()),
            Some(Duty::Fuse(duty)) => {
                duty.abandon();
                None
            }
            Some(Duty::Guest(duty)) => {
                duty.abandon();
                None
            }
            Some(Duty::Ublk(duty)) => {
                duty.leave();
                None
            }
            Some(Duty::Own(_)) | None => None,
        }
    }

    /// Whether somebody is left to hear the answer.
    pub fn is_heard(&self) -> bool {
        match &self.0 {
            Some(Duty::Nbd(duty)) => duty.is_heard(),
            Some(Duty::Fuse(duty)) => duty.is_heard(),
            Some(Duty::Guest(duty)) => duty.is_heard(),
            // The kernel waits for as long as it takes.
            Some(Duty::Ublk(_)) => true,
            Some(Duty::Own(asker)) => !asker.is_closed(),
            None => false,
        }
    }
}

impl<B: AsRef<[u8]>> Drop for Reply<B> {
    fn drop(&mut self) {
        if self.0.is_some() && !std::thread::panicking() {
            panic!("[CONN-3] a request was dropped without an answer");
        }
    }
}
