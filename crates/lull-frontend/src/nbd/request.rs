//! Requests: their bytes, and what makes one acceptable.

use serde::{Deserialize, Serialize};

use super::constants::{EXTENDED_REQUEST, MAX_PAYLOAD, REQUEST, cmd, cmd_flag};
use super::{Dialect, Errno, Geometry, Op};

/// Length of a request's header in bytes. The payload of a write follows it.
pub const HEADER: usize = 28;

/// The same of an extended request.
pub const EXTENDED_HEADER: usize = 32;

/// A request as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Flags of the command.
    pub flags: u16,
    /// The command.
    pub command: u16,
    /// The client's name for the request, repeated in its reply.
    pub cookie: u64,
    /// First byte of the range.
    pub offset: u64,
    /// Length of the range, and of a payload, in bytes. Only an extended header has more than 32
    /// bits of it.
    pub length: u64,
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the device.
    Do(Op),
    /// Answer success without doing anything.
    Nothing,
    /// Answer with this error; a payload is still to be received.
    Refuse(Errno),
    /// The client takes its leave; there is no reply.
    Disconnect,
}

/// What the handshake agreed on, as far as requests are judged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What requests and replies look like.
    pub dialect: Dialect,
    /// The client has chosen to be told of extents.
    pub extents: bool,
}

impl Dialect {
    /// Length of a request's header in bytes.
    pub fn header(self) -> usize {
        match self {
            Dialect::Simple | Dialect::Structured => HEADER,
            Dialect::Extended => EXTENDED_HEADER,
        }
    }
}

