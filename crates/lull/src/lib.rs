//! The `lull` command, as a library: its program is `lull()`.

mod args;
mod commands;
mod config;
mod daemon;
mod exit;
mod load;
mod log;
mod offline;
mod output;
mod service;
mod units;

use std::process::ExitCode;

use clap::Parser as _;
use lull_transport::handover::Predecessor;

/// Does what the command line says.
pub fn lull() -> ExitCode {
    let cli = args::Cli::try_parse().unwrap_or_else(|error| {
        // A release that does not know a flag of the one before it.
        let text = error.to_string();
        Predecessor::decline(text.lines().next().unwrap_or_default().trim_start_matches("error: "));
        error.exit()
    });
    exit::report(commands::run(cli.command, cli.volume))
}

/// Checks the text of a configuration; what is wrong with it, as people are told.
#[doc(hidden)]
pub fn check_configuration(text: &str) -> Result<(), String> {
    config::parse("lull.toml", text).map(drop).map_err(|error| error.to_string())
}
