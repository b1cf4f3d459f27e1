//! A clean Debian to try the package in, made once and kept.

use super::build;
use crate::tree::Tree;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The Debian that the package is for.
const RELEASE: &str = "bookworm";

/// A folder with a minimal Debian and systemd in it, as it was unpacked; nothing is ever changed there.
pub fn pristine(tree: &Tree) -> Result<PathBuf> {
    let root = build::folder(tree).join(RELEASE);
    if root.is_dir() {
        return Ok(root);
    }
    // One that was not finished is no root, whatever is in it.
    let partial = root.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    eprintln!(
        "package: making a clean Debian in {} with debootstrap, half a minute",
        root.display()
    );
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", "--include=systemd", RELEASE]).arg(&partial);
    let log = fs::File::create(build::folder(tree).join("debootstrap.log"))?;
    build::run(make.stdout(log))?;
    fs::rename(&partial, &root)?;
    Ok(root)
}
