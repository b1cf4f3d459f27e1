//! An open file or block device and its operations. They block unless their name says otherwise.

use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, XattrFlags};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::inspect::Kind;
use super::kernel;
use super::sysfs;
use crate::IoStatus;

const IDENTITY: &str = "user.lull.identity";

/// Page-aligned, so that it can be written past the page cache too.
#[repr(align(4096))]
struct Zeroes([u8; 256 << 10]);

static ZEROES: Zeroes = Zeroes([0; 256 << 10]);

/// The open file description that has the lock and does all I/O.
pub(super) struct Medium {
    file: OwnedFd,
    kind: Kind,
    direct: bool,
}

/// How an attempt ended that was not allowed to block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// All of it.
    Done,
    /// It would have blocked, or was done in part.
    WouldBlock,
    /// The file system never does this without blocking.
    Unsupported,
    /// It failed for good.
    Failed(IoStatus),
}

impl Medium {
    pub(super) fn new(file: OwnedFd, kind: Kind, direct: bool) -> Self {
        Self { file, kind, direct }
    }

    pub(super) fn direct(&self) -> bool {
        self.direct
    }

    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Fills the buffer from the page cache, if all of it is there.
    pub(super) fn read_nowait(&self, offset: u64, into: &mut [u8]) -> Attempt {
        let length = into.len();
        let mut parts = [IoSliceMut::new(into)];
        attempt(preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT), length)
    }

    /// Stores the data in the page cache, if that can be done without waiting.
    pub(super) fn write_nowait(&self, offset: u64, from: &[u8]) -> Attempt {
        let parts = [IoSlice::new(from)];
        attempt(pwritev2(&self.file, &parts, offset, ReadWriteFlags::NOWAIT), from.len())
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), IoStatus> {
        let mut done = 0;
        while done < into.len() {
            let rest = &mut into[done..];
            match rustix::io::pread(&self.file, rest, offset + done as u64) {
                // The size was fixed when the file was opened: somebody cut it since. The rest of
                // the buffer is another request's old data, so this must not pass for a success.
                Ok(0) => return Err(IoStatus::Io),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// `durable`: on stable storage when it returns; such a call can consume a write-back error.
    pub(super) fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), IoStatus> {
        let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let mut done = 0;
        while done < from.len() {
            let rest = [IoSlice::new(&from[done..])];
            match pwritev2(&self.file, &rest, offset + done as u64, flags) {
                Ok(0) => return Err(IoStatus::Io),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) if durable => return Err(durable_failure(errno)),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Makes all completed changes durable.
    pub(super) fn sync(&self) -> Result<(), IoStatus> {
        loop {
            match rustix::fs::fdatasync(&self.file) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(sync_failure(errno)),
            }
        }
    }

    /// Begins to write dirty pages. Failing to begin is no failure: the next sync writes them.
    pub(super) fn start_write_back(&self) {
        let _ = kernel::start_write_back(self.file.as_fd());
    }

    pub(super) fn discard(&self, offset: u64, length: u64) -> Result<(), IoStatus> {
        let outcome = match self.kind {
            Kind::Regular => self.allocate(
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                offset,
                length,
            ),
            Kind::Device => kernel::discard(self.file.as_fd(), offset, length),
        };
        match outcome {
            // It is advice: where it cannot be followed the old content stays, which is allowed.
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Has the kernel begin to read the range into the page cache, where there is one.
    pub(super) fn read_ahead(&self, offset: u64, length: u64) {
        if !self.direct {
            let length = NonZeroU64::new(length);
            // It is advice: what is not read now is read when it is asked for.
            let _ = rustix::fs::fadvise(&self.file, offset, length, Advice::WillNeed);
        }
    }

    /// `keep`: the range stays allocated. `fast`: rather not at all than by writing.
    pub(super) fn write_zeroes(
        &self,
        offset: u64,
        length: u64,
        keep: bool,
        fast: bool,
    ) -> Result<(), IoStatus> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let outcome = match (self.kind, keep) {
            (Kind::Regular, true) => self.allocate(zero, offset, length),
            // On a device too this reads as zeroes afterwards, or is refused.
            (_, false) => self.allocate(punch, offset, length),
            // It writes where the device cannot do it by itself, and does not say which.
            (Kind::Device, true) if fast => Err(Errno::OPNOTSUPP),
            (Kind::Device, true) => kernel::zero_out(self.file.as_fd(), offset, length),
        };
        let outcome = match (outcome, self.kind) {
            (Err(Errno::OPNOTSUPP), _) if fast => return Err(IoStatus::NotSupported),
            (Err(Errno::OPNOTSUPP), Kind::Device) => {
                kernel::zero_out(self.file.as_fd(), offset, length)
            }
            (outcome, _) => outcome,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP) => self.write_out_zeroes(offset, length),
            Err(errno) => Err(errno.into()),
        }
    }

    fn allocate(&self, how: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
        loop {
            match rustix::fs::fallocate(&self.file, how, offset, length) {
                Err(Errno::INTR) => {}
                outcome => return outcome,
            }
        }
    }

    fn write_out_zeroes(&self, offset: u64, length: u64) -> Result<(), IoStatus> {
        let piece = ZEROES.0.len() as u64;
        let mut done = 0;
        while done < length {
            let next = piece.min(length - done);
            self.write(offset + done, &ZEROES.0[..next as usize], false)?;
            done += next;
        }
        Ok(())
    }

    pub(super) fn identity(&self) -> Option<[u8; 16]> {
        if self.kind != Kind::Regular {
            return None;
        }
        let mut found = [0; 16];
        let length = rustix::fs::fgetxattr(&self.file, IDENTITY, &mut found[..]).ok()?;
        (length == found.len()).then_some(found)
    }

    pub(super) fn device(&self) -> Option<String> {
        let number = match self.kind {
            Kind::Regular => return None,
            Kind::Device => rustix::fs::fstat(&self.file).ok()?.st_rdev,
        };
        Some(sysfs::name(Path::new("/sys"), number).unwrap_or_else(|| sysfs::NAMELESS.to_owned()))
    }

    pub(super) fn set_identity(&self, identity: [u8; 16]) -> io::Result<()> {
        if self.kind != Kind::Regular {
            return Err(io::ErrorKind::Unsupported.into());
        }
        rustix::fs::fsetxattr(&self.file, IDENTITY, &identity, XattrFlags::empty())?;
        // Another open file of the same inode: syncing it cannot consume an error that a flush of
        // ours has yet to report ([SAFE-4]).
        let again = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let other = rustix::fs::open(again, flags, Mode::empty())?;
        Ok(rustix::fs::fsync(other)?)
    }
}

fn attempt(outcome: Result<usize, Errno>, length: usize) -> Attempt {
    match outcome {
        Ok(done) if done == length => Attempt::Done,
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Attempt::WouldBlock,
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Attempt::Unsupported,
        Err(errno) => Attempt::Failed(errno.into()),
    }
}

/// Whatever the kernel calls it: what was to be durable is not.
pub(super) fn sync_failure(_: Errno) -> IoStatus {
    IoStatus::WriteBackFailed
}

/// A durable write reports the failure of its own first half (nothing was lost) and that of its
/// write-back (something was) through the same number. Only what cannot come from write-back
/// counts as the former.
pub(super) fn durable_failure(errno: Errno) -> IoStatus {
    match errno {
        Errno::INVAL
        | Errno::NOMEM
        | Errno::NOSPC
        | Errno::DQUOT
        | Errno::FBIG
        | Errno::BADF
        | Errno::PERM
        | Errno::OPNOTSUPP => errno.into(),
        _ => IoStatus::WriteBackFailed,
    }
}

/// The smallest block, from `least` up to a page, that can really be read past the page cache;
/// `None` if none can.
pub(super) fn trial_block(file: &OwnedFd, least: u32) -> Result<Option<u32>, Errno> {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let mut page = Box::new(Page([0; 4096]));
    let mut block = least;
    while block as usize <= page.0.len() {
        match rustix::io::pread(file, &mut page.0[..block as usize], 0) {
            Ok(_) => return Ok(Some(block)),
            Err(Errno::INVAL) => block *= 2,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}
