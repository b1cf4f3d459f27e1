//! The repository as files: where its root is, what belongs to it, what each file says.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository on disk, read once.
pub struct Tree {
    root: PathBuf,
    /// Path from the root (with `/`) → text. Files that are not UTF-8 are left out.
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository whose `cargo xtask` this is: cargo says so when it starts the program,
    /// which may have been built for another checkout that shares the target folder.
    pub fn find() -> Result<Self> {
        let told = std::env::var("CARGO_MANIFEST_DIR");
        let own = told.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let root = Path::new(&own)
            .parent()
            .context("xtask lies in a folder of the repository")?
            .to_owned();
        ensure!(
            root.join("Cargo.toml").is_file(),
            "{} holds no Cargo.toml: start this as `cargo xtask` from inside the repository",
            root.display()
        );
        let mut files = BTreeMap::new();
        for path in listed_by_git(&root).map_or_else(|| walked(&root), Ok)? {
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.insert(path, text);
            }
        }
        Ok(Self { root, files })
    }

    /// A made-up tree for the tests of the checks.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self { root: PathBuf::new(), files: files.iter().map(own).collect() }
    }

    /// The root on disk.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All files, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files below a folder (`crates/`) whose names end in `suffix`.
    pub fn below(&self, folder: &str, suffix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.starts_with(folder) && path.ends_with(suffix))
    }

    /// The text of one file, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }
}

/// Tracked files and those that would be tracked; none without git or outside a checkout.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let names = String::from_utf8(output.stdout).ok()?;
    let names: Vec<_> = names.split('\0').filter(|n| !n.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

/// All files below `root` but for build output: for a tree without git, such as an unpacked archive.
fn walked(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with(".git") {
                    folders.push(path);
                }
            } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                found.push(name.replace('\\', "/"));
            }
        }
    }
    Ok(found)
}
