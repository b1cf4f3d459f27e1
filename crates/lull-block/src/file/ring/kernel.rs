//! The ring itself. **Unsafe module**: the kernel reads and writes memory that is lent to it.
//!
//! Invariant: what an entry points to, a request's buffer and the descriptor of its file, belongs
//! to a [`Flight`] that stays in `flights` from before the entry is written until the kernel's
//! completion for it was taken, and nobody else reaches it meanwhile. [`Kernel`] upholds it: its
//! flights are private, and those that the kernel still has when it is dropped are never freed.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Flight;
use crate::file::engine::Job;
use crate::pool::Region;
use crate::{Op, Request};

/// Requests that one thread's ring has under way at the same time. Further ones wait in their
/// file's queue; the completion queue has room for all of these, so that it never overflows.
pub(super) const DEPTH: u32 = 512;

pub(super) struct Kernel {
    ring: IoUring,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    lent: Lent,
}

/// The memory that is registered with the ring: the kernel need not look up its pages per request.
enum Lent {
    NotYet,
    /// The kernel may not, or not as much (`ulimit -l`); requests bring their own pages then.
    Refused,
    Registered(Region),
}

/// A ring of this kernel, with as many of the newer conveniences as it has.
fn build(entries: u32) -> io::Result<IoUring> {
    // Completions are collected by the thread's own next call: no interrupt of what it does.
    let deferred = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(entries);
    match deferred {
        // Before Linux 6.1.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries),
        other => other,
    }
}

/// Whether this process may have a ring that can do all that is asked of it here.
pub(super) fn probe() -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let ring = build(2).map_err(errno)?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(errno)?;
    let needed = [opcode::Read::CODE, opcode::Write::CODE, opcode::Fsync::CODE];
    let all = needed.into_iter().all(|code| probe.is_supported(code));
    // Without the first, completions could be lost; without the other, what an entry points to
    // would have to outlive its submission.
    let params = ring.params();
    match all && params.is_feature_nodrop() && params.is_feature_submit_stable() {
        true => Ok(()),
        false => Err(Errno::NOSYS),
    }
}

impl Kernel {
    /// A ring for the calling thread, and what becomes readable when something was completed.
    /// Must be called within a runtime that waits for descriptors.
    pub(super) fn new() -> io::Result<(Self, AsyncFd<OwnedFd>)> {
        let ring = build(DEPTH)?;
        let arrived = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(arrived.as_raw_fd())?;
        // SAFETY: the descriptor belongs to what is made here, which alone closes it, and an
        // `OwnedFd` has the same number for all its life.
        let arrived = unsafe { AsyncFd::register_with_interest(arrived, Interest::READABLE) }?;
        let kernel = Self { ring, flights: Vec::new(), free: Vec::new(), lent: Lent::NotYet };
        Ok((kernel, arrived))
    }

    /// Flights that have not landed.
    pub(super) fn outstanding(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// Whether one more may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.outstanding() < DEPTH as usize
    }

    /// Whether something was pushed that the kernel has not seen.
    pub(super) fn has_unseen(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Queues a flight, to be seen by the kernel in the next [`Kernel::enter`]. Gives it back where
    /// there is no room.
    pub(super) fn push(&mut self, flight: Flight) -> Result<(), Flight> {
        if !self.has_room() {
            return Err(flight);
        }
        if let (Lent::NotYet, Some(request)) = (&self.lent, flight.transfer()) {
            self.lent = register(&self.ring, request);
        }
        let place = self.free.pop().unwrap_or(self.flights.len() as u32);
        if place as usize == self.flights.len() {
            self.flights.push(None);
        }
        let flight = self.flights[place as usize].insert(flight);
        let entry = entry(flight, &self.lent).user_data(u64::from(place));
        // SAFETY: what the entry points to is in `flights` now, and stays there by the module's
        // invariant until the kernel has answered.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        match pushed {
            Ok(()) => Ok(()),
            // Entries that wait to be seen are flights too, so there are never more than places.
            Err(_) => {
                self.free.push(place);
                self.flights[place as usize].take().map_or(Ok(()), Err)
            }
        }
    }

    /// Shows the kernel what was pushed and lets it complete what it can, without waiting; no
    /// system call where neither is there.
    ///
    /// # Errors
    /// What the kernel says; nothing is lost, and a later call tries again.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        let queue = self.ring.submission();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        drop(queue);
        self.ring.submit().map(drop)
    }

    /// The same, and waits until at least one flight has landed.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.ring.submit_and_wait(1).map(drop)
    }

    /// The next flight that has landed, and the kernel's answer.
    pub(super) fn landed(&mut self) -> Option<(Flight, Result<usize, Errno>)> {
        loop {
            let entry = self.ring.completion().next()?;
            let place = entry.user_data() as usize;
            // Each entry is answered once; another number is none of ours.
            if let Some(flight) = self.flights.get_mut(place).and_then(Option::take) {
                self.free.push(place as u32);
                let answer = usize::try_from(entry.result());
                let answer = answer.map_err(|_| Errno::from_raw_os_error(-entry.result()));
                return Some((flight, answer));
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.outstanding() > 0 {
            // The kernel may still write there.
            mem::forget(mem::take(&mut self.flights));
            mem::forget(mem::replace(&mut self.lent, Lent::Refused));
        }
    }
}

/// Registers the memory that the request's buffer is from.
fn register(ring: &IoUring, request: &Request) -> Lent {
    let Some(region) = request.buffer.region() else { return Lent::NotYet };
    let whole = libc::iovec { iov_base: region.start().as_ptr().cast(), iov_len: region.len() };
    // SAFETY: the region is mapped as long as it exists, and it is kept as long as the ring; the
    // kernel reaches into it for entries of the ring only, each of which has its buffer to itself.
    match unsafe { ring.submitter().register_buffers(&[whole]) } {
        Ok(()) => Lent::Registered(region),
        Err(_) => Lent::Refused,
    }
}

/// What the kernel is asked to do.
fn entry(flight: &mut Flight, lent: &Lent) -> squeue::Entry {
    let file = Fd(flight.file().as_raw_fd());
    let done = flight.done;
    let durable = matches!(flight.job, Job::WriteThrough(_));
    let flags = if durable { libc::RWF_DSYNC } else { 0 };
    let Some(request) = flight.transfer_mut() else {
        return opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build();
    };
    let offset = request.offset + done as u64;
    let rest = &mut request.buffer[done..];
    let (start, length) = (rest.as_mut_ptr(), rest.len() as u32);
    let fixed = matches!(lent, Lent::Registered(region) if region.holds(rest));
    match (request.op, fixed) {
        (Op::Read, true) => opcode::ReadFixed::new(file, start, length, 0).offset(offset).build(),
        (Op::Read, false) => opcode::Read::new(file, start, length).offset(offset).build(),
        (_, true) => {
            let write = opcode::WriteFixed::new(file, start, length, 0);
            write.offset(offset).rw_flags(flags).build()
        }
        (_, false) => {
            let write = opcode::Write::new(file, start, length);
            write.offset(offset).rw_flags(flags).build()
        }
    }
}
