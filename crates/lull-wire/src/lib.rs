//! The messages between a target and its initiators: bytes to values and back.
//!
//! Everything that crosses a connection is a [frame](frame): a fixed header, a *body* (the fields of one
//! message of the [table](messages)) and, for data, a *payload*. This crate knows layout and bounds; it knows
//! neither sockets nor clocks, nor what a message means for anybody's state. The layout is specified, for people
//! who write a peer in another language, in `docs/spec/`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod code;
pub mod codes;
pub mod error;
pub mod extents;
pub mod field;
pub mod frame;
pub mod ident;
pub mod messages;
mod table;

pub use codes::{
    Access, DisconnectCode, ExtentState, Features, OpCode, RefusalCode, RequestFlags, Retry,
    StatusCode,
};
pub use error::DecodeError;
pub use extents::Extent;
pub use field::{List, Text};
pub use frame::{Digest, FrameHeader, HEADER_LENGTH, MAX_PAYLOAD};
pub use ident::{
    AttachmentId, Epoch, Incarnation, InstanceId, RequestNumber, ResourceId, RestartId, Tenure,
};
pub use messages::{FieldInfo, Kind, Message, MessageInfo, Payload, Sender, TABLE};

/// The newest protocol version that this release speaks. HELLO offers a range, WELCOME picks from it [CONN-8].
pub const VERSION: u16 = 2;

/// The oldest version that this release speaks: the one before its own, so that two peers one release apart work
/// together.
pub const OLDEST_VERSION: u16 = 1;

/// The highest version that this release and a peer both speak, where the peer speaks `min` to `max`.
pub fn common_version(min: u16, max: u16) -> Option<u16> {
    let (lowest, highest) = (min.max(OLDEST_VERSION), max.min(VERSION));
    (lowest <= highest).then_some(highest)
}

/// The TCP port that a target listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 10820;
