//! `lull demo`: see it happen.

use std::path::PathBuf;

use crate::exit::Failure;

/// The flags of `lull demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its files are made, and left for inspection [default: a temporary directory, removed]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the demonstration.
pub fn run(args: Args) -> Result<(), Failure> {
    Err(super::not_in_this_build(&format!("{:?}", args.dir)))
}
