//! `cargo xtask tidy`: the shape of the tree, from its files and `cargo metadata`.

mod dependencies;
mod links;
mod map;
mod operator;
mod page;
mod protocol;
mod shape;
mod unsafe_code;
mod words;

use crate::finding::{self, Finding};
use crate::rust_source::{RustSource, TestFiles};
use crate::tree::Tree;
use anyhow::Result;
use std::collections::BTreeMap;

/// The page that holds the map of crates, the dependency rule and the list of unsafe modules.
const MAP_PAGE: &str = "docs/architecture.md";

/// The tree with its Rust files taken apart.
struct Scene<'a> {
    tree: &'a Tree,
    rust: BTreeMap<&'a str, RustSource>,
    tests: TestFiles,
}

impl<'a> Scene<'a> {
    fn new(tree: &'a Tree) -> Self {
        let rust = tree.below("", ".rs").map(|(path, text)| (path, RustSource::new(text)));
        Self { tree, rust: rust.collect(), tests: TestFiles::of(tree) }
    }

    /// Rust files below a folder, with their code.
    fn rust_below(&self, folder: &str) -> impl Iterator<Item = (&'a str, &RustSource)> {
        self.rust.iter().filter(move |(path, _)| path.starts_with(folder)).map(|(p, s)| (*p, s))
    }
}

/// Runs all checks. True if nothing is to mend.
pub fn run(tree: &Tree) -> Result<bool> {
    let packages = dependencies::packages(tree)?;
    let mut findings = dependencies::check(tree.text(MAP_PAGE).unwrap_or_default(), &packages);
    findings.extend(check_files(tree));
    let checked = format!("{} files, {} packages", tree.files().count(), packages.len());
    Ok(finding::report("tidy", &checked, findings))
}

/// All checks that need nothing but the files.
fn check_files(tree: &Tree) -> Vec<Finding> {
    let scene = Scene::new(tree);
    let mut findings = Vec::new();
    findings.extend(map::check(tree));
    findings.extend(shape::check(&scene));
    findings.extend(unsafe_code::check(&scene));
    findings.extend(protocol::check(&scene));
    findings.extend(operator::check(&scene));
    findings.extend(words::check(tree));
    findings.extend(links::check(tree));
    findings
}
