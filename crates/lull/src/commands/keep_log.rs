//! `lull keep-log`: what a daemon starts so that its log outlives it. Not for people.

use std::path::PathBuf;

use crate::exit::Failure;

/// The words of `lull keep-log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's state directory
    pub dir: PathBuf,
    /// The attachment
    pub name: String,
}

/// Keeps the log until the daemon says that it is over.
pub fn run(args: &Args) -> Result<(), Failure> {
    lull_initiator::keep_log(&args.dir, &args.name)
        .map_err(|error| Failure::failed(error.to_string()))
}
