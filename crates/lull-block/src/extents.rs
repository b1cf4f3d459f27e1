//! Which parts of a range hold data: the list that answers [`Op::Extents`](crate::Op::Extents).
//!
//! The list stands in the request's buffer in one fixed form, so that it goes over a wire and to a
//! consumer's protocol as it is. It is a row of entries of 16 bytes, all numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0–7 | length in bytes, a multiple of the block, never 0 |
//! | 8–11 | bit 0, *hole*: nothing is allocated; bit 1, *zero*: it reads as zeroes; the rest is 0 |
//! | 12–15 | 0; whoever reads it ignores it |
//!
//! The first extent begins at the request's offset, each further one where the one before ends. No
//! bit set means data, or that nothing better is known.
//!
//! * There is at least one extent, and at most as many as the request's buffer had room for.
//! * The list may end before the range does: whoever wants the rest asks again from there.
//! * Its last extent may reach beyond the range, but not beyond the resource.
//! * An answered request's buffer is cut to the list, so its length tells the number of extents.

/// One stretch of a resource that is all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, a multiple of the block, not 0.
    pub length: u64,
    /// Nothing is allocated, as far as the medium tells: space that was reserved and not yet
    /// written may count as a hole.
    pub hole: bool,
    /// It reads as zeroes.
    pub zero: bool,
}

impl Extent {
    /// The length of an entry, in bytes.
    pub const BYTES: usize = 16;
    /// The bit of [`Extent::hole`] in an entry.
    pub const HOLE: u32 = 1 << 0;
    /// The bit of [`Extent::zero`] in an entry.
    pub const ZERO: u32 = 1 << 1;

    /// `length` bytes that are not there and read as zeroes.
    #[must_use]
    pub fn hole(length: u64) -> Self {
        Self { length, hole: true, zero: true }
    }

    /// `length` bytes of data, or of what is unknown.
    #[must_use]
    pub fn data(length: u64) -> Self {
        Self { length, hole: false, zero: false }
    }

    /// The entry's bytes.
    #[must_use]
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut flags = 0;
        for (set, bit) in [(self.hole, Self::HOLE), (self.zero, Self::ZERO)] {
            if set {
                flags |= bit;
            }
        }
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.length.to_le_bytes());
        out[8..12].copy_from_slice(&flags.to_le_bytes());
        out
    }

    /// Reads an entry. Any bytes are one; it is for the reader to refuse a length of 0.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let [l0, l1, l2, l3, l4, l5, l6, l7, f0, f1, f2, f3, ..] = *bytes;
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        Self {
            length: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            hole: flags & Self::HOLE != 0,
            zero: flags & Self::ZERO != 0,
        }
    }

    /// The extents of a list, in order. Bytes after the last whole entry are passed over.
    pub fn list(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.as_chunks::<{ Self::BYTES }>().0.iter().map(Self::decode)
    }

    fn same_kind(self, other: Self) -> bool {
        (self.hole, self.zero) == (other.hole, other.zero)
    }
}

/// A list that is being written into a request's buffer.
pub(crate) struct Writing<'a> {
    into: &'a mut [u8],
    written: usize,
    /// The extent that may still grow; not yet in the buffer.
    last: Option<Extent>,
}

impl<'a> Writing<'a> {
    pub(crate) fn new(into: &'a mut [u8]) -> Self {
        Self { into, written: 0, last: None }
    }

    /// Appends an extent, or lengthens the last one where both are of a kind. False: there is no
    /// room for it, and the list ends before it.
    pub(crate) fn push(&mut self, extent: Extent) -> bool {
        match &mut self.last {
            Some(last) if last.same_kind(extent) => last.length += extent.length,
            last => {
                // What is pending needs an entry too.
                let pending = usize::from(last.is_some()) * Extent::BYTES;
                if self.written + pending + Extent::BYTES > self.into.len() {
                    return false;
                }
                if let Some(done) = last.replace(extent) {
                    self.into[self.written..][..Extent::BYTES].copy_from_slice(&done.encode());
                    self.written += Extent::BYTES;
                }
            }
        }
        true
    }

    /// The length of the whole list in bytes, to which the buffer is to be cut; 0 where nothing
    /// was appended.
    pub(crate) fn finish(self) -> usize {
        match self.last {
            Some(last) => {
                self.into[self.written..][..Extent::BYTES].copy_from_slice(&last.encode());
                self.written + Extent::BYTES
            }
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_that_its_description_says() {
        let bytes = [0, 2, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        let extent = Extent::hole((1 << 32) + 512);
        assert_eq!(extent.encode(), bytes);
        assert_eq!(Extent::decode(&bytes), extent);
        let reserved = [0, 2, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 9, 9, 9, 9];
        assert_eq!(Extent::decode(&reserved), Extent::data(512));
    }

    #[test]
    fn neighbours_of_a_kind_are_one_extent_and_the_list_ends_where_the_room_does() {
        let mut buffer = [0xee; 2 * Extent::BYTES];
        let mut writing = Writing::new(&mut buffer);
        assert!(writing.push(Extent::data(512)) && writing.push(Extent::data(512)));
        assert!(writing.push(Extent::hole(4096)));
        assert!(!writing.push(Extent::data(512)), "there is no room for a third");
        assert!(writing.push(Extent::hole(4096)), "the second may still grow");
        let length = writing.finish();
        let list: Vec<_> = Extent::list(&buffer[..length]).collect();
        assert_eq!(list, [Extent::data(1024), Extent::hole(8192)]);
    }
}
