//! `lull keep-log`: what a daemon starts so that its log outlives it. Not for people.

use std::path::PathBuf;

use crate::exit::Failure;

/// The words of `lull keep-log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's state directory, for people to see
    pub dir: Option<PathBuf>,
    /// The attachment, for people to see
    pub name: Option<String>,
}

/// Keeps the log until the daemon says that it is over.
pub fn run(_: &Args) -> Result<(), Failure> {
    lull_initiator::keep_log().map_err(|error| Failure::failed(error.to_string()))
}
