//! Where changes are outstanding.

use std::collections::BTreeMap;

/// Ranges that do not overlap: each one's end by its beginning.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Enters a range unless a part of it is there already; says whether it did. [SAFE-3]
    pub(super) fn enter(&mut self, offset: u64, length: u32) -> bool {
        let end = offset + u64::from(length);
        // They do not overlap, so the last that begins before this ends is the one that ends last.
        let free =
            self.0.range(..end).next_back().is_none_or(|(_, other_end)| *other_end <= offset);
        if free {
            self.0.insert(offset, end);
        }
        free
    }

    /// Takes out the range that begins here.
    pub(super) fn leave(&mut self, offset: u64) {
        self.0.remove(&offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_range_enters_exactly_where_nothing_is(ranges in proptest::collection::vec((0..64u64, 1..16u32), 1..24)) {
            // [SAFE-3]
            let mut entered = Ranges::default();
            let mut blocks = [false; 96];
            for (offset, length) in ranges {
                let wanted = offset as usize..offset as usize + length as usize;
                let free = blocks[wanted.clone()].iter().all(|taken| !taken);
                proptest::prop_assert_eq!(entered.enter(offset, length), free);
                if free {
                    blocks[wanted].fill(true);
                }
            }
        }
    }

    #[test]
    fn a_range_that_left_is_free() {
        let mut ranges = Ranges::default();
        assert!(ranges.enter(8, 8) && ranges.enter(0, 8) && !ranges.enter(4, 8));
        ranges.leave(0);
        assert!(!ranges.enter(4, 8) && ranges.enter(4, 4));
    }
}
