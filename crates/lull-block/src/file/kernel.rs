//! System calls that rustix does not offer. **Unsafe module**: each call passes only plain values
//! or a pointer to a local that outlives the call.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `_IO(0x12, 119)` of linux/fs.h.
const BLKDISCARD: u32 = 0x1277;
/// `_IO(0x12, 127)` of linux/fs.h.
const BLKZEROOUT: u32 = 0x127f;

/// Tells a block device that the range is no longer needed.
pub(super) fn discard(device: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    range_call(device, BLKDISCARD, offset, length)
}

/// Has a block device write zeroes, its space kept.
pub(super) fn zero_out(device: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Errno> {
    range_call(device, BLKZEROOUT, offset, length)
}

fn range_call(device: BorrowedFd<'_>, call: u32, offset: u64, length: u64) -> Result<(), Errno> {
    let range = [offset, length];
    // SAFETY: both calls read two u64 from the pointer and keep it no longer than the call; `range`
    // is such a pair and lives until the end of this function. The descriptor is borrowed, hence
    // open. On anything but a block device the kernel answers ENOTTY.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), call as _, range.as_ptr()) };
    outcome(answer)
}

/// Begins to write all dirty pages of the file, without waiting for them. This mode alone of the
/// call looks at no earlier write-back error, so that none is lost here ([SAFE-4]).
pub(super) fn start_write_back(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: only plain values are passed; the descriptor is borrowed, hence open.
    let answer =
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    outcome(answer)
}

fn outcome(answer: i32) -> Result<(), Errno> {
    if answer == 0 {
        return Ok(());
    }
    let code = std::io::Error::last_os_error().raw_os_error();
    Err(code.map_or(Errno::IO, Errno::from_raw_os_error))
}
