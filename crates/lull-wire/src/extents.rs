//! The payload of a reply to [`OpCode::Extents`](crate::OpCode::Extents): which parts of a range hold data.
//!
//! ```text
//!  0        8       12         16       24      28         32
//!  ┌────────┬───────┬──────────┬────────┬───────┬──────────┬────
//!  │ length │ state │ reserved │ length │ state │ reserved │ …     the first extent begins at the request's offset
//!  └────────┴───────┴──────────┴────────┴───────┴──────────┴────
//! ```

use crate::codes::ExtentState;
use crate::error::DecodeError;
use crate::field::{Fault, Field, Reader};
use alloc::vec::Vec;

/// Bytes of one extent.
pub const EXTENT_BYTES: usize = 16;
/// The most extents of one reply: who wants to know more asks again behind the last one.
pub const EXTENTS_LIMIT: usize = 1024;
/// The longest payload of such a reply, in bytes.
pub const EXTENTS_PAYLOAD: u32 = (EXTENT_BYTES * EXTENTS_LIMIT) as u32;

/// A part of a resource that is the same throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Bytes, a multiple of the block, not 0.
    pub length: u64,
    /// What is known of it.
    pub state: ExtentState,
}

impl Extent {
    /// Appends its entry.
    pub fn encode(self, out: &mut Vec<u8>) {
        self.length.put(out);
        self.state.put(out);
        0u32.put(out);
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`DecodeError::Extents`] where it is empty or a bit is set that has no meaning.
    pub fn decode(entry: &[u8; EXTENT_BYTES]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(entry);
        let mut read = || -> Result<(Self, u32), Fault> {
            let extent =
                Self { length: u64::take(&mut from)?, state: ExtentState::take(&mut from)? };
            Ok((extent, u32::take(&mut from)?))
        };
        match read() {
            Ok((extent, 0)) if extent.length > 0 => Ok(extent),
            Ok(_) | Err(_) => Err(DecodeError::Extents),
        }
    }
}

/// Whether a payload of so many bytes may be a list of extents.
pub fn may_be_list(payload_bytes: u32) -> bool {
    payload_bytes > 0
        && payload_bytes <= EXTENTS_PAYLOAD
        && payload_bytes.is_multiple_of(EXTENT_BYTES as u32)
}

/// Checks a list, the answer to a request for `length` bytes of a resource with blocks of `block` bytes.
///
/// # Errors
/// [`DecodeError::Extents`] where it is none: it has no entry or too many, one is not as [`Extent`] says, or begins
/// behind the range.
pub fn check(payload: &[u8], length: u32, block: u32) -> Result<(), DecodeError> {
    let (entries, rest) = payload.as_chunks::<EXTENT_BYTES>();
    if !rest.is_empty() || entries.is_empty() || entries.len() > EXTENTS_LIMIT {
        return Err(DecodeError::Extents);
    }
    let mut at = 0u64;
    for entry in entries {
        let extent = Extent::decode(entry)?;
        let aligned = extent.length.is_multiple_of(u64::from(block));
        let end = at.checked_add(extent.length);
        at = end.filter(|_| aligned && at < u64::from(length)).ok_or(DecodeError::Extents)?;
    }
    Ok(())
}
