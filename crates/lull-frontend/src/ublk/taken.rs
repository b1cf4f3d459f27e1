//! Requests that were taken from the kernel and have not come to a device.

use super::abi::DEPTH;
use crate::nbd::{Closer, Halfway};

/// They, by their tags. [CONN-5] They are accepted, though they wait for memory: until a device has them there is more to be
/// asked for, and whoever ends in good order waits for that.
#[derive(Debug)]
pub(super) struct Taken {
    /// A bit for each.
    tags: u128,
    halfway: Option<Halfway>,
}

impl Taken {
    /// Those of these bits, which somebody before has taken.
    pub(super) fn new(tags: u128, closer: &Closer) -> Self {
        Self { tags, halfway: (tags != 0).then(|| closer.halfway()) }
    }

    /// One more, of this bit.
    pub(super) fn comes(&mut self, bit: u128, closer: &Closer) {
        self.tags |= bit;
        self.halfway.get_or_insert_with(|| closer.halfway());
    }

    /// The tag of the next one to be handed out.
    pub(super) fn first(&self) -> Option<u16> {
        let tag = self.tags.trailing_zeros() as u16;
        (tag < DEPTH).then_some(tag)
    }

    /// A device has it, or it is answered.
    pub(super) fn goes(&mut self, tag: u16) {
        self.tags &= !(1 << tag);
        if self.tags == 0 {
            self.halfway = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [CONN-5] Whoever detaches waits for what was taken, and has no memory yet.
    #[test]
    fn what_waits_to_be_handed_out_is_not_whole() {
        let closer = Closer::new();
        assert_eq!(Taken::new(0, &closer).first(), None);
        let mut taken = Taken::new(1 << 127, &closer);
        taken.comes(1 << 3, &closer);
        closer.close();
        for tag in [3, 127] {
            assert!(!closer.is_whole(), "{tag} is left");
            assert_eq!(taken.first(), Some(tag));
            taken.goes(tag);
        }
        assert_eq!(taken.first(), None);
        assert!(closer.is_whole());
    }
}
