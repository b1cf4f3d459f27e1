//! Acknowledged changes that no flush covers: what a crash of the target could lose, in the order of their
//! acknowledgement [SAFE-1].

use super::cover::Cover;
use super::{Ask, Retain};
use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};
use core::ops::Range;

/// What an entry counts at least, in bytes: the log bounds entries too [SAFE-3].
const LEAST_COST: u64 = 256;
/// What a payload counts beyond its bytes: the header that the daemon keeps with it and what it is rounded up by, and the
/// entry here. With these the bound is one of all the memory that is taken.
const BESIDE: u64 = 128;
/// So many entries are looked at one by one.
const FEW: usize = 64;

/// The log of one attachment. Its payloads lie with the daemon, under the entries' places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Log {
    entries: VecDeque<Ask>,
    /// The place of the first entry; places are never reused.
    first: u64,
    /// The place behind the last entry.
    end: u64,
    /// What the entries count.
    cost: u64,
    /// What they change, in bytes.
    bytes: u64,
    /// With [`Retain::Elsewhere`] it has no entries: a place is a byte that was changed, and it only knows how many of
    /// them no flush covers.
    retain: Retain,
    index: Index,
}

/// Where the entries lie, once somebody has asked while there are many, and until there are none. It says nothing that the
/// entries do not.
#[derive(Clone, Debug, Default)]
struct Index(Option<Cover>);

impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Index {}

impl Hash for Index {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

fn range(ask: &Ask) -> Range<u64> {
    ask.offset..ask.end()
}

impl Log {
    pub fn new(retain: Retain) -> Self {
        let (entries, index) = (VecDeque::new(), Index(None));
        Self { entries, first: 0, end: 0, cost: 0, bytes: 0, retain, index }
    }

    /// Whether changes are kept here, to be replayed.
    pub fn keeps(&self) -> bool {
        self.retain != Retain::Elsewhere
    }

    /// Nobody is going to flush what was changed.
    pub fn forget(&mut self) {
        self.release(self.end);
    }

    /// A change that is retained elsewhere was answered.
    pub fn count(&mut self, ask: &Ask) {
        self.bytes += u64::from(ask.length);
        self.end += u64::from(ask.length);
    }

    /// The most that the entries may count; 0: nothing is retained.
    fn bound(&self) -> Option<u64> {
        match self.retain {
            Retain::UpTo(bound) => Some(bound),
            Retain::Elsewhere => None,
        }
    }

    /// What a change counts: its payload, where it has one, and what is kept beside it.
    pub fn cost_of(ask: &Ask) -> u64 {
        if ask.carries() { LEAST_COST.max(u64::from(ask.length) + BESIDE) } else { LEAST_COST }
    }

    /// Keeps a change; its place.
    pub fn push(&mut self, ask: Ask) -> u64 {
        self.cost += Self::cost_of(&ask);
        self.bytes += u64::from(ask.length);
        if let Some(cover) = &mut self.index.0 {
            cover.add(range(&ask));
        }
        self.entries.push_back(ask);
        self.end += 1;
        self.end - 1
    }

    /// Lets go of every entry before this place.
    pub fn release(&mut self, before: u64) -> bool {
        let from = self.first;
        if !self.keeps() {
            self.first = before.max(from);
            self.bytes = self.end - self.first;
            return false;
        }
        while self.first < before
            && let Some(ask) = self.entries.pop_front()
        {
            self.cost -= Self::cost_of(&ask);
            self.bytes -= u64::from(ask.length);
            if let Some(cover) = &mut self.index.0 {
                cover.remove(range(&ask));
            }
            self.first += 1;
        }
        if self.entries.is_empty() {
            self.index.0 = None;
        }
        self.first > from
    }

    pub fn get(&self, place: u64) -> Option<Ask> {
        let at = usize::try_from(place.checked_sub(self.first)?).ok()?;
        self.entries.get(at).copied()
    }

    /// The place of the first entry.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The place behind the last entry.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// How many changes; where they are retained elsewhere, whether there are any.
    pub fn len(&self) -> u64 {
        if self.keeps() { self.entries.len() as u64 } else { u64::from(!self.is_empty()) }
    }

    /// Where it is empty its places begin anew.
    #[cfg(feature = "renaming")]
    pub fn forget_places(&mut self) {
        let Self { entries: _, first, end, cost: _, bytes: _, retain: _, index: _ } = self;
        if first == end {
            (*first, *end) = (0, 0);
        }
    }

    /// What the entries count against the bound.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Bytes that the entries change.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a change of it lies where this one does. Those who never ask pay nothing for the answer.
    pub fn overlaps(&mut self, ask: &Ask) -> bool {
        if self.index.0.is_none() && self.entries.len() <= FEW {
            return self
                .entries
                .iter()
                .any(|kept| kept.offset < ask.end() && ask.offset < kept.end());
        }
        let entries = &self.entries;
        let cover = self.index.0.get_or_insert_with(|| {
            let mut cover = Cover::default();
            entries.iter().for_each(|kept| cover.add(range(kept)));
            cover
        });
        cover.meets(range(ask))
    }

    /// [SAFE-3] Whether a change is too large to be kept beside nothing else: it must be durable by itself.
    pub fn is_beyond(&self, ask: &Ask) -> bool {
        self.bound().is_some_and(|bound| Self::cost_of(ask) > bound)
    }

    /// [SAFE-3] Whether there is room for this much more.
    pub fn has_room(&self, more: u64) -> bool {
        self.bound().is_none_or(|bound| self.cost + more <= bound)
    }

    /// [SAFE-3] Whether it is time to flush: half of the room is left for what comes meanwhile.
    pub fn is_near_bound(&self) -> bool {
        self.bound().is_some_and(|bound| self.cost > bound / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_wire::{OpCode, RequestFlags};

    fn write(place: u64) -> Ask {
        let (op, flags) = (OpCode::Write, RequestFlags::none());
        // Scattered, and some of them over others.
        Ask { op, flags, offset: place * 7919 % 997 * 512, length: 1024 }
    }

    /// [SAFE-1] A log of many entries answers as one of few does, while entries come and go and after it was empty.
    #[test]
    fn what_lies_where_a_durable_write_does_is_found_among_many() {
        let mut log = Log::new(Retain::UpTo(1 << 30));
        for round in 0..3 {
            for place in 0..500 {
                log.push(write(place * 3 + round));
                if place % 5 == 4 {
                    log.release(log.first() + 2);
                }
                let asked = write(place * 11 + round);
                let lies = |kept: &Ask| kept.offset < asked.end() && asked.offset < kept.end();
                assert_eq!(log.overlaps(&asked), log.entries.iter().any(lies), "{asked:?}");
            }
            assert!(log.index.0.is_some(), "there are many");
            log.release(log.end());
            assert!(log.index.0.is_none() && !log.overlaps(&write(0)));
        }
    }
}
