//! The pool's memory itself. **Unsafe module**: one anonymous mapping, handed out in slots.
//!
//! Invariant of everything here: a slot's bytes belong to the one [`Slot`] that holds its number,
//! and a number is either in its class's free list or in exactly one `Slot`. Each `Slot` keeps the
//! mapping alive through its `Arc`.

use std::future::Future;
use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use tokio::sync::Notify;

use super::free_list::FreeList;

/// Every slot begins on such a boundary, which is enough for direct I/O on any usual device.
const ALIGNMENT: usize = 4096;

/// One mapping, divided into classes of slots.
pub(super) struct Arena {
    base: NonNull<u8>,
    len: usize,
    /// Slot sizes in bytes, ascending; index = class.
    sizes: Box<[usize]>,
    /// Where each class begins in the mapping, and which of its slots are free.
    classes: Box<[(usize, FreeList)]>,
    /// How many futures of `freed` exist: nobody is woken, at no cost, while there are none.
    waiting: AtomicUsize,
    freed: Notify,
}

// SAFETY: `base` is only turned into references through a `Slot`, which has its range for itself
// by the module's invariant; all other fields are Send and Sync themselves.
unsafe impl Send for Arena {}
// SAFETY: as above; through `&Arena` only atomics and unchanging values are reached.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn reserve(classes: &[(usize, usize)]) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let mut sorted = classes.to_vec();
        sorted.sort_unstable();
        let mut len = 0usize;
        let mut lists = Vec::with_capacity(sorted.len());
        for (size, count) in &mut sorted {
            *size = size.checked_next_multiple_of(ALIGNMENT).ok_or_else(invalid)?;
            let slots = u32::try_from(*count).map_err(|_| invalid())?;
            if *size == 0 || slots == 0 || slots == u32::MAX {
                return Err(invalid());
            }
            let bytes = size.checked_mul(*count).ok_or_else(invalid)?;
            let start = len;
            len = len.checked_add(bytes).ok_or_else(invalid)?;
            lists.push((start, FreeList::full(slots)));
        }
        if len == 0 || isize::try_from(len).is_err() {
            return Err(invalid());
        }
        // SAFETY: a fresh anonymous private mapping at an address of the kernel's choice aliases
        // nothing. NORESERVE: a page costs memory when it is first used, not now.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or_else(invalid)?,
            len,
            sizes: sorted.iter().map(|(size, _)| *size).collect(),
            classes: lists.into(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    pub(super) fn populate(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.next_multiple_of(ALIGNMENT).min(self.len);
        // SAFETY: the range lies in the mapping, which lives as long as `self`; its pages are made present, and what
        // slots of it hold stays as it is.
        unsafe {
            rustix::mm::madvise(self.base.as_ptr().cast(), bytes, Advice::LinuxPopulateWrite)
        }?;
        Ok(())
    }

    pub(super) fn classes(&self) -> &[usize] {
        &self.sizes
    }

    pub(super) fn capacity(&self) -> usize {
        self.len
    }

    pub(super) fn in_use(&self) -> usize {
        let taken = self.classes.iter().map(|(_, list)| list.taken());
        self.sizes.iter().zip(taken).map(|(size, n)| size * n).sum()
    }

    /// A free slot of the class. An associated function because the slot keeps the arena alive.
    pub(super) fn take(arena: &Arc<Self>, class: usize) -> Option<Slot> {
        let (start, list) = &arena.classes[class];
        let number = list.pop()?;
        let offset = start + number as usize * arena.sizes[class];
        // SAFETY: the list holds only numbers below its class's count, so that the slot lies
        // inside the mapping, which is shorter than `isize::MAX`.
        let start = unsafe { arena.base.add(offset) };
        Some(Slot { arena: Arc::clone(arena), class, number, start })
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn freed(&self) -> impl Future<Output = ()> + Send + '_ {
        /// Counted from its creation on, so that a slot freed before the first poll is noticed.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(&self.waiting);
        let notified = self.freed.notified();
        async move {
            let _waiting = waiting;
            notified.await;
        }
    }
}

/// The slots of the smallest class: what is worth lending to a kernel for good, since the cost of
/// lending per request counts most where requests are short. Keeps the mapping while it exists.
pub(crate) struct Region {
    arena: Arc<Arena>,
    len: usize,
}

impl Region {
    /// Where it begins. Everybody who writes there owns the slot in question.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.arena.base
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether these bytes lie inside.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        let from = self.start().as_ptr() as usize;
        let at = bytes.as_ptr() as usize;
        at >= from && at + bytes.len() <= from + self.len
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `reserve` with this length, and no `Slot` is left, since
        // each of them holds an `Arc` of this arena.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "unmapping what was mapped");
    }
}

/// The owner of one slot's bytes.
pub(super) struct Slot {
    arena: Arc<Arena>,
    class: usize,
    number: u32,
    start: NonNull<u8>,
}

// SAFETY: a `Slot` owns its bytes like a `Box<[u8]>` does; the arena is Sync.
unsafe impl Send for Slot {}
// SAFETY: `&Slot` gives only shared access to the bytes.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` and the class's size lie inside the mapping, which lives as long as
        // `self.arena`; its bytes are initialised (zeroed by the kernel, later written); this slot
        // is their only owner and is borrowed for the result's lifetime.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.arena.sizes[self.class]) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the slot is borrowed mutably for the result's lifetime.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.arena.sizes[self.class]) }
    }

    /// The smallest class of the arena that the slot is from.
    pub(super) fn region(&self) -> Region {
        let end = self.arena.classes.get(1).map_or(self.arena.len, |(start, _)| *start);
        Region { arena: Arc::clone(&self.arena), len: end }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.arena.classes[self.class].1.push(self.number);
        if self.arena.waiting.load(Ordering::SeqCst) > 0 {
            self.arena.freed.notify_waiters();
        }
    }
}
