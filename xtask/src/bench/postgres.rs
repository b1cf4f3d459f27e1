//! `cargo xtask bench postgres`: what a database's clients see while its disk's target is restarted and killed, and a
//! picture of it.

mod page;
mod plot;
mod seen;

use crate::tools;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use seen::Seen;
use std::fs;
use std::process::{Command, Stdio};

/// Where the picture is kept, and the page around it.
const PICTURE: &str = "docs/postgres.svg";
const PAGE: &str = "docs/postgres.md";

/// The flags of `cargo xtask bench postgres`.
#[derive(clap::Args)]
pub struct Args {
    /// Planned restarts of the target
    #[arg(long, default_value_t = 20)]
    restarts: u32,
    /// SIGKILLs to it, spread between them
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Seconds of load before each, and after the last
    #[arg(long, default_value_t = 8)]
    every: u64,
    /// Clients of the database
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// 100000 accounts for each: about 16 MB
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// The target's medium loses with a kill what was not flushed; it reads itself into memory at each start, which
    /// takes longer than the start of a real one
    #[arg(long)]
    volatile: bool,
    /// Write the figures to docs/postgres.md and the picture to docs/postgres.svg
    #[arg(long)]
    write: bool,
}

/// Measures. True if no transaction failed and everything was right in the end.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(args.restarts + args.kills > 0, "nothing is done to the target");
    tools::install_missing()?;
    let busy = page::load_average()?;
    let Some(seen) = watch(tree, args)? else { return Ok(false) };
    let page = page::page(tree, args, &seen, &busy)?;
    println!("{page}");
    if args.write {
        fs::write(tree.root().join(PAGE), page)?;
        fs::write(tree.root().join(PICTURE), plot::picture(&seen))?;
    }
    Ok(true)
}

/// Lets the database run in its own process; none: something failed, which that has said.
fn watch(tree: &Tree, args: &Args) -> Result<Option<Seen>> {
    let build = ["build", "--release", "--package", "lull", "--package", "lull-e2e", "--bins"];
    ensure!(cargo(tree, &build).status()?.success(), "`cargo {}` failed", build.join(" "));
    let mut run = cargo(tree, &["run", "--release", "--quiet", "--package", "lull-e2e"]);
    run.args(["--bin", "lull-postgres", "--", "--restarts"]).arg(args.restarts.to_string());
    for (flag, value) in [
        ("--kills", u64::from(args.kills)),
        ("--every", args.every),
        ("--clients", args.clients.into()),
        ("--scale", args.scale.into()),
    ] {
        run.args([flag, &value.to_string()]);
    }
    if args.volatile {
        run.arg("--volatile");
    }
    let output = run.stderr(Stdio::inherit()).output().context("starting cargo")?;
    if !output.status.success() {
        return Ok(None);
    }
    let said = serde_json::from_slice(&output.stdout).context("what lull-postgres printed")?;
    Seen::of(said).map(Some)
}

fn cargo(tree: &Tree, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(tree.root()).stdin(Stdio::null());
    command
}
