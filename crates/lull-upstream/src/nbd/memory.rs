//! Memory that a connection uses, and that must come back when the connection is lost.

use lull_block::Buffer;
use std::rc::Rc;

/// What the connection is given.
#[derive(Debug)]
pub(super) enum Memory {
    /// To be filled; the connection gives it back.
    Fill(Buffer),
    /// To be sent; whoever holds the request has it too.
    Send(Rc<Buffer>),
}

impl Default for Memory {
    fn default() -> Self {
        Self::Fill(Buffer::empty())
    }
}

impl Memory {
    /// What was to be filled.
    pub(super) fn into_buffer(self) -> Buffer {
        match self {
            Self::Fill(buffer) => buffer,
            Self::Send(_) => Buffer::empty(),
        }
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Fill(buffer) => buffer,
            Self::Send(buffer) => buffer,
        }
    }
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Fill(buffer) => buffer,
            // Nothing is received for a write.
            Self::Send(_) => &mut [],
        }
    }
}
