//! Where the built command is.

use std::path::PathBuf;

/// The `lull` that was built into the same target directory, with the same profile, as this test.
///
/// # Panics
/// Where it has not been built, with the command that builds it.
pub fn lull() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    // target/debug/deps/restart-0123 → target/debug/lull; programs of this crate's are beside it.
    let mut places = test.ancestors().skip(1).take(2).map(|dir| dir.join("lull"));
    match places.find(|path| path.is_file()) {
        Some(path) => path,
        None => panic!(
            "no `lull` beside {}: build it with `cargo build --package lull` (`--release` for a \
             release test)",
            test.display()
        ),
    }
}

/// Whether a program of this name is on the path.
pub fn has_program(name: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(name).is_file())
}
