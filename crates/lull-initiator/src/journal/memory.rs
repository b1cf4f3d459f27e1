//! Memory that a next life of this daemon can find. **Unsafe module**: one shared mapping of an anonymous file.
//!
//! Invariant of everything here: the mapping is `length` bytes long and the file behind it cannot become shorter, since
//! it is sealed; and nobody else writes to it while it exists, since whoever maps it holds the lock of the attachment's
//! state. A process that only keeps the file's descriptor maps nothing.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Without any of these the file could become shorter than its mapping.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The file and its mapping.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
    base: NonNull<u8>,
    length: usize,
}

impl Memory {
    /// Fresh and zeroed. `length`: a multiple of the page size; a page costs memory when it is first used.
    pub fn create(length: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("lull-log", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Self::map(file)
    }

    /// What a life before this one left behind.
    ///
    /// # Errors
    /// A file that is not sealed as this one would be, or is empty.
    pub fn map(file: OwnedFd) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        if !rustix::fs::fcntl_get_seals(&file)?.contains(SEALS) {
            return Err(invalid());
        }
        let size = rustix::fs::fstat(&file)?.st_size;
        let length = usize::try_from(size).map_err(|_| invalid())?;
        if length == 0 || isize::try_from(length).is_err() {
            return Err(invalid());
        }
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of this process. The file is
        // `length` bytes long and sealed, so that no access within it ever meets its end.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), length, access, flags, &file, 0) }?;
        Ok(Self { file, base: NonNull::new(base.cast()).ok_or_else(invalid)?, length })
    }

    /// Takes its pages now.
    ///
    /// # Errors
    /// What the kernel says, before Linux 5.14 that it does not know how.
    pub fn populate(&self) -> io::Result<()> {
        let advice = Advice::LinuxPopulateWrite;
        // SAFETY: the range is the mapping, which lives as long as `self`; its pages are made present, and what they hold stays.
        unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.length, advice) }?;
        Ok(())
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Some of it.
    pub fn bytes(&self, at: usize, length: usize) -> &[u8] {
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: the range is inside the mapping, which lives as long as `self` and is initialised by the kernel; it is
        // written through `&mut self` and by this process's `store`, which nobody calls while this borrow lasts.
        unsafe { slice::from_raw_parts(self.base.as_ptr().add(at), length) }
    }

    /// The same, to be written.
    pub fn bytes_mut(&mut self, at: usize, length: usize) -> &mut [u8] {
        assert!(at.checked_add(length).is_some_and(|end| end <= self.length), "inside the mapping");
        // SAFETY: as in `bytes`, and `self` is borrowed mutably for as long.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(at), length) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.length, "a word inside the mapping");
        // SAFETY: the word is inside the mapping and aligned, since the mapping begins on a page; the reference lives as
        // long as `self`, and no slice of `bytes` is kept over a `store`, which takes `&mut self`.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    /// A word.
    pub fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Stores a word behind everything that was written before. Whoever is killed between two stores has made all that
    /// come before in the program and none that come after.
    pub fn store(&mut self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Release);
        // What is written next must not move up: the word may say that what lies there is not to be read. That is the
        // compiler's affair only: no other thread looks, and a process that is killed has made its stores in order.
        compiler_fence(Ordering::SeqCst);
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no borrow of it is left.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "unmapping what was mapped");
    }
}
