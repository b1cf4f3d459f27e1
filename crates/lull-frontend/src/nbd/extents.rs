//! Which parts of a device hold data: the list that a device gives, and what is made of it for a
//! client that asks for the context `base:allocation`.
//!
//! A device gives its list in one fixed form. It is a row of entries of 16 bytes, little-endian:
//! 8 bytes of length, never 0 and a multiple of the block; 4 bytes of flags, bit 0 for *hole*
//! (nothing is allocated) and bit 1 for *zero* (it reads as zeroes); 4 bytes that are 0 and ignored.
//! Each extent begins where the one before ends. The two flags are those of the protocol.

use serde::{Deserialize, Serialize};

/// One stretch of a device that is all of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub length: u64,
    /// Nothing is allocated there.
    pub hole: bool,
    /// It reads as zeroes.
    pub zero: bool,
}

const HOLE: u32 = 1 << 0;
const ZERO: u32 = 1 << 1;

impl Extent {
    /// The length of an entry in bytes.
    pub const BYTES: usize = 16;

    /// The entry's bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..12].copy_from_slice(&self.flags().to_le_bytes());
        out
    }

    /// Reads an entry.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Extent {
        let [l0, l1, l2, l3, l4, l5, l6, l7, f0, f1, f2, f3, ..] = *bytes;
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        Extent {
            length: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            hole: flags & HOLE != 0,
            zero: flags & ZERO != 0,
        }
    }

    /// The flags as a client is told them.
    pub(crate) fn flags(self) -> u32 {
        let hole = if self.hole { HOLE } else { 0 };
        let zero = if self.zero { ZERO } else { 0 };
        hole | zero
    }
}

/// A client's question, as far as the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Bytes of the range that it asks about.
    pub(crate) length: u64,
    /// Bytes from the beginning of the range to the end of the device.
    pub(crate) room: u64,
    /// The smallest unit in bytes.
    pub(crate) block: u32,
    /// It wants one extent only, within the range.
    pub(crate) one: bool,
    /// The greatest length that its answer can express.
    pub(crate) longest: u64,
}

impl Question {
    /// What the client is told of a device's list: at least one extent, all but the last within
    /// the range. Whatever makes no sense ends the list, since it may have come from another
    /// machine; where nothing is left of it the range counts as data, which is always true.
    pub(crate) fn answer(self, list: &[u8]) -> Vec<Extent> {
        let block = u64::from(self.block);
        let longest = self.longest / block * block;
        let mut told = Vec::new();
        let mut covered = 0;
        for entry in list.as_chunks::<{ Extent::BYTES }>().0 {
            let mut extent = Extent::decode(entry);
            let sound = extent.length > 0
                && extent.length.is_multiple_of(block)
                && extent.length <= self.room - covered;
            if !sound {
                break;
            }
            let whole = extent.length;
            let most = if self.one { self.length.min(longest) } else { longest };
            extent.length = whole.min(most);
            covered += extent.length;
            told.push(extent);
            if self.one || extent.length < whole || covered >= self.length {
                break;
            }
        }
        if told.is_empty() {
            told.push(Extent { length: self.length.min(longest), hole: false, zero: false });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(extents: &[(u64, bool)]) -> Vec<u8> {
        let entry = |(length, hole)| Extent { length, hole, zero: hole }.encode();
        extents.iter().copied().flat_map(entry).collect()
    }

    fn told(question: Question, extents: &[(u64, bool)]) -> Vec<(u64, bool)> {
        let answer = question.answer(&list(extents));
        answer.into_iter().map(|extent| (extent.length, extent.hole)).collect()
    }

    const TIB: u64 = 1 << 40;
    const Q: Question =
        Question { length: 8192, room: TIB, block: 512, one: false, longest: u64::MAX };

    #[test]
    fn only_the_last_extent_reaches_beyond_the_question() {
        let whole = [(4096, false), (TIB - 4096, true)];
        assert_eq!(told(Q, &whole), whole);
        assert_eq!(told(Q, &[(8192, false), (4096, true)]), [(8192, false)]);
        assert_eq!(told(Question { one: true, ..Q }, &whole), [(4096, false)]);
        assert_eq!(told(Question { one: true, ..Q }, &whole[1..]), [(8192, true)]);
        let short = Question { longest: u32::MAX.into(), ..Q };
        assert_eq!(told(short, &whole), [(4096, false), (u64::from(u32::MAX) - 511, true)]);
    }

    #[test]
    fn what_makes_no_sense_ends_the_list_and_an_empty_list_is_data() {
        // [SEC-4]
        let data = [(8192, false)];
        assert_eq!(told(Q, &[]), data);
        assert_eq!(told(Q, &[(0, true)]), data);
        assert_eq!(told(Q, &[(511, true)]), data);
        assert_eq!(told(Q, &[(TIB + 512, true)]), data);
        assert_eq!(told(Q, &[(u64::MAX - 511, true)]), data);
        assert_eq!(told(Q, &[(512, true), (TIB, true)]), [(512, true)]);
        assert_eq!(Q.answer(&[1; 15]).len(), 1);
    }
}
