//! A block device of the kernel's ublk, `/dev/ublkbN`, which outlives the process that serves it: what was in flight
//! when that died comes again to the next one.
//!
//! `abi` turns the kernel's bytes into meaning and back; [`BlockDevice`] makes, takes over and deletes a device;
//! [`serve()`] drives its queue against a [`Device`](crate::device::Device). The kernel wants all of a queue's commands
//! from one thread, which is the one that serves.

mod abi;
mod block_device;
mod kernel;
mod queue;
mod reply;
mod serve;
mod taken;

pub(crate) use abi::try_reading;
pub use block_device::{BlockDevice, Number, UblkError};
pub use queue::Queue;
pub(crate) use reply::Duty;
pub use serve::serve;
