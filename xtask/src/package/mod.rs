//! `cargo xtask package`: the Debian package, and the proof that it can be lived with.

mod build;
mod day;
mod machine;
mod root;

use crate::dev::Dev;
use crate::tools;
use crate::tree::Tree;
use anyhow::{Result, ensure};
pub use build::{Profile, package, version};
pub use root::pristine;

/// The flags of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Args {
    /// Install it in a clean Debian that runs systemd, share a disk, restart, upgrade, remove and purge (as root; with
    /// the development build, which is there sooner)
    #[arg(long)]
    pub prove: bool,
}

/// Builds the package and says where it is, or proves that it works.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    if args.prove {
        return prove(tree, Dev::Wanted);
    }
    let version = build::version(tree)?;
    let package = build::package(tree, Profile::Release, &version)?;
    println!("{}", package.display());
    Ok(true)
}

/// Two versions of the package, and a day with them.
pub fn prove(tree: &Tree, dev: Dev) -> Result<bool> {
    ensure!(
        tools::effective_user() == Some(0),
        "a clean Debian is made and started by root alone: run `sudo cargo xtask package --prove`"
    );
    let version = build::version(tree)?;
    let first = build::package(tree, Profile::Dev(dev), &version)?;
    let second = build::package(tree, Profile::Dev(Dev::There), &format!("{version}+next"))?;
    let root = root::pristine(tree)?;
    day::live(&root, &first, &second)?;
    Ok(true)
}
