//! Requests: their bytes, and what makes one acceptable.

use super::constants::{REQUEST, cmd, cmd_flag};
use super::{Errno, Geometry, Op};

/// Length of a request's header in bytes. The payload of a write follows it.
pub const HEADER: usize = 28;

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
    /// Length of the range, and of the payload of a write, in bytes.
    pub length: u32,
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the device.
    Do(Op),
    /// Answer success without doing anything.
    Nothing,
    /// Answer with this error; the payload of a write is still to be received.
    Refuse(Errno),
    /// The client takes its leave; there is no reply.
    Disconnect,
}

impl Request {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0..4].copy_from_slice(&REQUEST.to_be_bytes());
        out[4..6].copy_from_slice(&self.flags.to_be_bytes());
        out[6..8].copy_from_slice(&self.command.to_be_bytes());
        out[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        out[16..24].copy_from_slice(&self.offset.to_be_bytes());
        out[24..28].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    /// Reads a header; `None` where its magic number is wrong, after which nothing can be trusted.
    pub fn decode(bytes: &[u8; HEADER]) -> Option<Request> {
        let u16_at = |i: usize| u16::from_be_bytes([bytes[i], bytes[i + 1]]);
        let u32_at = |i: usize| u32::from(u16_at(i)) << 16 | u32::from(u16_at(i + 2));
        let u64_at = |i: usize| u64::from(u32_at(i)) << 32 | u64::from(u32_at(i + 4));
        (u32_at(0) == REQUEST).then(|| Request {
            flags: u16_at(4),
            command: u16_at(6),
            cookie: u64_at(8),
            offset: u64_at(16),
            length: u32_at(24),
        })
    }

    /// How many bytes follow the header.
    pub fn payload(&self) -> u32 {
        match self.command {
            cmd::WRITE => self.length,
            _ => 0,
        }
    }

    /// Whether its reply carries data, and so must be structured where that was agreed.
    pub fn is_read(&self) -> bool {
        self.command == cmd::READ
    }

    /// Judges the request against the export. `structured` is whether structured replies were
    /// agreed, without which a read must not ask to be unfragmented.
    pub fn judge(&self, export: &Geometry, structured: bool) -> Verdict {
        let fua = self.flags & cmd_flag::FUA != 0;
        let (op, allowed) = match self.command {
            cmd::DISC => return Verdict::Disconnect,
            cmd::READ => (Op::Read, if structured { cmd_flag::DF } else { 0 }),
            cmd::WRITE => (Op::Write { fua }, 0),
            cmd::FLUSH => (Op::Flush, 0),
            cmd::TRIM if export.discard => (Op::Discard, 0),
            cmd::WRITE_ZEROES if export.write_zeroes => {
                let keep_allocated = self.flags & cmd_flag::NO_HOLE != 0;
                (Op::WriteZeroes { fua, keep_allocated }, cmd_flag::NO_HOLE)
            }
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
        let changes = op != Op::Read;
        if changes && export.read_only {
            return Some(Errno::Perm);
        }
        let (block, length) = (u64::from(export.block), u64::from(self.length));
        if self.length == 0 || !self.offset.is_multiple_of(block) || !length.is_multiple_of(block) {
            return Some(Errno::Inval);
        }
        let carries_data = matches!(op, Op::Read | Op::Write { .. });
        if carries_data && self.length > export.max_length {
            return Some(Errno::Inval);
        }
        match self.offset.checked_add(length) {
            Some(end) if end <= export.size => None,
            _ if matches!(op, Op::Write { .. } | Op::WriteZeroes { .. }) => Some(Errno::NoSpace),
            _ => Some(Errno::Inval),
        }
    }
}
