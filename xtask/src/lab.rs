//! `cargo xtask lab`: operating systems under QEMU. What they are made of and what is done to them is in `crates/lull-e2e`.

mod compare;
mod debian;

use crate::dev::Dev;
use crate::tools;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

/// The flags of `cargo xtask lab`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    task: Option<Task>,
    /// Only lay in what the tests need: kernels and programs of Debian's, our own binaries for guests
    #[arg(long)]
    prepare: bool,
    /// Start a target and initiators, tell how to type into each, and let them run until Enter is pressed
    #[arg(long, conflicts_with = "prepare")]
    keep: bool,
    /// With --keep: how many initiators
    #[arg(long, value_name = "COUNT", default_value = "2", requires = "keep")]
    initiators: u8,
    /// Type at the console of a guest of the lab that --keep runs; Ctrl-] ends it
    #[arg(long = "type", value_name = "GUEST", conflicts_with_all = ["prepare", "keep"])]
    at: Option<String>,
    /// How often the tests that disturb do so
    #[arg(long, value_name = "COUNT", default_value = "3")]
    rounds: u32,
}

/// What is neither a test nor a lab for people.
#[derive(clap::Subcommand)]
enum Task {
    /// Reboot the target under load and cut its power, with Lull, Linux NBD, NVMe/TCP and iSCSI in turn; print a table
    /// of what their users had of it
    Compare(compare::Args),
}

/// Does what the flags say; without any, runs all tests of the lab. True if they passed.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    if let Some(Task::Compare(args)) = &args.task {
        return compare::run(tree, args);
    }
    if let Some(guest) = &args.at {
        return lull_lab(tree, Dev::Wanted, &["type", guest]);
    }
    tools::install_missing()?;
    prepare(tree, Dev::Wanted)?;
    if args.prepare {
        return Ok(true);
    }
    if args.keep {
        let count = args.initiators.to_string();
        return lull_lab(tree, Dev::Wanted, &["keep", "--initiators", &count]);
    }
    ensure!(args.rounds > 0, "a count of 0 disturbs nothing");
    let built = cargo(tree, &["build", "--package", "lull"]).status()?.success();
    ensure!(built, "`cargo build --package lull` failed");
    let mut tests = cargo(tree, &["nextest", "run", "--profile", "soak", "--package", "lull-e2e"]);
    tests.args(["--test", "lab", "--success-output", "final"]);
    tests.env("LULL_E2E_ROUNDS", args.rounds.to_string());
    Ok(tests.status().context("cargo nextest, which `cargo xtask test` installs")?.success())
}

/// Lays in what guests are made of. True if it is there.
pub fn prepare(tree: &Tree, dev: Dev) -> Result<bool> {
    let root = tree.root().display().to_string();
    if !lull_lab(tree, dev, &["prepare", &root])? {
        return Ok(false);
    }
    debian::prepare(tree, dev)?;
    Ok(true)
}

/// The lab's own program, at this terminal.
fn lull_lab(tree: &Tree, dev: Dev, words: &[&str]) -> Result<bool> {
    let program = dev.program(tree, "lull-e2e", "lull-lab")?;
    let status = Command::new(&program).args(words).current_dir(tree.root()).status();
    Ok(status.with_context(|| format!("starting {}", program.display()))?.success())
}

fn cargo(tree: &Tree, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(tree.root()).stdin(Stdio::null());
    command
}
