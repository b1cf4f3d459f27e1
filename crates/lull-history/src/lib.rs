//! What consumers saw of one disk, and whether its writes explain it.
//!
//! A *history* is the sequence of begins and ends of requests, as somebody outside the system saw them. The
//! [`Checker`] takes it event by event and says which read is not explained. [`file`](mod@file) has the same as
//! lines of text, so that one program can record what another one judges; [`account`](mod@account) says of a
//! finding in such a file which lines it is about.

pub mod account;
mod cell;
mod checker;
mod fault;
pub mod file;
mod request;

pub use checker::Checker;
pub use fault::{Fault, FaultKind};
pub use request::{Held, Kind, Loss, Op, Outcome, Part, Promise};
