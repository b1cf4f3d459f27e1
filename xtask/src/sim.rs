//! `cargo xtask sim`: the simulator, built for speed. What it can be told is its own affair.

use crate::tree::Tree;
use anyhow::{Context, Result};
use std::process::Command;

/// What the simulator is told.
#[derive(clap::Args)]
pub struct Args {
    /// As `lull-sim` takes them: `--seeds N`, `--minutes M`, `--preset P --seed S --trace`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds and runs it. True if it found nothing wrong.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "lull-sim", "--"])
        .args(&args.args)
        .current_dir(tree.root())
        .status()
        .context("starting the simulator")?;
    Ok(status.success())
}
