//! NBD, both halves, written from its specification.
//!
//! [`handshake`], [`request`], [`reply`] and [`info`] turn bytes into meaning and back and touch
//! nothing else. [`serve()`] drives the server's half over a [`lull_transport::Stream`] against a
//! [`Device`]; [`client`] drives the other half.
//!
//! The server's half has the whole of the specification's transmission, and the extended headers of
//! its extension. Absent on purpose, and not advertised: TLS; resizing on a client's request, which no
//! client can do (one that connects again sees the new size); metadata contexts other than
//! `base:allocation`. The client's half asks for no more than what our own programs use.

pub mod client;
mod constants;
mod errno;
mod exports;
mod extents;
pub mod handshake;
pub mod info;
pub mod kernel;
pub mod reply;
pub mod request;
mod serve;
mod uri;

pub use crate::device::{Device, Op, Outcome, Reply};
pub use constants::{DEFAULT_PORT, MAX_EXTENTS, MAX_NAME, MAX_PAYLOAD};
pub use errno::Errno;
pub use exports::{Exports, OpenRefused};
pub use extents::Extent;
pub use info::Geometry;
pub use reply::Dialect;
pub(crate) use serve::Duty;
pub use serve::Halfway;
pub use serve::{
    Agreement, Closer, Limits, Owed, Parted, Resumed, ServeEnd, Stage, serve, transmit,
};
pub use uri::{Uri, UriError};
