//! What consumers saw of one disk, and whether its writes explain it.
//!
//! A *history* is the sequence of begins and ends of requests, as somebody outside the system saw them. The
//! [`Checker`] takes it event by event and says which read is not explained. [`file`](mod@file) has the same as
//! lines of text, so that one program can record what another one judges.

mod cell;
mod checker;
pub mod file;

pub use checker::{Checker, Fault, FaultKind, Kind, Loss, Op, Outcome, Promise};
