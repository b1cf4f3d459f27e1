//! Whole daemons as real processes on real files, for tests that look at them from outside only.
//!
//! A [`World`] is a directory with everything of one test in it. It starts [`Target`]s and
//! [`Initiator`]s, which are the built `lull`, runs its commands, and shows every log where a test
//! fails. A [`Load`] or [`Fio`] is their consumer. Every wait names what it waits for and ends
//! at a deadline; whatever was started ends with its handle. In a [`lab`] whole operating systems are run.

#![forbid(unsafe_code)]

mod binary;
mod clock;
mod command;
mod consumer;
mod fio;
mod foreign;
mod frozen;
mod initiator;
pub mod lab;
mod load;
mod loop_device;
mod narrow;
mod ports;
pub mod postgres;
mod process;
mod proxy;
mod rounds;
mod service;
mod sweep;
mod target;
mod terminal;
pub mod tools;
mod wait;
mod withhold;
mod world;

pub use binary::{has_program, lull};
pub use clock::now;
pub use command::{Finished, Running};
pub use consumer::{Consumer, Versions};
pub use fio::{Fio, FioReport, FioRounds};
pub use foreign::ForeignServer;
pub use frozen::{FrozenTarget, frozen};
pub use initiator::{Initiator, InitiatorBuilder, Use};
pub use load::{Load, LoadReport, Shape, Window, check_disk};
pub use loop_device::LoopDevice;
pub use narrow::Narrow;
pub use process::{Process, has_open, is_running, limit_files, open_files, send};
pub use proxy::{Cut, Mark, Nth, Place, Proxy};
pub use rounds::{outcome, rounds};
pub use rustix::process::Signal;
pub use service::{Notice, ServiceManager};
pub use target::{Target, TargetBuilder};
pub use terminal::Terminal;
pub use wait::{PROMPT, wait_for, wait_until};
pub use withhold::Withhold;
pub use world::World;
