//! NBD, both halves, written from its specification.
//!
//! [`handshake`], [`request`], [`reply`] and [`info`] turn bytes into meaning and back and touch
//! nothing else. [`serve()`] drives the server's half over a [`lull_transport::Stream`] against a
//! [`Device`]; [`client`] drives the other half.
//!
//! Absent on purpose: TLS, metadata contexts (asked for, they are answered with none), extended
//! headers, `NBD_CMD_CACHE`. None of them is advertised.

pub mod client;
mod constants;
mod device;
mod errno;
pub mod handshake;
pub mod info;
pub mod reply;
pub mod request;
mod serve;
mod uri;

pub use constants::{DEFAULT_PORT, MAX_NAME, MAX_PAYLOAD};
pub use device::{Device, Exports, Op, OpenRefused, Outcome};
pub use errno::Errno;
pub use info::Geometry;
pub use serve::{Closer, Limits, Reply, ServeEnd, serve};
pub use uri::{Uri, UriError};
