//! A medium with a cache, and what is known of it from outside: what was written, answered and flushed.

use super::setup::Wish;

/// One sector. Contents are numbers: 0 at first, then that of each write in the order in which they were sent first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sector {
    /// What is read.
    pub content: u8,
    /// What outlives a power cut.
    pub stable: u8,
    /// A sync has something to do.
    pub dirty: bool,
    /// The last write that was sent.
    pub sent: u8,
    /// The last one that was executed.
    pub executed: u8,
    /// The last one that each node's present consumers were told of.
    pub told: Vec<u8>,
    /// The last one that was told to be durable.
    pub flushed: u8,
}

/// The medium under a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Medium {
    /// Its sectors.
    pub sectors: Vec<Sector>,
    /// A sync failed in the present life.
    pub failed: bool,
}

impl Medium {
    /// An empty one for so many nodes.
    pub fn new(sectors: usize, nodes: usize) -> Self {
        let sector = Sector { told: vec![0; nodes], ..Sector::default() };
        Self { sectors: vec![sector; sectors], failed: false }
    }

    /// How many sectors these wishes touch.
    pub fn needed(wishes: &[Wish]) -> usize {
        let sector = |wish: &Wish| match *wish {
            Wish::Write(sector) | Wish::Durable(sector) => usize::from(sector) + 1,
            Wish::Flush => 1,
        };
        wishes.iter().map(sector).max().unwrap_or(1)
    }

    /// A write reaches the cache.
    pub fn write(&mut self, sector: usize, content: u8) {
        let sector = &mut self.sectors[sector];
        sector.content = content;
        sector.dirty = true;
        sector.executed = sector.executed.max(content);
    }

    /// Everything that is in the cache becomes durable.
    pub fn sync(&mut self) {
        for sector in &mut self.sectors {
            if std::mem::take(&mut sector.dirty) {
                sector.stable = sector.content;
            }
        }
    }

    /// The same for one sector.
    pub fn sync_one(&mut self, sector: usize) {
        let sector = &mut self.sectors[sector];
        if std::mem::take(&mut sector.dirty) {
            sector.stable = sector.content;
        }
    }

    /// A sync fails: what it should have kept is dropped, and the cache forgets it.
    pub fn drop_dirty(&mut self) {
        self.failed = true;
        self.lose();
    }

    /// The cache is lost.
    pub fn lose(&mut self) {
        for sector in &mut self.sectors {
            sector.dirty = false;
            sector.content = sector.stable;
        }
    }

    /// Whether nothing would be lost with the cache.
    pub fn is_durable(&self) -> bool {
        self.sectors.iter().all(|sector| sector.content == sector.stable)
    }
}
