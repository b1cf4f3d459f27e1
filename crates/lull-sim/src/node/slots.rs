//! The requests of an attachment's consumers that are not answered. Models `slots.rs` of `lull-initiator`: one slot from
//! submission to answer, where a request that is longer than the resource's
//! longest is, whose pieces the machine asks for.

use lull_proto::initiator::{Ask, Slot};
use lull_wire::{OpCode, RequestFlags};

/// What a consumer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its number in the history.
    pub request: u64,
    /// What to do.
    pub op: OpCode,
    /// How.
    pub flags: RequestFlags,
    /// The first sector.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What a write puts into the first one.
    pub content: u64,
}

/// A request in its slot.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Tells one tenant of a slot from the next.
    pub tenant: u64,
    /// What its consumer asked for.
    pub wanted: Wanted,
    /// The sectors of the present piece: how many are before it, and how many in it.
    pub before: u64,
    /// How many in it.
    pub length: u64,
    /// What was read, of the pieces so far.
    pub data: Vec<u64>,
    /// The present piece was sent, under this number.
    pub number: Option<u64>,
    /// A life before this one had sent it.
    pub again: bool,
    /// The target itself said that it failed.
    pub failed_there: bool,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    entries: Vec<Option<Entry>>,
    tenants: u64,
}

impl Entry {
    /// What the machine is asked for the present piece.
    pub fn ask(&self) -> Ask {
        let sector = u64::from(crate::disk::SECTOR);
        let Wanted { op, flags, first, .. } = self.wanted;
        let offset = (first + self.before) * sector;
        Ask { op, flags, offset, length: (self.length * sector) as u32 }
    }

    /// The present piece is done, and read this: the next is one that was never sent.
    pub fn go_on(&mut self, data: Vec<u64>, most: u64) {
        self.data.extend(data);
        self.before += self.length;
        self.length = (self.wanted.count - self.before).min(most);
        (self.number, self.again) = (None, false);
    }

    /// What a write's present piece puts into its first sector.
    pub fn content(&self) -> u64 {
        self.wanted.content + self.before
    }
}

impl Slots {
    /// Takes a request in; `most` sectors go into one piece.
    pub fn insert(&mut self, wanted: Wanted, most: u64) -> Slot {
        self.tenants += 1;
        let entry = Entry {
            tenant: self.tenants,
            wanted,
            before: 0,
            length: wanted.count.min(most),
            data: Vec::new(),
            number: None,
            again: false,
            failed_there: false,
        };
        let free = self.entries.iter().position(Option::is_none);
        let at = free.unwrap_or(self.entries.len());
        match free {
            Some(at) => self.entries[at] = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        Slot(at as u32)
    }

    /// What the machine is asked for a request that begins, and how many bytes are behind that.
    pub fn asked(&self, slot: Slot) -> (Ask, u64) {
        let begins = |entry: &Entry| {
            let rest = entry.wanted.count - entry.length;
            (entry.ask(), rest * u64::from(crate::disk::SECTOR))
        };
        self.get(slot).map_or((Ask::FLUSH, 0), begins)
    }

    /// The request in a slot.
    pub fn get(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot.0 as usize)?.as_ref()
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Frees a slot.
    pub fn remove(&mut self, slot: Slot) -> Option<Entry> {
        self.entries.get_mut(slot.0 as usize)?.take()
    }

    /// All that are taken.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().flatten()
    }

    /// How many are.
    pub fn taken(&self) -> usize {
        self.iter().count()
    }

    /// Empties them all.
    pub fn take_all(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries).into_iter().flatten().collect()
    }
}
