//! Building the package: the binary, what it says about itself, and cargo-deb, which puts it together as
//! `crates/lull/Cargo.toml` says.

use crate::dev::Dev;
use crate::tree::Tree;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release of cargo-deb that is used, so that all machines make the same package.
const CARGO_DEB: &str = "3.8.0";

/// Which build of the binary goes into the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For people.
    Release,
    /// The one that the end-to-end tests use.
    Dev(Dev),
}

/// The version of this tree.
pub fn version(tree: &Tree) -> Result<String> {
    let mut query = cargo_metadata::MetadataCommand::new();
    let metadata = query.current_dir(tree.root()).no_deps().exec()?;
    let lull = metadata.packages.iter().find(|package| package.name == "lull");
    Ok(lull.context("no package named lull")?.version.to_string())
}

/// Makes the package of this tree under a version; where it is.
pub fn package(tree: &Tree, profile: Profile, version: &str) -> Result<PathBuf> {
    let cargo_deb = cargo_deb(tree)?;
    let place = folder(tree);
    let gathered = place.join("tree");
    gather(tree, profile, &gathered.join("release"))?;
    let package = place.join(format!("lull_{version}.deb"));
    let mut command = Command::new(cargo_deb);
    command.args(["deb", "--no-build", "--strip", "--package", "lull", "--deb-version", version]);
    if profile != Profile::Release {
        command.arg("--fast");
    }
    command.arg("--output").arg(&package);
    // cargo-deb takes what the manifest calls target/release from there.
    command.env("CARGO_TARGET_DIR", &gathered);
    run(command.current_dir(tree.root()))?;
    Ok(package)
}

/// Where packages are put together.
pub fn folder(tree: &Tree) -> PathBuf {
    tree.root().join("target/package")
}

/// The binary and what it writes itself, under the names that the manifest gives them.
fn gather(tree: &Tree, profile: Profile, into: &Path) -> Result<()> {
    let built = match profile {
        Profile::Release => {
            let mut build = Command::new("cargo");
            build.args(["build", "--release", "--package", "lull"]);
            run(build.current_dir(tree.root()))?;
            tree.root().join("target/release/lull")
        }
        Profile::Dev(dev) => dev.program(tree, "lull", "lull")?,
    };
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::create_dir_all(into.join("completions"))?;
    let lull = into.join("lull");
    fs::copy(built, &lull)?;
    run(Command::new(&lull).arg("man").arg(into.join("man")))?;
    for (shell, name) in [("bash", "lull"), ("fish", "lull.fish"), ("zsh", "_lull")] {
        let script = Command::new(&lull).args(["completions", shell]).output()?;
        ensure!(script.status.success(), "`lull completions {shell}` failed");
        fs::write(into.join("completions").join(name), script.stdout)?;
    }
    Ok(())
}

/// cargo-deb below `target/`, installed there where it is missing.
fn cargo_deb(tree: &Tree) -> Result<PathBuf> {
    let tools = tree.root().join("target/tools");
    let program = tools.join("bin/cargo-deb");
    let mut ask = Command::new(&program);
    let said = ask.arg("--version").stderr(Stdio::null()).output();
    if said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(CARGO_DEB)) {
        return Ok(program);
    }
    eprintln!("package: installing cargo-deb {CARGO_DEB} below target/tools, about a minute");
    let mut install = Command::new("cargo");
    install.args([
        "install",
        "--quiet",
        "--locked",
        "--force",
        "cargo-deb",
        "--version",
        CARGO_DEB,
    ]);
    // What it is compiled into is of no use later.
    let scratch = tempfile::tempdir()?;
    install.arg("--root").arg(&tools).env("CARGO_TARGET_DIR", scratch.path());
    run(&mut install)?;
    Ok(program)
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.stdin(Stdio::null()).status().with_context(|| shown.clone())?;
    if !status.success() {
        bail!("{shown} failed ({status}): mend what it says above and repeat");
    }
    Ok(())
}
