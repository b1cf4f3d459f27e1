//! The record of requests in flight, in memory that the monitor keeps: the next life of this process finds in it what
//! the guest has asked and was not told the end of.
//!
//! Its layout for split rings, and the order of the stores, are the protocol's. What is stored is stored in the order of the
//! program, and a process that is killed has made its stores in that order; nobody else looks while it lives.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use rustix::fs::{MemfdFlags, SealFlags};
use vm_memory::mmap::MmapRegion;
use vm_memory::{AtomicAccess, Bytes, VolatileMemory as _};

use super::memory::{Fault, map};
use super::ring::MOST_DESCRIPTORS;

/// Bytes before a queue's entries, and of an entry.
const HEAD: u64 = 16;
const ENTRY: u64 = 16;
/// Behind all queues: whether the guest has chosen to write through. Ours alone.
const TAIL: u64 = 64;
const VERSION: u16 = 1;

/// The record of all queues.
#[derive(Debug)]
pub struct Record {
    map: MmapRegion,
    queues: u16,
    size: u16,
    /// Every store, in order.
    #[cfg(test)]
    stores: std::cell::RefCell<Vec<tests::Store>>,
}

fn of_queue(size: u16) -> u64 {
    (HEAD + ENTRY * u64::from(size)).next_multiple_of(64)
}

/// How long the record is for so many queues of this size, in bytes.
pub fn length(queues: u16, size: u16) -> u64 {
    u64::from(queues) * of_queue(size) + TAIL
}

impl Record {
    /// A fresh one, and the file that it lies in.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn create(queues: u16, size: u16) -> std::io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("lull-inflight", flags)?;
        rustix::fs::ftruncate(&file, length(queues, size))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file)
    }

    /// The one that the monitor kept.
    ///
    /// # Errors
    /// It is too short, or cannot be mapped.
    pub fn open(
        file: OwnedFd,
        bytes: u64,
        offset: u64,
        queues: u16,
        size: u16,
    ) -> Result<Record, Fault> {
        if !(1..=MOST_DESCRIPTORS).contains(&size) || bytes < length(queues, size) {
            return Err(Fault::Ring("a record of requests in flight that is too short"));
        }
        let map = map(&File::from(file), offset, bytes)?;
        Ok(Record {
            map,
            queues,
            size,
            #[cfg(test)]
            stores: Default::default(),
        })
    }

    fn load<T: AtomicAccess + Default>(&self, at: u64) -> T {
        let slice = self.map.as_volatile_slice();
        // Inside the mapping and aligned, as `open` and the layout see to.
        slice.load(at as usize, Ordering::Relaxed).unwrap_or_default()
    }

    /// Stores behind everything that was stored before; a later store is not made before it.
    fn store<T: AtomicAccess>(&self, at: u64, value: T) {
        #[cfg(test)]
        self.stores.borrow_mut().push(tests::Store::Record(at, value.as_slice().to_vec()));
        let stored = self.map.as_volatile_slice().store(value, at as usize, Ordering::Release);
        debug_assert!(stored.is_ok(), "inside the mapping");
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }

    fn tail(&self) -> u64 {
        length(self.queues, self.size) - TAIL
    }

    /// Whether the guest has chosen to write through; `None`: it never chose.
    pub fn writes_through(&self) -> Option<bool> {
        match self.load::<u64>(self.tail()) {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        }
    }

    /// Notes what the guest has chosen.
    pub fn set_writes_through(&self, through: bool) {
        self.store(self.tail(), if through { 2u64 } else { 1 });
    }
}

/// The part of one queue.
#[derive(Debug)]
pub struct Track {
    record: Rc<Record>,
    base: u64,
    counter: u64,
}

const VERSION_AT: u64 = 8;
const DESCRIPTORS_AT: u64 = 10;
const LAST_AT: u64 = 12;
const USED_AT: u64 = 14;
const NEXT_AT: u64 = 6;
const COUNTER_AT: u64 = 8;

impl Track {
    /// Of the queue with this number and so many descriptors; `None` where the record has no room for it.
    pub fn new(record: &Rc<Record>, queue: u16, size: u16) -> Option<Track> {
        let fits = queue < record.queues && size <= record.size;
        let base = u64::from(queue) * of_queue(record.size);
        fits.then(|| Track { record: Rc::clone(record), base, counter: 0 })
    }

    fn entry(&self, head: u16) -> u64 {
        self.base + HEAD + ENTRY * u64::from(head)
    }

    fn half(&self, at: u64) -> u16 {
        self.record.load(self.base + at)
    }

