//! Replies: their bytes.

use super::Errno;
use super::constants::{SIMPLE_REPLY, STRUCTURED_REPLY, chunk};

/// Length of a simple reply in bytes, which is the shortest that any reply is.
pub const SIMPLE: usize = 16;

/// Length of the header of a structured reply's chunk in bytes.
pub const CHUNK: usize = 20;

/// A simple reply. The data of a successful read follows it.
pub fn simple(cookie: u64, outcome: Result<(), Errno>) -> [u8; SIMPLE] {
    let code = outcome.map_or_else(Errno::code, |()| 0);
    let mut out = [0; SIMPLE];
    out[0..4].copy_from_slice(&SIMPLE_REPLY.to_be_bytes());
    out[4..8].copy_from_slice(&code.to_be_bytes());
    out[8..16].copy_from_slice(&cookie.to_be_bytes());
    out
}

/// The one chunk that answers a read with everything it asked for; `length` bytes of data follow.
pub fn data(cookie: u64, offset: u64, length: u32) -> [u8; CHUNK + 8] {
    let mut out = [0; CHUNK + 8];
    let header = Chunk {
        flags: chunk::DONE,
        kind: chunk::OFFSET_DATA,
        cookie,
        length: length.saturating_add(8),
    };
    out[..CHUNK].copy_from_slice(&header.encode());
    out[CHUNK..].copy_from_slice(&offset.to_be_bytes());
    out
}

/// The one chunk that answers a request with an error and no text.
pub fn error(cookie: u64, errno: Errno) -> [u8; CHUNK + 6] {
    let mut out = [0; CHUNK + 6];
    let header = Chunk { flags: chunk::DONE, kind: chunk::ERROR, cookie, length: 6 };
    out[..CHUNK].copy_from_slice(&header.encode());
    out[CHUNK..CHUNK + 4].copy_from_slice(&errno.code().to_be_bytes());
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
