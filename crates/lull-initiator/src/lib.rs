//! The daemon that uses resources of targets: each attachment is dialled, shown to its consumers through a front
//! end, and held through the target's restarts.
//!
//! Everything lives on one thread. An [`attachment`] owns its machine and the requests of its consumers; a request
//! goes from the front end into the machine, and what the machine wants done is done at once in `perform`, the one
//! place where decisions become I/O. A connection's task reads and writes; a timer's task wakes the machine. The
//! [`daemon`] is the loop around them: admin calls, signals, attachments that end.

#![deny(unsafe_code)]

mod asks_again;
mod attachment;
mod awaited;
mod beginning;
mod block_device;
mod buffer;
mod chronicle;
mod clock;
mod command;
mod config;
mod connection;
mod daemon;
mod descent;
mod error;
mod footing;
mod front_end;
mod full_line;
mod guests;
mod heritage;
mod hook;
mod journal;
mod kernel_devices;
mod kernel_nbd;
mod knocks;
mod leftover;
mod life;
mod medium;
mod missing_place;
mod mounted;
mod note;
#[doc(hidden)]
pub mod outside;
mod outstanding;
mod overtaken;
mod perform;
mod receive;
mod shutdown;
mod slots;
mod state_file;
mod state_writer;
mod states;
mod status;
mod stored;
mod succession;
mod timer;
mod unless_parting;
mod unserved;
mod vault;
mod wording;

pub use config::{
    AttachmentConfig, Config, ConfigError, Keeping, Policy, ShutdownConfig, Starter, addr_of,
    check_callback,
};

pub use error::RunError;
pub use life::{run, serve};
pub use medium::{Medium, MediumConfig, Taken};
pub use state_file::StateError;
pub use stored::{has_state, stored_status};
pub use vault::keep_log;
