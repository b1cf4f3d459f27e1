//! Replies: their bytes.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::constants::{ALLOCATION_ID, EXTENDED_REPLY, SIMPLE_REPLY, STRUCTURED_REPLY, chunk};
use super::{Errno, Extent};

/// Length of a simple reply in bytes, which is the shortest that any reply is.
pub const SIMPLE: usize = 16;

/// Length of the header of a structured reply's chunk in bytes.
pub const CHUNK: usize = 20;

/// Length of the header of an extended reply's chunk in bytes.
pub const EXTENDED: usize = 32;

/// What requests and replies look like after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialect {
    /// Replies have no chunks.
    Simple,
    /// The answers of reads and questions about extents come in chunks; other replies are simple.
    Structured,
    /// Lengths have 64 bits, and every reply comes in chunks.
    Extended,
}

/// Whom a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct To {
    /// The request's cookie.
    pub cookie: u64,
    /// The request's offset, in bytes.
    pub offset: u64,
}

/// The bytes of a reply, or those before its data.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    bytes: [u8; EXTENDED + 8],
    length: usize,
}

impl Encoded {
    fn of(parts: [&[u8]; 2]) -> Encoded {
        let mut encoded = Encoded { bytes: [0; EXTENDED + 8], length: 0 };
        for part in parts {
            encoded.bytes[encoded.length..][..part.len()].copy_from_slice(part);
            encoded.length += part.len();
        }
        encoded
    }
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Dialect {
    /// The answer to a request whose answer has no data.
    pub fn plain(self, to: To, outcome: Result<(), Errno>) -> Encoded {
        match (self, outcome) {
            (Dialect::Simple | Dialect::Structured, outcome) => {
                Encoded::of([&simple(to.cookie, outcome), &[]])
            }
            (Dialect::Extended, Ok(())) => Encoded::of([&extended(chunk::NONE, to, 0), &[]]),
            (Dialect::Extended, Err(errno)) => self.failed(to, errno),
        }
    }

    /// What stands before all the data that a read asked for, `length` bytes.
    pub fn data(self, to: To, length: u32) -> Encoded {
        let payload = u64::from(length) + 8;
        let offset = to.offset.to_be_bytes();
        match self {
            Dialect::Simple => Encoded::of([&simple(to.cookie, Ok(())), &[]]),
            Dialect::Structured => {
                Encoded::of([&structured(chunk::OFFSET_DATA, to, payload as u32), &offset])
            }
            Dialect::Extended => Encoded::of([&extended(chunk::OFFSET_DATA, to, payload), &offset]),
        }
    }

    /// An error, without a text, in answer to a request whose answer would have data.
    pub fn failed(self, to: To, errno: Errno) -> Encoded {
        let [a, b, c, d] = errno.code().to_be_bytes();
        let payload = [a, b, c, d, 0, 0];
        match self {
            Dialect::Simple => Encoded::of([&simple(to.cookie, Err(errno)), &[]]),
            Dialect::Structured => Encoded::of([&structured(chunk::ERROR, to, 6), &payload]),
            Dialect::Extended => Encoded::of([&extended(chunk::ERROR, to, 6), &payload]),
        }
    }

    /// The extents of a range. Without chunks nobody can ask for them.
    pub fn extents(self, to: To, extents: &[Extent]) -> Vec<u8> {
        let count = extents.len() as u32;
        if self == Dialect::Extended {
            let mut out = extended(chunk::BLOCK_STATUS_EXT, to, 8 + u64::from(count) * 16).to_vec();
            out.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
            out.extend_from_slice(&count.to_be_bytes());
            for extent in extents {
                out.extend_from_slice(&extent.length.to_be_bytes());
                out.extend_from_slice(&u64::from(extent.flags()).to_be_bytes());
            }
            return out;
        }
        let mut out = structured(chunk::BLOCK_STATUS, to, 4 + count * 8).to_vec();
        out.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
        for extent in extents {
            let length = u32::try_from(extent.length).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&extent.flags().to_be_bytes());
        }
        out
    }

    /// The greatest length of an extent that can be expressed, in bytes.
    pub fn longest_extent(self) -> u64 {
        match self {
            Dialect::Simple | Dialect::Structured => u32::MAX.into(),
            Dialect::Extended => u64::MAX,
        }
    }
}

/// A simple reply. The data of a successful read follows it.
fn simple(cookie: u64, outcome: Result<(), Errno>) -> [u8; SIMPLE] {
    let code = outcome.map_or_else(Errno::code, |()| 0);
    let mut out = [0; SIMPLE];
    out[0..4].copy_from_slice(&SIMPLE_REPLY.to_be_bytes());
    out[4..8].copy_from_slice(&code.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The header of the only chunk of a structured reply.
fn structured(kind: u16, to: To, length: u32) -> [u8; CHUNK] {
    Chunk { flags: chunk::DONE, kind, cookie: to.cookie, length }.encode()
}

/// The header of the only chunk of an extended reply.
fn extended(kind: u16, to: To, length: u64) -> [u8; EXTENDED] {
    let mut out = [0; EXTENDED];
    out[0..4].copy_from_slice(&EXTENDED_REPLY.to_be_bytes());
    out[4..6].copy_from_slice(&chunk::DONE.to_be_bytes());
    out[6..8].copy_from_slice(&kind.to_be_bytes());
    out[8..16].copy_from_slice(&to.cookie.to_be_bytes());
    out[16..24].copy_from_slice(&to.offset.to_be_bytes());
    out[24..32].copy_from_slice(&length.to_be_bytes());
    out
}

/// The header of one chunk of a structured reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Bit 0: the last chunk of its reply.
    pub flags: u16,
    /// What follows.
    pub kind: u16,
    /// The request that is answered.
    pub cookie: u64,
    /// How many bytes follow.
    pub length: u32,
}

impl Chunk {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; CHUNK] {
        let mut out = [0; CHUNK];
        out[0..4].copy_from_slice(&STRUCTURED_REPLY.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.kind.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..20].copy_from_slice(&self.length.to_be_bytes());
        out
    }
}

/// What the start of a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A whole simple reply.
    Simple {
        /// The request that is answered.
        cookie: u64,
        /// How it went; `None` is success.
        error: Option<Errno>,
    },
    /// A chunk's header.
    Chunk(Chunk),
}

impl Head {
    /// Reads the head of a reply from the front of `bytes`: the head and its length, or `None` while
    /// there are too few bytes. Another magic number is an error that cannot be recovered from.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Head, usize)>, u32> {
        let Some(head) = bytes.first_chunk::<SIMPLE>() else {
            return Ok(None);
        };
        let [m0, m1, m2, m3, a, b, c, d, cookie @ ..] = *head;
        let cookie = u64::from_be_bytes(cookie);
        match u32::from_be_bytes([m0, m1, m2, m3]) {
            SIMPLE_REPLY => {
                let error = Errno::from_code(u32::from_be_bytes([a, b, c, d]));
                Ok(Some((Head::Simple { cookie, error }, SIMPLE)))
            }
            STRUCTURED_REPLY => Ok(bytes[SIMPLE..].first_chunk::<4>().map(|length| {
                let chunk = Chunk {
                    flags: u16::from_be_bytes([a, b]),
                    kind: u16::from_be_bytes([c, d]),
                    cookie,
                    length: u32::from_be_bytes(*length),
                };
                (Head::Chunk(chunk), CHUNK)
            })),
            other => Err(other),
        }
    }
}
