//! `cargo xtask fuzz`: the targets of `crates/lull-fuzz` under libFuzzer, which sees what an input covers. The tests run
//! the same functions for some seconds; this is for hours.

use crate::tree::Tree;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is told to the compiler so that libFuzzer learns which edges were taken and what was compared. All of it is
/// stable; a sanitizer, which is not, would look at memory that safe code cannot get wrong.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// What is to be fuzzed, and for how long.
#[derive(clap::Args)]
pub struct Args {
    /// The target; without it all, one after the other, each for its time
    target: Option<String>,
    /// Minutes for each target
    #[arg(long, default_value_t = 5)]
    minutes: u64,
}

/// Builds and runs. True if nothing was found.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    let names = names(tree)?;
    let chosen: Vec<&str> = match &args.target {
        Some(target) => {
            let known = names.iter().any(|name| name == target);
            ensure!(known, "`{target}` is no target; there are {}", names.join(", "));
            vec![target]
        }
        None => names.iter().map(String::as_str).collect(),
    };
    let host = host()?;
    let mut passed = true;
    for target in chosen {
        passed &= fuzz(tree, target, &host, args.minutes)?;
    }
    Ok(passed)
}

fn fuzz(tree: &Tree, target: &str, host: &str, minutes: u64) -> Result<bool> {
    let out = tree.root().join("fuzz/target");
    let built = Command::new("cargo")
        .args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bin", target])
        .args(["--target", host, "--target-dir"])
        .arg(&out)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .current_dir(tree.root())
        .status()
        .context("starting cargo")?;
    ensure!(built.success(), "{target} does not build; libFuzzer needs a C++ compiler (apt: g++)");
    let (corpus, found) = (out.join("corpus").join(target), out.join("found").join(target));
    seed(tree, target, &corpus)?;
    std::fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    eprintln!("── {target}: {minutes} min; its corpus grows in {}", corpus.display());
    let status = Command::new(out.join(host).join("release").join(target))
        .arg(&corpus)
        .arg(format!("-max_total_time={}", minutes * 60))
        .args(["-max_len=4096", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", found.display()))
        .status()
        .with_context(|| format!("starting {target}"))?;
    if !status.success() {
        eprintln!(
            "── {target} FAILED: the input is in {}. `cargo run -p lull-fuzz -- run {target} FILE` repeats it; mend \
             what it shows, and put it into crates/lull-fuzz/found/{target}/ under a name that says what it is",
            found.display()
        );
    }
    Ok(status.success())
}

/// The seeds beside what earlier runs have gathered.
fn seed(tree: &Tree, target: &str, corpus: &Path) -> Result<()> {
    let folder = corpus.to_str().context("a path that is text")?;
    lull_fuzz(tree, &["seeds", target, folder]).map(drop)
}

fn names(tree: &Tree) -> Result<Vec<String>> {
    Ok(lull_fuzz(tree, &["names"])?.lines().map(str::to_owned).collect())
}

/// What `lull-fuzz` says when it is told this.
fn lull_fuzz(tree: &Tree, words: &[&str]) -> Result<String> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--package", "lull-fuzz", "--"])
        .args(words)
        .current_dir(tree.root())
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    ensure!(output.status.success(), "`lull-fuzz {}` failed", words.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What this machine is called, so that coverage is built into what runs and not into what builds.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("starting rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("`rustc -vV` names no host: {text}"),
    }
}
