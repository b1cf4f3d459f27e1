//! A split ring, as its device sees it: heads of chains that the guest makes available, heads that are used.
//!
//! The guest writes the available part whenever it likes, and may be hostile: what is read of it is a number to be
//! checked, never a promise.

use std::sync::atomic::{Ordering, fence};

use super::memory::{Fault, Memory};

/// The most descriptors of a ring.
pub const MOST_DESCRIPTORS: u16 = 1024;

/// The guest has said that it looks itself, where events have no index.
const NO_INTERRUPT: u16 = 1;

/// Where the parts of a ring are, in the guest's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors; a power of two up to [`MOST_DESCRIPTORS`].
    pub size: u16,
    /// Their table.
    pub descriptors: u64,
    /// The heads that are available.
    pub available: u64,
    /// Those that are used.
    pub used: u64,
}

impl Layout {
    /// Whether all of it is in the guest's memory.
    ///
    /// # Errors
    /// It is not, or no ring has this size.
    pub fn check(&self, memory: &Memory) -> Result<(), Fault> {
        let size = usize::from(self.size);
        if !self.size.is_power_of_two() || self.size > MOST_DESCRIPTORS {
            return Err(Fault::Ring("a ring of an impossible size"));
        }
        memory.check(self.descriptors, 16 * size)?;
        memory.check(self.available, 6 + 2 * size)?;
        memory.check(self.used, 6 + 8 * size)
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index & (self.size - 1))
    }
}

/// How far a ring is.
#[derive(Debug)]
pub struct Ring {
    layout: Layout,
    /// Both sides say from which index on they want to hear of news.
    event_index: bool,
    /// The index of the next head to be taken.
    next: u16,
    /// As far as the guest was last seen to have come.
    seen: u16,
    /// The index of the next head to be used, and how far the guest knows of that.
    used: u16,
    told: u16,
}

impl Ring {
    /// A ring of which `next` is the next head to be taken. Heads before it may be taken and not used.
    ///
    /// # Errors
    /// It is not in the guest's memory.
    pub fn begin(
        layout: Layout,
        memory: &Memory,
        event_index: bool,
        next: u16,
    ) -> Result<Ring, Fault> {
        let used = Self::used_index(&layout, memory)?;
        Ok(Ring { layout, event_index, next, seen: next, used, told: used })
    }

    /// How many heads the guest knows to be used.
    ///
    /// # Errors
    /// It is not in the guest's memory.
    pub fn used_index(layout: &Layout, memory: &Memory) -> Result<u16, Fault> {
        layout.check(memory)?;
        memory.load(layout.used + 2)
    }

    /// The index of the next head to be taken.
    pub fn next(&self) -> u16 {
        self.next
    }

    /// Its table of descriptors.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The next head, if the guest has made one available.
    ///
    /// # Errors
    /// The guest has made more available than there can be.
    pub fn take(&mut self, memory: &Memory) -> Result<Option<u16>, Fault> {
        if self.seen == self.next {
            self.seen = memory.load(self.layout.available + 2)?;
            if self.seen.wrapping_sub(self.next) > self.layout.size {
                return Err(Fault::Ring("more is available than the ring holds"));
            }
            if self.seen == self.next {
                return Ok(None);
            }
        }
        let mut head = [0; 2];
        memory.read(self.layout.available + 4 + 2 * self.layout.slot(self.next), &mut head)?;
        let head = u16::from_le_bytes(head);
        if head >= self.layout.size {
            return Err(Fault::Ring("a head that is no descriptor"));
        }
        self.next = self.next.wrapping_add(1);
        Ok(Some(head))
    }

    /// Asks to be told of what comes next. False: something has come already.
    ///
    /// # Errors
    /// The ring has left the guest's memory.
    pub fn arm(&mut self, memory: &Memory) -> Result<bool, Fault> {
        if self.event_index {
            memory.store(self.layout.used + 4 + 8 * u64::from(self.layout.size), self.next)?;
        }
        // The guest stores its index and then looks at what is asked here; one of the two sees the other.
        fence(Ordering::SeqCst);
        Ok(memory.load(self.layout.available + 2)? == self.next)
    }

    /// Lays down a used head; the guest does not know yet.
    ///
    /// # Errors
    /// The ring has left the guest's memory.
    pub fn put(&mut self, memory: &Memory, head: u16, written: u32) -> Result<(), Fault> {
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&written.to_le_bytes());
        memory.write(self.layout.used + 4 + 8 * self.layout.slot(self.used), &element)?;
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    /// How many heads were laid down of which the guest does not know.
    pub fn untold(&self) -> u16 {
        self.used.wrapping_sub(self.told)
    }

    /// Lets the guest know of all that was laid down; the index that it sees now.
    ///
    /// # Errors
    /// The ring has left the guest's memory.
    pub fn publish(&mut self, memory: &Memory) -> Result<u16, Fault> {
        memory.store(self.layout.used + 2, self.used)?;
        Ok(self.used)
    }

    /// Behind [`Ring::publish`]: whether the guest wants to be woken for what it was let know of.
    ///
    /// # Errors
    /// The ring has left the guest's memory.
    pub fn wants_call(&mut self, memory: &Memory) -> Result<bool, Fault> {
        let (old, new) = (std::mem::replace(&mut self.told, self.used), self.used);
        fence(Ordering::SeqCst);
        if old == new {
            return Ok(false);
        }
        if !self.event_index {
            return Ok(memory.load(self.layout.available)? & NO_INTERRUPT == 0);
        }
        let event = memory.load(self.layout.available + 4 + 2 * u64::from(self.layout.size))?;
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }
}
