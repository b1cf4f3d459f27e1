//! One plain file that is the device, through the kernel's FUSE: for whoever takes a file, and for loop devices on it.
//!
//! `abi` turns the kernel's bytes into meaning and back and touches nothing else; [`serve()`] drives a [`Channel`]
//! against a [`Device`](crate::device::Device); [`mount`] puts the file in its place.
//!
//! The file is used directly: this host's page cache keeps none of it, since whoever mounts a file system on a loop
//! device has a cache already. fsync(2) is a flush. A file's users may write single bytes, for which blocks are read
//! and written.

mod abi;
mod channel;
pub mod mount;
mod odd;
mod reply;
mod seek;
mod serve;

pub use channel::{Channel, Record};
pub use mount::{Mount, MountError};
pub(crate) use reply::Duty;
pub use serve::{Owner, ServeEnd, serve};
