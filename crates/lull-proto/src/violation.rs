//! What a peer did that the protocol does not allow.

use core::fmt;
use lull_wire::{Kind, RequestNumber};

/// A peer's fault. The only disposition is to end its connection, which is then a loss like any other [CONN-2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A message that has no place in the session's state.
    OutOfPlace(Kind),
    /// A message, or a bit in one, that the session's version does not have.
    Newer(Kind, u16),
    /// WELCOME with a version that was not offered.
    Version(u16),
    /// A node without a name that can be shown.
    NoName,
    /// ATTACHED for another epoch than the one that was asked for.
    Epoch,
    /// A resource whose geometry makes no sense, or that shrank under its attachment.
    Geometry,
    /// A reply to a request that is not outstanding.
    UnknownRequest(RequestNumber),
    /// A reply from another incarnation than the one that was attached.
    Incarnation,
    /// Access that is none.
    Access,
    /// ATTACH without an attachment's id.
    NoAttachment,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfPlace(kind) => write!(f, "{kind} came where it has no place"),
            Self::Newer(kind, version) => {
                write!(f, "{kind} with what version {version} of the protocol does not have")
            }
            Self::Version(version) => write!(f, "version {version} was not offered"),
            Self::NoName => {
                write!(f, "the node gave no name, or one with a slash or control characters")
            }
            Self::Epoch => write!(f, "ATTACHED names another epoch than ATTACH"),
            Self::Geometry => write!(f, "the resource's geometry makes no sense or shrank"),
            Self::UnknownRequest(number) => {
                write!(f, "a reply to request {number}, which is not outstanding")
            }
            Self::Incarnation => write!(f, "a reply from another incarnation than ATTACHED named"),
            Self::Access => write!(f, "an access that is not known"),
            Self::NoAttachment => write!(f, "ATTACH with an attachment id of zeroes"),
        }
    }
}
