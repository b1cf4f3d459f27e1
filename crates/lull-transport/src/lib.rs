//! Byte streams between nodes, and passing listening sockets to a successor.
//!
//! A connection is an [`Addr`] that was dialled or listened on, a [`Stream`], and after
//! [`Stream::into_split`] two halves: a reader that fills an [`Inlet`] and a writer that pumps an
//! [`Outlet`]. Both live on one thread, so that whatever one turn of the reader answers leaves in
//! one gathered write. Nothing here knows what the bytes mean.
//!
//! [`handover`] carries open sockets to another process; it and `watch` are the only modules with `unsafe` in them.

#![deny(unsafe_code)]

mod addr;
mod admitted;
mod descriptors;
mod felt;
pub mod handover;
mod inlet;
mod listener;
mod outlet;
mod socket;
mod stream;
mod vsock;
mod watch;

pub use crate::vsock::{VsockListener, VsockReadHalf, VsockStream, VsockWriteHalf};
pub use addr::{Addr, AddrError, DEFAULT_PORT, PlainRefused};
pub use admitted::{Admitted, NotAdmitted};
pub use descriptors::raise_descriptor_limit;
pub use felt::Felt;
pub use inlet::Inlet;
pub use listener::{BindError, Listener};
pub use outlet::Outlet;
pub use socket::{Origin, Socket};
pub use stream::{DialError, PeerCredentials, ReadHalf, Stream, WriteHalf};
pub use watch::watch;
