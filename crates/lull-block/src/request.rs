//! Requests, and what any backend refuses before it touches its medium.

use crate::{Buffer, Completion, Extent, Geometry, IoStatus, Token};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Fill the buffer from the range.
    Read,
    /// Store the buffer in the range.
    Write {
        /// Answer only when the data is on stable storage.
        fua: bool,
    },
    /// Make every change answered before this request was started durable.
    Flush,
    /// The content of the range is no longer needed; afterwards it reads as anything.
    Discard,
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// Answer only when the zeroes are on stable storage.
        fua: bool,
        /// Keep the range's space reserved, so that a later write to it cannot run out of space.
        keep_allocated: bool,
        /// Answer [`IoStatus::NotSupported`] at once, and leave the range as it is, where the
        /// zeroes would have to be written out.
        fast: bool,
    },
    /// The range will be read soon, so it may be read into memory now. Nothing depends on it.
    ReadAhead,
    /// Fill the buffer with a list of the range's extents, in the form that
    /// [`Extent`](crate::Extent)'s module describes, and cut it to that list. The range may be
    /// longer than a read's.
    Extents,
}

impl Op {
    /// Whether this alters the content of the range.
    #[must_use]
    pub fn is_change(self) -> bool {
        match self {
            Self::Read | Self::ReadAhead | Self::Flush | Self::Extents => false,
            Self::Write { .. } | Self::Discard | Self::WriteZeroes { .. } => true,
        }
    }
}

/// One request to a backend.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub op: Op,
    /// Where the range begins, in bytes; a multiple of [`Geometry::block`].
    pub offset: u64,
    /// How long the range is, in bytes; a multiple of [`Geometry::block`], and 0 for a flush.
    pub length: u32,
    /// `length` bytes for a read (filled by the backend) or a write (the data); for a list of
    /// extents room for the entries that are wanted at most (one or more, of
    /// [`Extent::BYTES`] each); otherwise [`Buffer::empty`].
    pub buffer: Buffer,
    /// The duty to answer.
    pub token: Token,
}

impl Request {
    /// The answer, to be returned at once.
    #[must_use]
    pub fn finish(self, result: Result<(), IoStatus>) -> Completion {
        self.token.into_completion(result, self.buffer)
    }

    /// Sends the answer to the queue that the token came from.
    pub fn answer(self, result: Result<(), IoStatus>) {
        self.token.answer(result, self.buffer);
    }

    /// Checks the request against what the resource is, so that all backends refuse the same
    /// requests in the same way.
    pub fn check(&self, geometry: &Geometry) -> Result<(), IoStatus> {
        if self.op == Op::Flush {
            return Ok(());
        }
        if self.op.is_change() && geometry.read_only {
            return Err(IoStatus::ReadOnly);
        }
        let block = u64::from(geometry.block);
        let length = u64::from(self.length);
        if length == 0 || !self.offset.is_multiple_of(block) || !length.is_multiple_of(block) {
            return Err(IoStatus::Invalid);
        }
        match self.offset.checked_add(length) {
            Some(end) if end <= geometry.size => {}
            _ => return Err(IoStatus::OutOfRange),
        }
        match self.op {
            Op::Read | Op::Write { .. } => {
                let fits = self.length <= geometry.max_length;
                if fits && self.buffer.len() as u64 == length {
                    Ok(())
                } else {
                    Err(IoStatus::Invalid)
                }
            }
            Op::ReadAhead if self.length > geometry.max_length => Err(IoStatus::Invalid),
            Op::Extents => {
                let whole = self.buffer.len().is_multiple_of(Extent::BYTES);
                if whole && !self.buffer.is_empty() { Ok(()) } else { Err(IoStatus::Invalid) }
            }
            Op::Discard if !geometry.discard => Err(IoStatus::NotSupported),
            Op::WriteZeroes { .. } if !geometry.write_zeroes => Err(IoStatus::NotSupported),
            Op::ReadAhead | Op::Discard | Op::WriteZeroes { .. } | Op::Flush => Ok(()),
        }
    }
}
