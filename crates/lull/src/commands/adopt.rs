//! `lull adopt`: another disk is what a resource is from now on.

use std::path::PathBuf;

use crate::commands::target;
use crate::config;
use crate::exit::Failure;

/// The flags of `lull adopt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration of the target, which does not run
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// What is adopted: a resource of it, by name
    #[arg(value_name = "RESOURCE", required = true)]
    pub resources: Vec<String>,
}

/// Adopts, and says what that did.
///
/// # Errors
/// A wrong file, a target that runs, a resource that is not there.
pub fn run(args: &Args) -> Result<(), Failure> {
    let missing = || {
        let file = args.config.display();
        Failure::failed(format!("{file} has no [target]\n  next: give the configuration of one"))
    };
    let config = config::load(&args.config)?.target.ok_or_else(missing)?;
    let config = target::daemon_config(config)?;
    let said = lull_target::adopt(&config, &args.resources);
    for sentence in said.map_err(|error| Failure::failed(error.to_string()))? {
        eprintln!("{sentence}");
    }
    Ok(())
}
