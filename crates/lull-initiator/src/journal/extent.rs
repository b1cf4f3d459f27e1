//! What changes of a log come to, for people.

use lull_proto::initiator::Ask;

/// How many changes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many.
    pub changes: u64,
    /// What they changed, in bytes; what was changed twice counts twice.
    pub bytes: u64,
    /// From the first byte to behind the last.
    pub range: (u64, u64),
}

impl Extent {
    /// That of no change.
    pub const NONE: Self = Self { changes: 0, bytes: 0, range: (u64::MAX, 0) };

    /// That of all of these; `None`: there is none.
    pub fn of<'a>(changes: impl IntoIterator<Item = &'a Ask>) -> Option<Self> {
        let mut all = Self::NONE;
        changes.into_iter().for_each(|ask| all.add(ask));
        (all.changes > 0).then_some(all)
    }

    /// One more.
    pub fn add(&mut self, ask: &Ask) {
        let (from, to) = (ask.offset, ask.offset + u64::from(ask.length));
        self.changes += 1;
        self.bytes += u64::from(ask.length);
        self.range = (self.range.0.min(from), self.range.1.max(to));
    }
}