impl Request {
    /// The header's bytes. A length of more than 32 bits is cut to what they can express.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        self.encode_common(REQUEST, &mut out);
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        out[24..28].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// The bytes of an extended header.
    pub fn encode_extended(&self) -> [u8; EXTENDED_HEADER] {
        let mut out = [0; EXTENDED_HEADER];
        self.encode_common(EXTENDED_REQUEST, &mut out);
        out[24..32].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    fn encode_common(&self, magic: u32, out: &mut [u8]) {
        out[0..4].copy_from_slice(&magic.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
    }

    /// Reads the header at the front of `bytes`: `Ok(None)` while there are too few. Another magic
    /// number is an error, after which nothing can be trusted.
    pub fn decode(bytes: &[u8], dialect: Dialect) -> Result<Option<Request>, u32> {
        let Some((common, rest)) = bytes.split_first_chunk::<24>() else {
            return Ok(None);
        };
        let u16_at = |i: usize| u16::from_be_bytes([common[i], common[i + 1]]);
        let u32_at = |i: usize| u32::from(u16_at(i)) << 16 | u32::from(u16_at(i + 2));
        let u64_at = |i: usize| u64::from(u32_at(i)) << 32 | u64::from(u32_at(i + 4));
        let (magic, length) = match dialect {
            Dialect::Simple | Dialect::Structured => {
                (REQUEST, rest.first_chunk().map(|length| u32::from_be_bytes(*length).into()))
            }
            Dialect::Extended => {
                (EXTENDED_REQUEST, rest.first_chunk().map(|length| u64::from_be_bytes(*length)))
            }
        };
        if u32_at(0) != magic {
            return Err(u32_at(0));
        }
        Ok(length.map(|length| Request {
            flags: u16_at(4),
            command: u16_at(6),
            cookie: u64_at(8),
            offset: u64_at(16),
            length,
        }))
    }

    /// How many bytes follow the header. A write has them always: an extended header should say so
    /// by a flag, but QEMU's client sends them without it. Another command has them where the flag
    /// of an extended header says so, although it has no use for them.
    pub fn payload(&self, dialect: Dialect) -> u64 {
        let flag = dialect == Dialect::Extended && self.flags & cmd_flag::PAYLOAD_LEN != 0;
        if flag || self.command == cmd::WRITE { self.length } else { 0 }
    }

    /// Whether its answer has data, and so comes in a chunk where that was agreed.
    pub fn is_answered_with_data(&self) -> bool {
        matches!(self.command, cmd::READ | cmd::BLOCK_STATUS)
    }

    /// A question about one extent, which must not reach beyond the range.
    pub fn wants_one(&self) -> bool {
        self.flags & cmd_flag::REQ_ONE != 0
    }

    /// Whether its range ends beyond `size` bytes, so that only a device that has grown has it.
    pub fn ends_beyond(&self, size: u64) -> bool {
        self.offset.checked_add(self.length).is_none_or(|end| end > size)
    }

    /// Judges the request against the export.
    pub fn judge(&self, export: &Geometry, terms: Terms) -> Verdict {
        let fua = self.flags & cmd_flag::FUA != 0;
        let chunks = terms.dialect != Dialect::Simple;
        let extended = terms.dialect == Dialect::Extended;
        let (op, allowed) = match self.command {
            cmd::DISC => return Verdict::Disconnect,
            cmd::READ => (Op::Read, if chunks { cmd_flag::DF } else { 0 }),
            cmd::WRITE => (Op::Write { fua }, if extended { cmd_flag::PAYLOAD_LEN } else { 0 }),
            cmd::FLUSH => (Op::Flush, 0),
            // Neither is on offer there; a client that asks all the same learns why it may not.
            cmd::TRIM | cmd::WRITE_ZEROES if export.read_only => {
                return Verdict::Refuse(Errno::Perm);
            }
            cmd::TRIM if export.discard => (Op::Discard, 0),
            cmd::CACHE if export.cache => (Op::Cache, 0),
            cmd::WRITE_ZEROES if export.write_zeroes => {
                let keep_allocated = self.flags & cmd_flag::NO_HOLE != 0;
                let fast = self.flags & cmd_flag::FAST_ZERO != 0;
                let fast_too = if export.fast_zeroes { cmd_flag::FAST_ZERO } else { 0 };
                (Op::WriteZeroes { fua, keep_allocated, fast }, cmd_flag::NO_HOLE | fast_too)
            }
            cmd::BLOCK_STATUS if terms.extents => (Op::Extents, cmd_flag::REQ_ONE),
            _ => return Verdict::Refuse(Errno::Inval),
        };
        // FUA is legal everywhere, and means nothing where nothing changes.
        if self.flags & !(allowed | cmd_flag::FUA) != 0 {
            return Verdict::Refuse(Errno::Inval);
        }
        if op == Op::Flush {
            let empty = self.offset == 0 && self.length == 0;
            return if empty { Verdict::Do(op) } else { Verdict::Refuse(Errno::Inval) };
        }
        match self.refuse_range(export, op) {
            Some(errno) => Verdict::Refuse(errno),
            // A discard is a hint. One that must be durable is left undone: nothing has changed, so
            // nothing can be lost.
            None if op == Op::Discard && fua => Verdict::Nothing,
            None => Verdict::Do(op),
        }
    }

    fn refuse_range(&self, export: &Geometry, op: Op) -> Option<Errno> {
        if op.is_change() && export.read_only {
            return Some(Errno::Perm);
        }
        let block = u64::from(export.block);
        if self.length == 0
            || !self.offset.is_multiple_of(block)
            || !self.length.is_multiple_of(block)
        {
            return Some(Errno::Inval);
        }
        // [SEC-4] Reading ahead takes memory as reading does.
        let bounded = matches!(op, Op::Read | Op::Write { .. } | Op::Cache);
        if bounded && self.length > u64::from(export.max_length) {
            return Some(Errno::Inval);
        }
        if !self.ends_beyond(export.size) {
            return None;
        }
        match op {
            Op::Write { .. } | Op::WriteZeroes { .. } => Some(Errno::NoSpace),
            Op::Read | Op::Flush | Op::Discard | Op::Extents | Op::Cache => Some(Errno::Inval),
        }
    }

    /// Whether its payload is more than anybody may send. [SEC-4] Only an extended header can
    /// announce so much that it is not worth receiving; after it the connection ends.
    pub fn is_flood(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Extended && self.payload(dialect) > u64::from(MAX_PAYLOAD)
    }
}
