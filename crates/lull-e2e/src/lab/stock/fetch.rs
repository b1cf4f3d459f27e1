//! Packages of Debian's: fetched once, unpacked below `target/`, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A kernel with its modules, from the package that `meta` depends on. `busybox` runs here too.
pub(super) fn kernel(into: &Path, meta: &str, busybox: &Path) -> Result<()> {
    once(into, meta, |partial| {
        let newest = depends(meta)?;
        run(Command::new("apt-get")
            .args(["--quiet", "--quiet", "download", &newest])
            .current_dir(partial))?;
        unpack(partial, partial)?;
        let modules = partial.join("lib/modules");
        let version = newest.trim_start_matches("linux-image-");
        // Newer kernels have them compressed, which busybox in a guest need not know about.
        let compressed = files(&modules, ".ko.xz")?;
        if !compressed.is_empty() {
            run(Command::new("xz").arg("--decompress").args(compressed))?;
        }
        // A package makes the list of what needs what when it is installed.
        run(Command::new(busybox).args(["depmod", "-b"]).arg(partial).arg(version))
    })
}

/// Where it is noted which packages a folder was made of.
const PACKAGES: &str = "packages";

/// Programs of some packages, with all that they depend on.
pub(super) fn programs(into: &Path, packages: &[&str]) -> Result<()> {
    let names = packages.join(", ");
    let other = std::fs::read_to_string(into.join(PACKAGES)).ok().as_ref() != Some(&names);
    if other && into.is_dir() {
        std::fs::remove_dir_all(into)?;
    }
    once(into, &names, |partial| {
        // As if nothing at all were installed.
        let status = partial.join("status");
        std::fs::write(&status, "")?;
        std::fs::create_dir(partial.join("partial"))?;
        let mut get = Command::new("apt-get");
        get.args(["--quiet", "--quiet", "install", "--yes", "--no-install-recommends"]);
        get.args(["--download-only", "-o", "Debug::NoLocking=1"]);
        get.arg("-o").arg(format!("Dir::State::status={}", status.display()));
        get.arg("-o").arg(format!("Dir::Cache::archives={}", partial.display()));
        run(get.args(packages))?;
        unpack(partial, partial)?;
        Ok(std::fs::write(partial.join(PACKAGES), &names)?)
    })
}

/// Makes a folder that is there as a whole or not at all.
fn once(into: &Path, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if into.is_dir() {
        return Ok(());
    }
    let partial = into.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial)?;
    }
    std::fs::create_dir_all(&partial)?;
    let partial = partial.canonicalize()?;
    eprintln!("lab: fetching {what} into {}", into.display());
    make(&partial).with_context(|| format!("fetching {what}"))?;
    std::fs::rename(&partial, into)?;
    Ok(())
}

/// The newest package behind one that only depends on it.
fn depends(meta: &str) -> Result<String> {
    for refresh in [false, true] {
        if refresh {
            // A machine that has just been made has no lists of packages.
            run(Command::new("apt-get").args(["--quiet", "--quiet", "update"]))?;
        }
        let said = Command::new("apt-cache").args(["depends", meta]).output()?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let found = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        if let Some(found) = found {
            return Ok(found.to_owned());
        }
    }
    anyhow::bail!(
        "apt-get knows no {meta}: the lab is made of packages of Debian 12 with its security archive"
    )
}

/// Unpacks all packages in a folder and removes them.
fn unpack(from: &Path, into: &Path) -> Result<()> {
    for package in files(from, ".deb")? {
        run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(into))?;
        std::fs::remove_file(package)?;
    }
    Ok(())
}

/// All files below a folder whose name ends so.
fn files(below: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(end) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| shown.clone())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed ({}): {}", output.status, said.trim());
    Ok(())
}
