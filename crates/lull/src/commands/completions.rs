//! `lull completions`: what a shell needs to complete our words.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Failure;

/// The flags of `lull completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell that shall complete
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the shell's script, made from the command line's own definitions.
///
/// # Errors
/// A standard output that cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    // The generator panics on an output that fails, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lull", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
