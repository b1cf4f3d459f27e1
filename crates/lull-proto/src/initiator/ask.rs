//! What a consumer asks for.

use super::requests::Offer;
use lull_wire::{OpCode, RequestFlags, StatusCode};

/// Where the daemon keeps a request's buffer and its consumer's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What a consumer asks for. Offset and length are inside the resource and aligned: the front end saw to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// What to do.
    pub op: OpCode,
    /// How to do it.
    pub flags: RequestFlags,
    /// The first byte.
    pub offset: u64,
    /// How many bytes; 0 for a flush.
    pub length: u32,
}

impl Ask {
    /// A flush.
    pub const FLUSH: Self =
        Self { op: OpCode::Flush, flags: RequestFlags::none(), offset: 0, length: 0 };

    /// [CONN-7] [CONN-8] The answer to what this target cannot be asked: it is advice only, so nobody waits for another
    /// target. Who asks for extents takes everything for data then.
    pub(super) fn answer_without(&self, offer: Offer) -> Option<StatusCode> {
        match self.op {
            OpCode::Extents => (!offer.extents).then_some(StatusCode::NotSupported),
            OpCode::ReadAhead => {
                (offer.version < OpCode::ReadAhead.since()).then_some(StatusCode::Done)
            }
            OpCode::Read
            | OpCode::Write
            | OpCode::Flush
            | OpCode::Discard
            | OpCode::WriteZeroes
            | OpCode::Unknown(_) => None,
        }
    }

    /// Whether it changes the resource.
    pub(super) fn changes(&self) -> bool {
        self.length > 0 && matches!(self.op, OpCode::Write | OpCode::Discard | OpCode::WriteZeroes)
    }

    /// Whether it brings bytes along.
    pub(super) fn carries(&self) -> bool {
        self.op == OpCode::Write
    }

    pub(super) fn is_durable(&self) -> bool {
        self.flags.has(RequestFlags::FUA)
    }

    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }
}

/// What was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Again {
    /// Requests.
    pub requests: u64,
    /// Bytes of changes.
    pub bytes: u64,
}

impl Again {
    pub(super) fn count(&mut self, ask: &Ask) {
        self.requests += 1;
        self.bytes += if ask.changes() { u64::from(ask.length) } else { 0 };
    }
}
