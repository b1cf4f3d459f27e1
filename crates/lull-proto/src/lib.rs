//! The pause and resume protocol as two machines: [`initiator::Initiator`], one for each attachment, and
//! [`target::Target`], one for each target daemon.
//!
//! A machine has no clock, does no I/O and never sees payload. Time, chance and what happened come in as
//! arguments of `handle`; what is to be done goes out through a list of actions; `deadline` says when it wants to
//! be woken. A daemon, a simulator and a model checker drive the same values.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod beat;
pub mod geometry;
pub mod initiator;
pub mod ledger;
#[cfg(feature = "renaming")]
pub mod renaming;
pub mod target;
pub mod time;
pub mod upstream;
pub mod violation;
mod words;

pub use geometry::Geometry;
pub use time::MonoTime;
pub use upstream::{Never, Upstream};
pub use violation::Violation;
pub use words::says_the_same;

/// One connection, numbered by the side that keeps it; never given twice in the life of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnId(pub u64);
