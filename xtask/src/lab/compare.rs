//! `cargo xtask lab compare`: the same reboots and power cuts for Lull and for what else there is.

use super::lull_lab;
use crate::dev::Dev;
use crate::tools;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// The flags of `cargo xtask lab compare`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these, by name, with commas between them [default: all, which a wrong name lists]
    #[arg(long, value_name = "NAMES")]
    systems: Option<String>,
    /// How often each is rebooted, and how often its power is cut
    #[arg(long, value_name = "COUNT", default_value = "3")]
    rounds: u32,
    /// A folder for the raw logs; one that has some is added to [default: a new one below target/lab/compare]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Run nothing: print the table of a folder with raw logs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["systems", "rounds", "logs"])]
    from: Option<PathBuf>,
}

/// Runs what is asked for and prints the table. True if there is one.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    // The lab's program runs where the tree is.
    let absolute =
        |path: &PathBuf| std::path::absolute(path).map(|path| path.display().to_string());
    if let Some(from) = &args.from {
        return lull_lab(tree, Dev::Wanted, &["table", &absolute(from)?]);
    }
    tools::install_missing()?;
    let root = tree.root().display().to_string();
    ensure!(lull_lab(tree, Dev::Wanted, &["prepare", &root])?, "the lab could not be laid in");
    let logs = match &args.logs {
        Some(logs) => absolute(logs)?,
        None => {
            let date = Command::new("date").args(["--utc", "+%Y%m%d-%H%M%S"]).output();
            let date = date.context("starting date (package coreutils)")?;
            format!("{root}/target/lab/compare/{}", String::from_utf8_lossy(&date.stdout).trim())
        }
    };
    let rounds = args.rounds.to_string();
    let mut words = vec!["compare", &root, "--rounds", &rounds, "--logs", &logs];
    if let Some(systems) = &args.systems {
        words.extend(["--systems", systems]);
    }
    let there = lull_lab(tree, Dev::Wanted, &words)?;
    eprintln!("raw logs: {logs}; `cargo xtask lab compare --from {logs}` prints the table again");
    Ok(there)
}
