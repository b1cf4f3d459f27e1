//! A disk for virtual machines: vhost-user-blk, the device's half.
//!
//! The monitor of a virtual machine (QEMU) hands over the guest's memory and its rings at a unix socket; from then on the
//! guest's own driver and this process meet in that memory, and the monitor has no part in it. [`wire`], [`chain`],
//! [`ring`], [`record`], [`request`] and [`config`] turn memory and bytes into meaning and back; [`serve()`] drives them
//! against a [`Device`](crate::device::Device).
//!
//! The monitor is trusted as the user is who may connect to the socket. The guest is not: whatever it writes costs it no
//! more than its own disk. Requests in flight are on record in memory that the monitor keeps, so that a life of this process
//! that is killed leaves them to the next, and the guest sees a wait.
//!
//! Absent on purpose, and not offered: packed rings, live migration, rings without a descriptor for kicks.

pub mod chain;
pub mod config;
mod live;
pub mod memory;
mod queue;
pub mod record;
pub mod request;
pub mod ring;
mod serve;
mod signal;
mod socket;
pub mod wire;

pub(crate) use live::Duty;
pub use live::{AskedOnce, Past};
pub use request::SERIAL;
pub use serve::{Identity, MOST_QUEUES, ServeEnd, Told, serve};
