//! A lab: whole operating systems that can be rebooted, cut off from power, and frozen.
//!
//! Each is a kernel of Debian's under QEMU with an initial RAM disk of ours: busybox, a few programs
//! of Debian's, the built `lull`, and an agent that carries out the test's orders. A [`Lab`] is the place where they stand,
//! with a network between them; a [`Guest`] is the handle of one. What they are made of is a [`Stock`] below `target/`,
//! which `cargo xtask lab --prepare` lays in.

mod agent;
mod archive;
pub mod blocks;
pub mod compare;
pub mod files;
mod guest;
mod hub;
mod image;
mod keep;
mod kernel;
mod machine;
pub mod order;
mod passage;
mod place;
mod quiet;
mod stock;
mod vsock;

pub use agent::Order;
pub use guest::{Guest, GuestBuilder};
pub use keep::{keep, type_at};
pub use kernel::Kernel;
pub use passage::Passage;
pub use place::Lab;
pub use stock::{Stock, prepare, prepare_others};
