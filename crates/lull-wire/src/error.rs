//! Why bytes were not a message. Always the sender's fault; the receiver ends the connection.

use core::fmt;

/// What is wrong with received bytes. After any of these the stream cannot be trusted any more: the only
/// disposition is to end the connection, which the initiator then takes for a loss [CONN-2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// The first four bytes are not `LULL`: the peer speaks something else. They are kept, to be named.
    Magic([u8; 4]),
    /// The header's checksum does not match.
    HeaderChecksum,
    /// The body's checksum does not match.
    BodyChecksum,
    /// The payload's digest does not match.
    PayloadDigest,
    /// Bits without a meaning are set: in the header, in a set of flags, or a boolean that is neither 0 nor 1.
    Reserved,
    /// No message has this number in this version.
    UnknownKind(u16),
    /// This side must not send this message.
    WrongDirection(Kind),
    /// The body is longer or shorter than the fields of its message can be.
    BodyLength(Kind, u32),
    /// A payload where none may be, one longer than allowed, or one that does not match its request.
    PayloadLength(Kind, u32),
    /// A text is not UTF-8.
    Text(Kind),
    /// A text or a list is longer than its bound.
    Bound(Kind),
    /// A payload that is no [list of extents](crate::extents) for what was asked.
    Extents,
}

use crate::Kind;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(bytes) => {
                write!(f, "the peer does not speak this protocol (it began with \"")?;
                for byte in bytes {
                    write!(f, "{}", byte.escape_ascii())?;
                }
                write!(f, "\")")
            }
            Self::HeaderChecksum => write!(f, "a frame's header was damaged on the way"),
            Self::BodyChecksum => write!(f, "a message was damaged on the way"),
            Self::PayloadDigest => write!(f, "data was damaged on the way"),
            Self::Reserved => write!(f, "reserved bits were set"),
            Self::UnknownKind(kind) => write!(f, "unknown message {kind:#06x}"),
            Self::WrongDirection(kind) => write!(f, "{kind} is not for this side to send"),
            Self::BodyLength(kind, length) => write!(f, "{kind} with a body of {length} bytes"),
            Self::PayloadLength(kind, length) => {
                write!(f, "{kind} with a payload of {length} bytes")
            }
            Self::Text(kind) => write!(f, "{kind} with a text that is not UTF-8"),
            Self::Extents => write!(f, "REPLY with a list of extents that makes no sense"),
            Self::Bound(kind) => write!(f, "{kind} with a text or list beyond its bound"),
        }
    }
}

impl core::error::Error for DecodeError {}
