//! Rings over which ublk's devices are told what to do. **Unsafe module**: the kernel reads and writes memory that is
//! lent to it, and writes memory that is looked at here.
//!
//! Invariants. A command's buffer is borrowed until the command is over, since [`Control::ask`] returns no earlier. An
//! entry of a [`Ring`] points to nothing: data is read and written on the queue's descriptor, which the ring owns and
//! closes last. A request's description is written by the kernel before the request is handed out, and not again before
//! it was answered; it is read between the two only, by copy.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::abi::{DEPTH, DESCRIPTION, header};

/// The control device.
pub(super) struct Control {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
    device: File,
}

impl Control {
    /// Opens it; [`io::ErrorKind::NotFound`] where the module is not loaded.
    pub(super) fn open() -> io::Result<Control> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/ublk-control")?;
        Ok(Control { ring: IoUring::builder().build(2)?, device })
    }

    /// Gives a command for the device of this number and waits for its end.
    pub(super) fn ask(
        &mut self,
        command: u32,
        device: u32,
        buffer: &mut [u8],
        data: u64,
    ) -> io::Result<()> {
        let address = if buffer.is_empty() { 0 } else { buffer.as_mut_ptr() as u64 };
        let body = header(device, address, buffer.len(), data);
        let fd = Fd(self.device.as_raw_fd());
        let entry = opcode::UringCmd80::new(fd, command).cmd(body).build();
        // SAFETY: the buffer is borrowed until this function ends, which is after the command's completion was taken.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Without its end the command may still use the buffer.
                Err(error) => panic!("a ring that was entered cannot be waited for: {error}"),
                Ok(_) => {}
            }
            if let Some(end) = self.ring.completion().next() {
                let failed = end.result() < 0;
                return if failed {
                    Err(io::Error::from_raw_os_error(-end.result()))
                } else {
                    Ok(())
                };
            }
        }
    }
}

/// The queue of one device, to be used by one thread alone.
///
/// Dropped while commands are under way it stays open until the process ends. Up to Linux 6.15 the kernel takes the thread
/// for dying when the ring of its commands is closed, and hands a request that it is just bringing to a thread that lives
/// all the same: nobody would ever answer that one, and the device could not be taken over by anybody.
pub(super) struct Ring {
    ring: ManuallyDrop<IoUring>,
    descriptions: *mut u8,
    queue: ManuallyDrop<File>,
    /// Commands that have not ended.
    under_way: usize,
}

/// Bytes of the mapping of all descriptions, in whole pages.
const MAPPED: usize = (DEPTH as usize * DESCRIPTION).next_multiple_of(4096);

impl Ring {
    /// Opens the queue at `path`, with what becomes readable when commands have ended; must be called within a tokio
    /// runtime.
    pub(super) fn open(path: &Path) -> io::Result<(Ring, AsyncFd<OwnedFd>)> {
        let queue = OpenOptions::new().read(true).write(true).open(path)?;
        let ring = IoUring::builder().build(DEPTH.into())?;
        let arrived = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(arrived.as_raw_fd())?;
        // SAFETY: the descriptor is owned by what is made here, which alone closes it.
        let arrived = unsafe { AsyncFd::register_with_interest(arrived, Interest::READABLE) };
        let arrived = arrived.map_err(|error| error.into_parts().1)?;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let descriptions = unsafe {
            mmap(
                std::ptr::null_mut(),
                MAPPED,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                &queue,
                0,
            )?
        };
        let (ring, queue) = (ManuallyDrop::new(ring), ManuallyDrop::new(queue));
        Ok((Ring { ring, descriptions: descriptions.cast(), queue, under_way: 0 }, arrived))
    }

    /// The queue's descriptor.
    pub(super) fn queue(&self) -> &File {
        &self.queue
    }

    /// Adds a command, to be seen by the kernel with the next [`Ring::submit`]. Each tag has one at most.
    pub(super) fn push(&mut self, command: u32, tag: u16, body: [u8; 16]) {
        let fd = Fd(self.queue.as_raw_fd());
        let entry = opcode::UringCmd16::new(fd, command).cmd(body).build().user_data(tag.into());
        // SAFETY: the entry points to nothing, and its descriptor is closed after the ring.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            unreachable!("there are as many places as tags, and one command for each");
        }
        self.under_way += 1;
    }

    /// Shows the kernel what was added; false where it has no room for some of it just now.
    pub(super) fn submit(&mut self) -> io::Result<bool> {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN | Errno::BUSY) => return Ok(false),
                    Some(_) | None => return Err(error),
                },
            }
        }
        Ok(true)
    }

    /// The next command that has ended: its tag and result.
    pub(super) fn next(&mut self) -> Option<(u16, i32)> {
        let end = self.ring.completion().next()?;
        self.under_way -= 1;
        Some((end.user_data() as u16, end.result()))
    }

    /// Commands that have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// What the request of a tag is.
    pub(super) fn description(&self, tag: u16) -> [u8; DESCRIPTION] {
        assert!(tag < DEPTH, "the kernel names a tag that the queue does not have");
        let place = self.descriptions.cast::<[u8; DESCRIPTION]>();
        // SAFETY: it lies within the mapping, and the kernel does not write it while the request is not answered.
        unsafe { place.add(tag.into()).read_volatile() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.under_way > 0 {
            return;
        }
        // SAFETY: the mapping is this value's own, and nobody has a reference into it.
        let _ = unsafe { munmap(self.descriptions.cast(), MAPPED) };
        // SAFETY: neither is used again: this value ends here. The descriptor is closed after the ring.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            ManuallyDrop::drop(&mut self.queue);
        }
    }
}

/// Waits until commands may have ended.
pub(super) async fn arrived(bell: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = bell.readable().await?;
    match rustix::io::read(bell.get_ref(), &mut [0; 8]) {
        Ok(_) => Ok(()),
        Err(Errno::AGAIN) => {
            ready.clear_ready();
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
