//! A chain of descriptors: what one request reads and where its answer goes.

use super::memory::{Fault, Memory};
use super::ring::Layout;

/// The most pieces of memory that one request may be made of.
pub const MOST_PIECES: usize = 258;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A piece of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it is.
    pub at: u64,
    /// How long it is in bytes.
    pub length: u32,
}

/// The pieces of one request. Kept for its memory.
#[derive(Debug, Default)]
pub struct Chain {
    /// What the guest says, in order.
    pub said: Pieces,
    /// Where the answer goes, in order.
    pub answer: Pieces,
}

/// Pieces of memory that are one range of bytes.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: Vec<Piece>,
    length: u64,
}

impl Pieces {
    /// How long it is in all, in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.length = 0;
    }

    fn push(&mut self, piece: Piece) {
        self.length += u64::from(piece.length);
        self.pieces.push(piece);
    }

    /// The guest's address of one byte; `None` behind the end.
    pub fn place(&self, mut skip: u64) -> Option<u64> {
        for piece in &self.pieces {
            match skip.checked_sub(piece.length.into()) {
                None => return piece.at.checked_add(skip),
                Some(rest) => skip = rest,
            }
        }
        None
    }

    /// Copies from `from` on into all of `into`.
    ///
    /// # Errors
    /// It is shorter, or not in the guest's memory.
    pub fn read(&self, memory: &Memory, from: u64, into: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        self.walk(from, into.len(), |at, length| {
            let part = memory.read(at, &mut into[done..done + length]);
            done += length;
            part
        })
    }

    /// Copies all of `bytes` to what is there from `from` on.
    ///
    /// # Errors
    /// It is shorter, or not in the guest's memory.
    pub fn write(&self, memory: &Memory, from: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        self.walk(from, bytes.len(), |at, length| {
            let part = memory.write(at, &bytes[done..done + length]);
            done += length;
            part
        })
    }

    fn walk(
        &self,
        from: u64,
        length: usize,
        mut each: impl FnMut(u64, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (mut skip, mut rest) = (from, length);
        for piece in &self.pieces {
            if rest == 0 {
                break;
            }
            let whole = u64::from(piece.length);
            if skip >= whole {
                skip -= whole;
                continue;
            }
            let part = usize::try_from(whole - skip).unwrap_or(usize::MAX).min(rest);
            let at = piece.at.checked_add(skip).ok_or(Fault::Outside(piece.at))?;
            each(at, part)?;
            (skip, rest) = (0, rest - part);
        }
        if rest == 0 { Ok(()) } else { Err(Fault::Ring("a request that is shorter than its data")) }
    }
}

struct Descriptor {
    piece: Piece,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn read(memory: &Memory, table: u64, index: u16) -> Result<Descriptor, Fault> {
        let mut bytes = [0; 16];
        let at = table.checked_add(16 * u64::from(index)).ok_or(Fault::Outside(table))?;
        memory.read(at, &mut bytes)?;
        let [a, b, c, d, e, f, g, h, length @ .., f0, f1, n0, n1] = bytes;
        let piece = Piece {
            at: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            length: u32::from_le_bytes(length),
        };
        let (flags, next) = (u16::from_le_bytes([f0, f1]), u16::from_le_bytes([n0, n1]));
        Ok(Descriptor { piece, flags, next })
    }
}

impl Chain {
    /// Reads the chain that begins at `head`. However the guest has tied it, this ends after [`MOST_PIECES`].
    ///
    /// # Errors
    /// It is none that a driver may make.
    pub fn walk(&mut self, memory: &Memory, layout: &Layout, head: u16) -> Result<(), Fault> {
        self.said.clear();
        self.answer.clear();
        let (mut table, mut count, mut index) = (layout.descriptors, layout.size, head);
        let mut indirect = false;
        for _ in 0..=MOST_PIECES {
            if index >= count {
                return Err(Fault::Ring("a descriptor that leads outside of its table"));
            }
            let Descriptor { piece, flags, next } = Descriptor::read(memory, table, index)?;
            if flags & INDIRECT != 0 {
                let entries = piece.length / 16;
                let fits = piece.length.is_multiple_of(16) && (1..=1 << 15).contains(&entries);
                let alone = flags & NEXT == 0 && !indirect;
                if !fits || !alone {
                    return Err(Fault::Ring("a table of descriptors that is none"));
                }
                (table, count, index) = (piece.at, entries as u16, 0);
                indirect = true;
                continue;
            }
            match flags & WRITE {
                0 if self.answer.pieces.is_empty() => self.said.push(piece),
                0 => {
                    return Err(Fault::Ring("something to be read behind something to be written"));
                }
                _ => self.answer.push(piece),
            }
            if flags & NEXT == 0 {
                return Ok(());
            }
            index = next;
        }
        Err(Fault::Ring("a chain that does not end, or has more pieces than a request may have"))
    }
}
