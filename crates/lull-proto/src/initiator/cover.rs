//! Which bytes many ranges cover, without looking at each of them.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// Ranges that come and go. From a key on, up to the next one, each byte lies in so many of them; neighbours differ, and
/// nothing lies before the first key or from the last one on.
#[derive(Clone, Debug, Default)]
pub(super) struct Cover(BTreeMap<u64, u32>);

impl Cover {
    /// One more.
    pub fn add(&mut self, range: Range<u64>) {
        self.change(range, |count| *count += 1);
    }

    /// One that was added is gone.
    pub fn remove(&mut self, range: Range<u64>) {
        self.change(range, |count| *count -= 1);
    }

    fn change(&mut self, Range { start, end }: Range<u64>, change: impl Fn(&mut u32)) {
        if start >= end {
            return;
        }
        for at in [start, end] {
            let count = self.at(at);
            self.0.entry(at).or_insert(count);
        }
        self.0.range_mut(start..end).for_each(|(_, count)| change(count));
        for at in [start, end] {
            let before = self.0.range(..at).next_back().map_or(0, |(_, count)| *count);
            if self.0.get(&at) == Some(&before) {
                self.0.remove(&at);
            }
        }
    }

    /// In how many of them a byte lies.
    fn at(&self, byte: u64) -> u32 {
        self.0.range(..=byte).next_back().map_or(0, |(_, count)| *count)
    }

    /// Whether one of them has a byte of this range.
    pub fn meets(&self, Range { start, end }: Range<u64>) -> bool {
        // Where the first byte lies in none, the next key is the beginning of one.
        start < end && (self.at(start) > 0 || self.0.range(start + 1..end).next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        /// [SAFE-1] It answers as whoever looks at each of them.
        #[test]
        fn a_cover_answers_as_its_ranges_do(
            ranges in prop::collection::vec((0u64..40, 1u64..12), 1..40),
            kept in 0usize..20,
            asked in (0u64..50, 1u64..12),
        ) {
            let (mut cover, mut present) = (Cover::default(), Vec::new());
            for (start, length) in ranges {
                cover.add(start..start + length);
                present.push(start..start + length);
                if present.len() > kept {
                    cover.remove(present.remove(0));
                }
            }
            let asked = asked.0..asked.0 + asked.1;
            let meets = present.iter().any(|one| one.start < asked.end && asked.start < one.end);
            prop_assert_eq!(cover.meets(asked), meets);
            present.into_iter().for_each(|one| cover.remove(one));
            prop_assert!(cover.0.is_empty());
        }
    }
}
