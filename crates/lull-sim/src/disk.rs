//! A disk with the page cache of its operating system: what is written is seen at once and kept from a sync on.
//!
//! Models a file or a block device under `lull-block`: a process that dies leaves the cache behind, an operating system
//! that dies takes it along, and any sector of it may have been written back before. A sync that fails is reported once,
//! and its pages are dropped.

use crate::chance::Chance;
use lull_proto::MonoTime;

/// Bytes of a sector: what is written as a whole or not at all.
pub const SECTOR: u32 = 512;

/// One change that is in the cache only.
#[derive(Clone, Copy, Debug)]
struct Dirty {
    at: u64,
    content: u64,
    request: u64,
}

#[derive(Clone, Debug, Default)]
struct Sector {
    stable: u64,
    content: u64,
    dirty: Vec<Dirty>,
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    sectors: Vec<Sector>,
    /// Counts changes.
    clock: u64,
    /// How many of the next syncs fail.
    pub syncs_fail: u32,
    /// Syncs do not end until then.
    pub hangs_until: MonoTime,
    /// Every read and write fails for now.
    pub fails: bool,
    /// Whether pages were dropped since it was opened.
    pub dropped: bool,
    /// Whether anything failed on it since it was opened.
    pub failed: bool,
    /// Whether anything failed before that: an answer that says so may still be on its way.
    pub failed_before: bool,
}

/// How an operating system dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing of the cache reached the medium.
    Bare,
    /// Each sector by itself did or did not.
    Torn,
}

impl Disk {
    /// A disk full of zeroes.
    pub fn new(sectors: usize) -> Self {
        Self {
            sectors: vec![Sector::default(); sectors],
            clock: 0,
            syncs_fail: 0,
            hangs_until: MonoTime(0),
            fails: false,
            dropped: false,
            failed: false,
            failed_before: false,
        }
    }

    /// How many sectors.
    pub fn sectors(&self) -> u64 {
        self.sectors.len() as u64
    }

    /// What the cache and the medium hold together.
    pub fn read(&self, first: u64, count: u64) -> Vec<u64> {
        self.range(first, count).map(|at| self.sectors[at].content).collect()
    }

    /// Puts `content` into one sector, for a request.
    pub fn write(&mut self, sector: u64, content: u64, request: u64) {
        self.clock += 1;
        let at = self.clock;
        if let Some(sector) = self.sectors.get_mut(sector as usize) {
            sector.content = content;
            sector.dirty.push(Dirty { at, content, request });
        }
    }

    fn range(&self, first: u64, count: u64) -> std::ops::Range<usize> {
        let end = (first + count).min(self.sectors());
        first.min(end) as usize..end as usize
    }

    /// What a sync that begins now will cover.
    pub fn mark(&self) -> u64 {
        self.clock
    }

    /// A sync of these sectors that began at `mark` ends; whether it succeeds.
    pub fn sync(&mut self, mark: u64, first: u64, count: u64) -> bool {
        let fails = self.syncs_fail > 0;
        if fails {
            self.syncs_fail -= 1;
            self.dropped = true;
            self.failed = true;
        }
        let range = self.range(first, count);
        for sector in &mut self.sectors[range] {
            let covered = sector.dirty.iter().take_while(|dirty| dirty.at <= mark).count();
            if covered > 0 {
                let last = sector.dirty[covered - 1].content;
                sector.dirty.drain(..covered);
                // Dropped pages are still seen, until the cache forgets them.
                sector.stable = if fails { sector.stable } else { last };
            }
        }
        !fails
    }

    /// The system writes back some of it by itself.
    pub fn write_back(&mut self, chance: &mut Chance) {
        for sector in &mut self.sectors {
            if let Some(last) = sector.dirty.last().copied()
                && chance.one_in(2)
            {
                sector.stable = last.content;
                sector.dirty.clear();
            }
        }
    }

    /// The cache forgets clean pages, those that a failed sync dropped among them.
    pub fn evict(&mut self) {
        for sector in &mut self.sectors {
            if sector.dirty.is_empty() {
                sector.content = sector.stable;
            }
        }
    }

    /// The operating system dies.
    pub fn lose_power(&mut self, death: Death, chance: &mut Chance) {
        for sector in &mut self.sectors {
            if death == Death::Torn && !sector.dirty.is_empty() {
                let kept = chance.below(sector.dirty.len() as u64 + 1) as usize;
                if kept > 0 {
                    sector.stable = sector.dirty[kept - 1].content;
                }
            }
            sector.dirty.clear();
            sector.content = sector.stable;
        }
    }

    /// A new process opens it: errors are told anew.
    pub fn open(&mut self) {
        self.dropped = false;
        self.failed_before |= self.failed;
        self.failed = false;
    }

    /// A request whose change is in the cache only, of those that `counts`.
    /// It is given the request and what that put there.
    pub fn unsynced(&self, counts: impl Fn(u64, u64) -> bool) -> Option<u64> {
        // What the medium holds already loses nothing by being written once more.
        let missing = |sector: &Sector, dirty: &Dirty| sector.stable != dirty.content;
        let each = |sector: &Sector| {
            let mut all = sector.dirty.iter().filter(|dirty| missing(sector, dirty));
            all.find(|dirty| counts(dirty.request, dirty.content)).map(|dirty| dirty.request)
        };
        self.sectors.iter().find_map(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let mut chance = Chance::new(3);
        for death in [Death::Bare, Death::Torn] {
            let mut disk = Disk::new(4);
            disk.write(1, 10, 1);
            let mark = disk.mark();
            disk.write(1, 11, 2);
            assert!(disk.sync(mark, 0, 4));
            disk.write(2, 12, 3);
            assert_eq!(disk.read(0, 4), [0, 11, 12, 0]);
            disk.lose_power(death, &mut chance);
            let left = disk.read(1, 2);
            assert!([10, 11].contains(&left[0]) && [0, 12].contains(&left[1]), "{left:?}");
            assert!(death == Death::Torn || left == [10, 0]);
        }
    }

    #[test]
    fn a_failed_sync_is_told_once_and_drops_what_it_should_have_kept() {
        // [SAFE-4] The next one succeeds and means nothing.
        let mut disk = Disk::new(1);
        disk.write(0, 5, 1);
        disk.syncs_fail = 1;
        assert!(!disk.sync(disk.mark(), 0, 1));
        assert!(disk.sync(disk.mark(), 0, 1));
        assert_eq!(disk.read(0, 1), [5], "the page is still there");
        disk.evict();
        assert_eq!(disk.read(0, 1), [0], "and was never written");
    }
}
