//! Regular files and block devices.
//!
//! [`opening`] finds out what a path is and locks it; [`medium`] is the open file with its blocking
//! operations; [`engine`] decides which of them run on the caller's thread, which in its [`ring`] and
//! which on a worker's.

mod durable;
mod engine;
mod extents;
mod gate;
mod inspect;
mod kernel;
mod lock;
mod medium;
mod opening;
mod ring;
mod sysfs;

pub(crate) use inspect::check;
pub(crate) use opening::open;
pub use ring::IoLoop;
