//! Pooled payload memory: reserved once, bounded, page-aligned, never zeroed twice.

mod free_list;
mod memory;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use memory::{Arena, Slot};

pub(crate) use memory::Region;

use crate::MAX_PAYLOAD;

/// How many classes above the fitting one may serve a request when that one is empty. More would
/// let a crowd of small requests hold the few large buffers that a large request has to wait for.
const CLASSES_ABOVE: usize = 2;

/// Bytes and counts of the classes in a pool of [`DEFAULT_BUDGET`], smallest first.
const SHAPE: [(usize, usize); 7] = [
    (4 << 10, 2048),
    (16 << 10, 512),
    (64 << 10, 256),
    (256 << 10, 96),
    (1 << 20, 24),
    (4 << 20, 6),
    (MAX_PAYLOAD as usize, 2),
];

/// The bytes of a pool that serves a few busy resources: 160 MiB of address space, of which only
/// what was used at least once takes memory.
pub const DEFAULT_BUDGET: usize = 160 << 20;

/// A bounded supply of payload memory. Clones share it.
#[derive(Clone)]
pub struct Pool {
    arena: Arc<Arena>,
}

impl Pool {
    /// Reserves about `budget` bytes of address space, divided into size classes from 4 KiB to
    /// [`MAX_PAYLOAD`]; each class has at least one buffer, so the least is about 38 MiB.
    ///
    /// # Errors
    /// What the kernel says when the address space cannot be had.
    pub fn new(budget: usize) -> io::Result<Self> {
        let scale = |count: usize| {
            let share = count as u128 * budget as u128 / DEFAULT_BUDGET as u128;
            usize::try_from(share).unwrap_or(usize::MAX).max(1)
        };
        Self::with_classes(&SHAPE.map(|(size, count)| (size, scale(count))))
    }

    /// Reserves `(size in bytes, number of buffers)` for each class. Sizes are rounded up to
    /// 4 KiB; order does not matter.
    ///
    /// # Errors
    /// `InvalidInput` when a size or a count is zero or too large; else what the kernel says.
    pub fn with_classes(classes: &[(usize, usize)]) -> io::Result<Self> {
        Ok(Self { arena: Arc::new(Arena::reserve(classes)?) })
    }

    /// Takes memory for the first `bytes` of it now, those of the smallest classes, so that their first use takes none.
    ///
    /// # Errors
    /// What the kernel says, before Linux 5.14 that it does not know how.
    pub fn populate(&self, bytes: usize) -> io::Result<()> {
        self.arena.populate(bytes)
    }

    /// A buffer of exactly `len` bytes with any content, or `None` while there is none free (or
    /// when `len` exceeds [`Pool::largest`], where there never will be one).
    #[must_use]
    pub fn take(&self, len: usize) -> Option<Buffer> {
        if len == 0 {
            return Some(Buffer::empty());
        }
        let classes = self.arena.classes();
        let fitting = classes.iter().position(|&size| size >= len)?;
        (fitting..classes.len().min(fitting + CLASSES_ABOVE + 1))
            .find_map(|class| Arena::take(&self.arena, class))
            .map(|slot| Buffer { slot: Some(slot), len })
    }

    /// Waits until some buffer was given back after this call (not: after the first poll). The
    /// sure way to wait is to make this future, then try [`Pool::take`] once more, then await it;
    /// [`Pool::take_waiting`] does just that.
    pub fn freed(&self) -> impl Future<Output = ()> + Send + '_ {
        self.arena.freed()
    }

    /// A buffer of exactly `len` bytes with any content, as soon as there is one; `None` when
    /// `len` exceeds [`Pool::largest`]. Waiters are not served in order.
    pub async fn take_waiting(&self, len: usize) -> Option<Buffer> {
        if len > self.largest() {
            return None;
        }
        loop {
            if let Some(buffer) = self.take(len) {
                return Some(buffer);
            }
            let freed = self.freed();
            if let Some(buffer) = self.take(len) {
                return Some(buffer);
            }
            freed.await;
        }
    }

    /// How many wait for a buffer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.arena.waiting()
    }

    /// The longest buffer that exists here, in bytes.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.arena.classes().last().copied().unwrap_or(0)
    }

    /// Bytes reserved in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.arena.capacity()
    }

    /// Bytes of the buffers now taken, each counted with its class's size.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.arena.in_use()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("capacity", &self.capacity())
            .field("in_use", &self.in_use())
            .finish()
    }
}

/// A piece of payload memory. It begins on a page boundary, holds whatever its last user left
/// until it is written, and returns to its pool when dropped.
pub struct Buffer {
    slot: Option<Slot>,
    len: usize,
}

impl Buffer {
    /// No bytes, from no pool.
    #[must_use]
    pub fn empty() -> Self {
        Self { slot: None, len: 0 }
    }

    /// `len` bytes of no pool that others share, all zero: for whoever must not wait for one, which is as costly as a mapping
    /// of its own.
    ///
    /// # Errors
    /// What the kernel says when the memory cannot be had.
    pub fn alone(len: usize) -> io::Result<Self> {
        let own = Pool::with_classes(&[(len.max(1), 1)])?;
        Ok(own.take(len).unwrap_or_default())
    }

    /// The memory that buffers of this one's pool with short content are from; `None` if it is from
    /// no pool.
    pub(crate) fn region(&self) -> Option<Region> {
        self.slot.as_ref().map(Slot::region)
    }

    /// Bytes of its pool that nobody else has meanwhile: those of its class.
    #[must_use]
    pub fn footprint(&self) -> usize {
        self.slot.as_ref().map_or(0, |slot| slot.bytes().len())
    }

    /// Forgets the bytes from `len` on; without effect if there are not as many.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::empty()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.slot {
            Some(slot) => &slot.bytes()[..self.len],
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.slot {
            Some(slot) => &mut slot.bytes_mut()[..self.len],
            None => &mut [],
        }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}
