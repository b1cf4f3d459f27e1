//! A lock-free stack of small numbers: which slots of one class are free.
//!
//! Last in, first out, so that the slot most likely still in the processor's cache is used next
//! and slots that a light load never needs are never touched.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

const NONE: u32 = u32::MAX;

/// Numbers from 0 to its length, each in the list or with exactly one owner.
pub(super) struct FreeList {
    /// The top number in the low half; in the high half a count of changes, without which a
    /// stale top could be mistaken for a fresh one.
    head: AtomicU64,
    next: Box<[AtomicU32]>,
    taken: AtomicUsize,
}

impl FreeList {
    /// All numbers below `count` free. `count` is less than `u32::MAX`.
    pub(super) fn full(count: u32) -> Self {
        let next = (1..=count)
            .map(|next| AtomicU32::new(if next == count { NONE } else { next }))
            .collect();
        Self {
            head: AtomicU64::new(if count == 0 { u64::from(NONE) } else { 0 }),
            next,
            taken: AtomicUsize::new(0),
        }
    }

    /// How many numbers have an owner now.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Makes the caller the owner of a free number.
    pub(super) fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Ordering::SeqCst);
        loop {
            let top = head as u32;
            if top == NONE {
                return None;
            }
            // May be stale if another thread takes `top` meanwhile; then the exchange fails.
            let next = self.next[top as usize].load(Ordering::Relaxed);
            match self.exchange(head, next) {
                Ok(()) => {
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    return Some(top);
                }
                Err(now) => head = now,
            }
        }
    }

    /// Gives a number back. Only its owner may.
    pub(super) fn push(&self, number: u32) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        let mut head = self.head.load(Ordering::SeqCst);
        loop {
            self.next[number as usize].store(head as u32, Ordering::Relaxed);
            match self.exchange(head, number) {
                Ok(()) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Sequentially consistent, because the waiters of a pool rely on seeing either a freed slot
    /// or being seen by the one who frees it.
    fn exchange(&self, head: u64, top: u32) -> Result<(), u64> {
        let changes = (head >> 32).wrapping_add(1) << 32;
        self.head
            .compare_exchange_weak(
                head,
                changes | u64::from(top),
                Ordering::SeqCst,
                Ordering::SeqCst,
            )
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::thread;

    #[test]
    fn every_number_has_one_owner_at_a_time() {
        let list = FreeList::full(8);
        let owned: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(number) = list.pop() else { continue };
                        let owners = owned[number as usize].fetch_add(1, Ordering::SeqCst);
                        assert_eq!(owners, 0, "{number} has two owners");
                        owned[number as usize].fetch_sub(1, Ordering::SeqCst);
                        list.push(number);
                    }
                });
            }
        });
        let all: HashSet<u32> = std::iter::from_fn(|| list.pop()).collect();
        assert_eq!(all.len(), 8);
        assert_eq!(list.taken(), 8);
    }

    #[test]
    fn the_slot_freed_last_is_used_next() {
        let list = FreeList::full(3);
        let first = list.pop().unwrap();
        let second = list.pop().unwrap();
        list.push(first);
        assert_eq!(list.pop(), Some(first));
        list.push(second);
        list.push(first);
        assert_eq!(list.pop(), Some(first));
    }
}
