//! Regular files and block devices.
//!
//! [`opening`] finds out what a path is and locks it; [`medium`] is the open file with its blocking
//! operations; [`engine`] decides which of them run on the caller's thread and which on a worker's.

mod durable;
mod engine;
mod extents;
mod gate;
mod inspect;
mod kernel;
mod lock;
mod medium;
mod opening;

pub(crate) use inspect::check;
pub(crate) use opening::open;
