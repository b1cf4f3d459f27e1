//! What a load writes.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;

/// What write `number` puts at `place`; number 0 is what a new disk holds.
pub(crate) fn content(seed: u64, place: u64, number: u64) -> Vec<u8> {
    if number == 0 {
        return vec![0; BLOCK];
    }
    let key = mix(seed ^ mix(place ^ mix(number)));
    let mut block = Vec::with_capacity(BLOCK);
    block.extend(number.to_le_bytes());
    for word in 1..BLOCK as u64 / 8 {
        block.extend(key.wrapping_add(word).wrapping_mul(0xd134_2543_de82_ef95).to_le_bytes());
    }
    block
}

/// A number that has nothing to do with `n` to the eye.
pub(crate) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The number of the write that a block seems to hold.
pub(crate) fn number_of(block: &[u8]) -> u64 {
    block.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
