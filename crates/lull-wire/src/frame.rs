//! The envelope of every message: a header of 32 bytes, the body, the payload.
//!
//! ```text
//!  0        4      6       8             12               16         20            24         28          32
//!  ┌────────┬──────┬───────┬─────────────┬────────────────┬──────────┬─────────────┬──────────┬───────────┐
//!  │ "LULL" │ kind │ flags │ body length │ payload length │ body CRC │ payload CRC │ reserved │ header CRC│
//!  └────────┴──────┴───────┴─────────────┴────────────────┴──────────┴─────────────┴──────────┴───────────┘
//! ```
//! Little-endian. All checksums are CRC-32C (Castagnoli). The header's covers bytes 0..28; that of nothing is 0.

use crate::error::DecodeError;
use crate::messages::{Kind, Payload, Sender};
use alloc::vec::Vec;
use crc_fast::CrcAlgorithm::Crc32Iscsi;
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 32;

/// The largest payload of one frame, 32 MiB: as much as any NBD client sends at once, so that no request has to
/// be split on its way. Beyond it a frame is refused before a byte of it is stored.
pub const MAX_PAYLOAD: u32 = 32 << 20;

const MAGIC: [u8; 4] = *b"LULL";

/// CRC-32C of `bytes`.
#[inline]
pub fn crc(bytes: &[u8]) -> u32 {
    if bytes.is_empty() { 0 } else { crc_fast::checksum(Crc32Iscsi, bytes) as u32 }
}

/// Length and checksum of a payload that follows a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest {
    /// Bytes, at most [`MAX_PAYLOAD`].
    pub length: u32,
    /// CRC-32C.
    pub crc: u32,
}

impl Digest {
    /// No payload.
    pub const NONE: Self = Self { length: 0, crc: 0 };

    /// Of these bytes, of which there are at most [`MAX_PAYLOAD`].
    pub fn of(payload: &[u8]) -> Self {
        debug_assert!(payload.len() <= MAX_PAYLOAD as usize);
        Self { length: payload.len() as u32, crc: crc(payload) }
    }

    /// Checks a received payload.
    ///
    /// # Errors
    /// [`DecodeError::PayloadDigest`] where it is not what the sender sent.
    pub fn check(self, payload: &[u8]) -> Result<(), DecodeError> {
        if Self::of(payload) == self { Ok(()) } else { Err(DecodeError::PayloadDigest) }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 4],
    kind: U16,
    flags: U16,
    body_length: U32,
    payload_length: U32,
    body_crc: U32,
    payload_crc: U32,
    reserved: U32,
    header_crc: U32,
}

/// A received header whose checksum, bounds and sender were found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which message.
    pub kind: Kind,
    /// Bytes of body that follow the header.
    pub body_length: u32,
    /// The body's CRC-32C.
    body_crc: u32,
    /// The payload that follows the body.
    pub payload: Digest,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; `None` while it is not all there.
    ///
    /// # Errors
    /// Everything about it that is not as the table says. Bad magic is found with the first bytes, so that a peer
    /// of another protocol is not waited for.
    #[inline]
    pub fn read(bytes: &[u8], sender: Sender) -> Result<Option<Self>, DecodeError> {
        let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes) else {
            let there = bytes.len().min(MAGIC.len());
            if bytes[..there] == MAGIC[..there] {
                return Ok(None);
            }
            let mut magic = [0; 4];
            magic[..there].copy_from_slice(&bytes[..there]);
            return Err(DecodeError::Magic(magic));
        };
        if raw.magic != MAGIC {
            return Err(DecodeError::Magic(raw.magic));
        }
        if crc(&bytes[..HEADER_LENGTH - 4]) != raw.header_crc.get() {
            return Err(DecodeError::HeaderChecksum);
        }
        if raw.flags.get() != 0 || raw.reserved.get() != 0 {
            return Err(DecodeError::Reserved);
        }
        let kind =
            Kind::from_number(raw.kind.get()).ok_or(DecodeError::UnknownKind(raw.kind.get()))?;
        let info = kind.info();
        // [SEC-3] Only a target pauses, holds and resumes.
        if !info.from.allows(sender) {
            return Err(DecodeError::WrongDirection(kind));
        }
        // [SEC-4] Judged before anything is stored for it.
        let body_length = raw.body_length.get();
        if (body_length as usize) < info.min_body || body_length as usize > info.max_body {
            return Err(DecodeError::BodyLength(kind, body_length));
        }
        let payload = Digest { length: raw.payload_length.get(), crc: raw.payload_crc.get() };
        let allowed = match info.payload {
            Payload::None => payload == Digest::NONE,
            Payload::Data => payload.length <= MAX_PAYLOAD,
        };
        if !allowed {
            return Err(DecodeError::PayloadLength(kind, payload.length));
        }
        Ok(Some(Self { kind, body_length, body_crc: raw.body_crc.get(), payload }))
    }

    /// Header and body together.
    pub fn length(&self) -> usize {
        HEADER_LENGTH + self.body_length as usize
    }

    /// Checks the body, the bytes between header and payload.
    ///
    /// # Errors
    /// [`DecodeError::BodyChecksum`].
    #[inline]
    pub fn check_body(&self, body: &[u8]) -> Result<(), DecodeError> {
        if crc(body) == self.body_crc { Ok(()) } else { Err(DecodeError::BodyChecksum) }
    }
}

/// Appends a header and the body that `put` appends; the payload, if any, is the caller's to send behind it.
#[inline]
pub(crate) fn write(
    kind: Kind,
    payload: Digest,
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LENGTH]);
    put(out);
    let (header, body) = out[start..].split_at_mut(HEADER_LENGTH);
    let mut raw = RawHeader {
        magic: MAGIC,
        kind: kind.number().into(),
        flags: 0.into(),
        body_length: (body.len() as u32).into(),
        payload_length: payload.length.into(),
        body_crc: crc(body).into(),
        payload_crc: payload.crc.into(),
        reserved: 0.into(),
        header_crc: 0.into(),
    };
    raw.header_crc = crc(&raw.as_bytes()[..HEADER_LENGTH - 4]).into();
    header.copy_from_slice(raw.as_bytes());
}
