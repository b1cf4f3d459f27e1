//! What is written: each sector names its run, its place and its write, and the rest follows from
//! these, so that every byte of it can be checked.
//!
//! ```text
//! 0      8      16       24         32                    512
//! │ mark │ run  │ sector │ sequence │ follows from them …  │
//! ```

use super::chance::mix;

/// The unit that a disk writes as a whole: a block may be torn between two writes at these bounds.
pub const SECTOR: usize = 512;

/// Tells our sectors from all others.
const MARK: u64 = u64::from_le_bytes(*b"lullload");

/// Bytes before the part that follows from them.
const HEAD: usize = 32;

/// What one sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sector {
    /// A whole sector of this run.
    Ours {
        /// Where it was written, in sectors from the start.
        place: u64,
        /// Number of the write, from 1.
        sequence: u64,
    },
    /// A whole sector of another run, or all zeroes: content from before this run.
    Earlier,
    /// Anything else.
    Strange,
    /// A sector of this run in which something is wrong.
    Damaged,
}

/// Fills a block whose first sector is `place` with the content of write `sequence` of `run`.
pub fn fill(block: &mut [u8], run: u64, place: u64, sequence: u64) {
    for (place, sector) in (place..).zip(block.chunks_exact_mut(SECTOR)) {
        let head = [MARK, run, place, sequence];
        let key = key(run, place, sequence);
        for (word, value) in sector[..HEAD].chunks_exact_mut(8).zip(head) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        for (word, n) in sector[HEAD..].chunks_exact_mut(8).zip(0..) {
            word.copy_from_slice(&content(key, n).to_le_bytes());
        }
    }
}

/// What a sector holds, as `run` sees it.
pub fn inspect(sector: &[u8], run: u64) -> Sector {
    let (head, body) = sector.split_at(HEAD);
    let mut words = head.chunks_exact(8).map(word);
    let mut next = || words.next().unwrap_or(0);
    let (mark, by, place, sequence) = (next(), next(), next(), next());
    if mark != MARK {
        let empty = sector.iter().all(|&byte| byte == 0);
        return if empty { Sector::Earlier } else { Sector::Strange };
    }
    let key = key(by, place, sequence);
    let whole = body.chunks_exact(8).zip(0..).all(|(bytes, n)| word(bytes) == content(key, n));
    match (whole, by == run) {
        (true, true) => Sector::Ours { place, sequence },
        (true, false) => Sector::Earlier,
        (false, true) => Sector::Damaged,
        (false, false) => Sector::Strange,
    }
}

/// A number that tells one content of a block from another; never 0.
pub fn digest(block: &[u8]) -> u64 {
    let sum = |sum: u64, bytes: &[u8]| {
        (sum ^ word(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    mix(block.chunks_exact(8).fold(1, sum)).max(1)
}

fn key(run: u64, place: u64, sequence: u64) -> u64 {
    mix(run ^ mix(place ^ mix(sequence)))
}

/// The word `n` of the part after the head.
fn content(key: u64, n: u64) -> u64 {
    key.wrapping_add(n).wrapping_mul(0xd134_2543_de82_ef95)
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let mut block = vec![0; 2 * SECTOR];
        fill(&mut block, 7, 40, 3);
        let ours = |place| Sector::Ours { place, sequence: 3 };
        assert_eq!(inspect(&block[..SECTOR], 7), ours(40));
        assert_eq!(inspect(&block[SECTOR..], 7), ours(41));
        for at in 0..SECTOR {
            let mut sector = block[..SECTOR].to_vec();
            sector[at] ^= 1;
            let found = inspect(&sector, 7);
            assert!(matches!(found, Sector::Damaged | Sector::Strange), "byte {at}: {found:?}");
            assert_ne!(digest(&sector), digest(&block[..SECTOR]), "byte {at}");
        }
    }

    #[test]
    fn what_stood_there_before_the_run_is_known_as_such() {
        let mut block = vec![0; SECTOR];
        assert_eq!(inspect(&block, 7), Sector::Earlier);
        fill(&mut block, 6, 40, 3);
        assert_eq!(inspect(&block, 7), Sector::Earlier);
        block.fill(0x5a);
        assert_eq!(inspect(&block, 7), Sector::Strange);
    }
}
