//! The `lull` command.

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

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    exit::report(commands::run(cli.command, cli.volume))
}
