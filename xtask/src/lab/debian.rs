//! The disk of the lab's guests that are a whole Debian, with systemd and with the package of this tree installed.

use crate::dev::Dev;
use crate::package::{self, Profile};
use crate::tools;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// How it is made; in words for a shell because that is what roots and mounts are made with.
const SCRIPT: &str = include_str!("debian.sh");

/// What the package is made of, beside the command itself.
const PARTS: [&str; 2] = ["dist", "crates/lull/Cargo.toml"];

/// Makes it, unless nothing that it has has changed since.
///
/// # Errors
/// What debootstrap, apt-get, dpkg or mkfs could not do, or a user who may not make roots.
pub fn prepare(tree: &Tree, dev: Dev) -> Result<()> {
    let image = tree.root().join("target/lab/debian.img");
    let mut newest = newest(&dev.program(tree, "lull", "lull")?)?;
    for part in PARTS {
        newest = newest.max(self::newest(&tree.root().join(part))?);
    }
    let made = fs::metadata(&image).and_then(|found| found.modified());
    if made.is_ok_and(|made| made > newest) {
        return Ok(());
    }
    ensure!(
        tools::effective_user() == Some(0),
        "a Debian for the lab is made by root alone: run `sudo cargo xtask lab --prepare`"
    );
    let package = package::package(tree, Profile::Dev(Dev::There), &package::version(tree)?)?;
    let root = package::pristine(tree)?;
    eprintln!("lab: making a Debian with this package in {}", image.display());
    let mut make = Command::new("unshare");
    make.args(["--mount", "sh", "-s"]).arg(&root).arg(root.with_extension("lab"));
    make.arg(&package).arg(&image).stdin(Stdio::piped());
    let log = tree.root().join("target/lab/debian.log");
    make.stdout(fs::File::create(&log)?).stderr(fs::OpenOptions::new().append(true).open(&log)?);
    let mut child = make.spawn().context("starting unshare (package util-linux)")?;
    child.stdin.take().context("a pipe to the shell")?.write_all(SCRIPT.as_bytes())?;
    let status = child.wait()?;
    ensure!(
        status.success(),
        "making {} failed ({status}); {} says why",
        image.display(),
        log.display()
    );
    Ok(())
}

/// When a file, or the newest one below a folder, was changed.
fn newest(path: &Path) -> Result<SystemTime> {
    let found = fs::metadata(path).with_context(|| path.display().to_string())?;
    let mut newest = found.modified()?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    }
    Ok(newest)
}
