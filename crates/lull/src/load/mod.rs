//! A load on disks behind NBD servers, and the judge of what they return.
//!
//! A [`Plan`] says what to do; a [`Load`] does it on the current thread, counts in a [`meter`], and
//! asks the [`judge`] about every read; a [`Report`] is what came of it. An error never ends a
//! load: it is counted, and a lost connection is made again.

mod chance;
mod clock;
mod judge;
mod link;
mod meter;
mod order;
mod pattern;
mod recorder;
mod report;
mod run;
mod worker;

pub use meter::Window;
pub use order::Plan;
pub use report::{Latency, Report, Verification};
pub use run::{Load, StartError, Watch};

/// A number that no other run has.
pub fn new_run() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests;