    /// What was in flight when the record was left, in the order in which it was asked; `used` is the index up to which
    /// the guest knows its requests to be done.
    pub fn recover(&mut self, used: u16) -> Vec<u16> {
        let size = self.record.size;
        if self.half(VERSION_AT) != VERSION {
            self.record.store(self.base + DESCRIPTORS_AT, size);
            self.record.store(self.base + USED_AT, used);
            self.record.store(self.base + VERSION_AT, VERSION);
        }
        // The guest was told of these, and then the process died before it had cleared them.
        let told = used.wrapping_sub(self.half(USED_AT));
        if told <= size {
            let mut head = self.half(LAST_AT);
            for _ in 0..told {
                if head >= size {
                    break;
                }
                self.record.store(self.entry(head), 0u8);
                head = self.record.load(self.entry(head) + NEXT_AT);
            }
        }
        self.record.store(self.base + USED_AT, used);
        let is_in_flight = |head: &u16| self.record.load::<u8>(self.entry(*head)) == 1;
        let mut found: Vec<(u64, u16)> = (0..size)
            .filter(is_in_flight)
            .map(|head| (self.record.load(self.entry(head) + COUNTER_AT), head))
            .collect();
        found.sort_unstable();
        self.counter = found.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        found.into_iter().map(|(_, head)| head).collect()
    }

    /// A request was taken.
    pub fn begin(&mut self, head: u16) {
        self.record.store(self.entry(head) + COUNTER_AT, self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.record.store(self.entry(head), 1u8);
    }

    /// Its used head is laid down, and will be told with others.
    pub fn end(&mut self, head: u16) {
        let last = self.half(LAST_AT);
        self.record.store(self.entry(head) + NEXT_AT, last);
        self.record.store(self.base + LAST_AT, head);
    }

    /// The guest was told of the `count` heads that ended last; it knows them to be used up to `used`.
    pub fn told(&mut self, count: u16, used: u16) {
        let mut head = self.half(LAST_AT);
        for _ in 0..count.min(self.record.size) {
            if head >= self.record.size {
                break;
            }
            self.record.store(self.entry(head), 0u8);
            head = self.record.load(self.entry(head) + NEXT_AT);
        }
        self.record.store(self.base + USED_AT, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SIZE: u16 = 8;

    /// What a process does to memory that others keep.
    #[derive(Debug, Clone)]
    pub enum Store {
        /// Into the record.
        Record(u64, Vec<u8>),
        /// The index up to which the guest knows.
        Used(u16),
    }

    fn fresh() -> (OwnedFd, Rc<Record>) {
        let file = Record::create(1, SIZE).unwrap();
        let copy = file.try_clone().unwrap();
        (file, Rc::new(Record::open(copy, length(1, SIZE), 0, 1, SIZE).unwrap()))
    }

    /// What a life that begins behind these stores finds, twice: it may be killed as well while it looks.
    fn found_behind(stores: &[Store]) -> (Vec<u16>, u16) {
        let (file, record) = fresh();
        let mut used = u16::MAX - 2;
        for store in stores {
            match store {
                Store::Record(at, bytes) => _ = rustix::io::pwrite(&file, bytes, *at).unwrap(),
                Store::Used(index) => used = *index,
            }
        }
        let found = Track::new(&record, 0, SIZE).unwrap().recover(used);
        let its = record.stores.take();
        for count in 0..its.len() {
            let (file, record) = fresh();
            for store in stores.iter().chain(&its[..count]) {
                if let Store::Record(at, bytes) = store {
                    rustix::io::pwrite(&file, bytes, *at).unwrap();
                }
            }
            assert_eq!(Track::new(&record, 0, SIZE).unwrap().recover(used), found, "again");
        }
        (found, used)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A process may die behind any store. Whoever comes then asks again exactly what was taken and of whose end the guest
        /// does not know, in the order in which it was taken.
        #[test]
        fn a_death_behind_any_store_leaves_what_the_guest_waits_for(steps in prop::collection::vec(0..6u8, 1..40)) {
            let (_file, record) = fresh();
            let mut track = Track::new(&record, 0, SIZE).unwrap();
            let mut used = u16::MAX - 2;
            prop_assert!(track.recover(used).is_empty());
            let mut free: VecDeque<u16> = (0..SIZE).collect();
            let (mut taken, mut ended): (Vec<u16>, Vec<u16>) = Default::default();
            // What the guest waits for before and after the stores up to a place: between them it is one of the two.
            let mut before: Vec<u16> = Vec::new();
            let mut checked = 0;
            for step in steps {
                match step {
                    0..3 => if let Some(head) = free.pop_front() {
                        track.begin(head);
                        taken.push(head);
                    },
                    3 | 4 => {
                        let waiting: Vec<u16> =
                            taken.iter().copied().filter(|head| !ended.contains(head)).collect();
                        // Not always the oldest.
                        if let Some(head) = waiting.get(usize::from(step) % waiting.len().max(1)) {
                            track.end(*head);
                            ended.push(*head);
                        }
                    }
                    _ => {
                        used = used.wrapping_add(ended.len() as u16);
                        record.stores.borrow_mut().push(Store::Used(used));
                        track.told(ended.len() as u16, used);
                        taken.retain(|head| !ended.contains(head));
                        free.extend(ended.drain(..));
                    }
                }
                let stores = record.stores.borrow().clone();
                for count in checked..=stores.len() {
                    let (found, knows) = found_behind(&stores[..count]);
                    let told = knows == used;
                    prop_assert!(found == taken || (found == before && !(told && step == 5)), "{found:?} behind {count}");
                }
                checked = stores.len();
                before.clone_from(&taken);
            }
        }
    }
}
