//! `lull initiator`: use several resources.

use std::path::PathBuf;

use crate::config::{self, InitiatorConfig};
use crate::exit::Failure;

/// The flags of `lull initiator`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A configuration with [initiator] and [[attachment]]
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// The configuration that the file means.
///
/// # Errors
/// A wrong file, or one without an initiator.
pub fn resolve(args: &Args) -> Result<InitiatorConfig, Failure> {
    let file = args.config.display();
    config::load(&args.config)?.initiator.ok_or_else(|| {
        Failure::failed(format!("{file} has no [initiator]\n  next: add it, or `lull target`"))
    })
}

/// Runs the daemon until it is stopped.
pub fn run(args: Args) -> Result<(), Failure> {
    let config = resolve(&args)?;
    Err(super::not_in_this_build(&config.name))
}
