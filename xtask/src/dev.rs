//! The development build: the command, and the programs that help the tests.

use crate::tree::Tree;
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dev {
    /// Whoever needs a program of it: each is built by itself.
    Wanted,
    /// Somebody did before: all programs came with the tests of the whole workspace. Other features are switched on in
    /// libraries then, so that building a program by itself would be building most of it again.
    There,
}

impl Dev {
    /// Where a program is that belongs to `package`.
    ///
    /// # Errors
    /// What cargo could not build.
    pub fn program(self, tree: &Tree, package: &str, name: &str) -> Result<PathBuf> {
        if self == Self::Wanted {
            let mut build = Command::new("cargo");
            build.args(["build", "--quiet", "--package", package, "--bin", name]);
            let status = build.current_dir(tree.root()).stdin(Stdio::null()).status()?;
            ensure!(status.success(), "`cargo build --package {package} --bin {name}` failed");
        }
        Ok(tree.root().join("target/debug").join(name))
    }
}
