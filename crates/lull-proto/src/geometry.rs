//! What a resource measures, as both sides reason about it.

use lull_wire::messages::Attached;
use lull_wire::{Features, MAX_PAYLOAD};

/// Size and limits of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Bytes; a multiple of `block`.
    pub size: u64,
    /// What offsets and lengths are multiples of: a power of two from 512 to 65,536.
    pub block: u32,
    /// The length that suits the medium best.
    pub preferred: u32,
    /// The longest request in bytes: from `block` to 32 MiB.
    pub max_length: u32,
    /// What it can do.
    pub features: Features,
}

impl Geometry {
    /// What ATTACHED says, if it makes sense.
    pub fn of(attached: &Attached) -> Option<Self> {
        let &Attached { size, block, preferred, max_length, features, .. } = attached;
        let sound = block.is_power_of_two()
            && (512..=65_536).contains(&block)
            && size.is_multiple_of(u64::from(block))
            && preferred.is_power_of_two()
            && preferred >= block
            && (block..=MAX_PAYLOAD).contains(&max_length);
        sound.then_some(Self { size, block, preferred, max_length, features })
    }

    /// Whether a consumer that was promised `promised` can go on with this [CONN-7].
    pub fn keeps(&self, promised: &Self) -> bool {
        let lost = |feature| promised.features.has(feature) && !self.features.has(feature);
        self.size >= promised.size
            && self.block <= promised.block
            && self.max_length >= promised.max_length
            && !lost(Features::DISCARD)
            && !lost(Features::WRITE_ZEROES)
            && (promised.features.has(Features::READ_ONLY)
                || !self.features.has(Features::READ_ONLY))
    }
}
