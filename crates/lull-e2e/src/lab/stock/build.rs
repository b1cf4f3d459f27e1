//! Our own programs as guests need them: linked statically, since there is no system around them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// Named, so that the flag below is for guests' code and not for what runs while it is built.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Where they come to lie.
pub(super) fn folder(stock: &Path) -> PathBuf {
    stock.join("build").join(TRIPLE).join("lab")
}

/// What guests' code is compiled with, beside static linking: a static program finds the kernel's call for random
/// bytes only if it is told to use it, and this call also makes the kernel of a young system collect some.
const FLAGS: [&str; 4] =
    ["-C", "target-feature=+crt-static", "--cfg", "getrandom_backend=\"linux_getrandom\""];

/// A program that is there as a crate, for this machine.
pub(super) fn tool(into: &Path, (name, release): (&str, &str)) -> Result<()> {
    if into.join("bin").join(name).exists() {
        return Ok(());
    }
    eprintln!("lab: installing {name} {release} below {}, about a minute", into.display());
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "--quiet", "--locked", name, "--version", release, "--root"]).arg(into);
    // What it is compiled into is of no use later.
    let scratch = into.join("build");
    cargo.env("CARGO_TARGET_DIR", &scratch);
    let status = cargo.status()?;
    ensure!(status.success(), "{cargo:?} failed ({status})");
    std::fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// Builds them; cargo knows whether there is anything to do.
pub(super) fn ours(tree: &Path, stock: &Path, names: &[&str]) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--profile", "lab", "--target", TRIPLE, "--target-dir"]);
    cargo.arg(stock.join("build")).args(["--package", "lull", "--package", "lull-e2e"]);
    for name in names {
        cargo.args(["--bin", name]);
    }
    cargo.current_dir(tree).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    let status = cargo.status()?;
    ensure!(status.success(), "{cargo:?} failed ({status})");
    Ok(())
}
