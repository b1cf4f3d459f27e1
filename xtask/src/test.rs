//! `cargo xtask test`: everything that CI runs, step by step, each with its time.

use crate::dev::Dev;
use crate::lab;
use crate::package;
use crate::spec;
use crate::tidy;
use crate::tools;
use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A step by its name, the command that repeats it alone, and what it does: true if it passed.
struct Step<'a> {
    name: &'static str,
    repeat: &'static str,
    work: Box<dyn Fn() -> Result<bool> + 'a>,
}

/// Runs all steps, up to the first that fails. True if none did.
pub fn run(tree: &Tree) -> Result<bool> {
    let begun = now();
    let mut done = Vec::new();
    // What the checks are depends on what the preparation could get.
    let passed = run_steps(preparation(tree), &mut done) && run_steps(checks(tree), &mut done);
    if passed {
        eprintln!("all passed in {}: {}", seconds(now() - begun), done.join(", "));
    }
    Ok(passed)
}

/// Runs steps up to the first that fails, and notes in `done` how long each took.
fn run_steps(steps: Vec<Step<'_>>, done: &mut Vec<String>) -> bool {
    for step in steps {
        eprintln!("── {} ── {}", step.name, step.repeat);
        let begun = now();
        let outcome = (step.work)();
        let took = seconds(now() - begun);
        if let Err(error) = &outcome {
            eprintln!("{error:#}");
        }
        if !outcome.unwrap_or(false) {
            eprintln!("── {} FAILED after {took}; this step alone: {}", step.name, step.repeat);
            return false;
        }
        eprintln!("── {} passed in {took}", step.name);
        done.push(format!("{} {took}", step.name));
    }
    true
}

fn step<'a>(
    name: &'static str,
    repeat: &'static str,
    work: impl Fn() -> Result<bool> + 'a,
) -> Step<'a> {
    Step { name, repeat, work: Box::new(work) }
}

fn preparation(tree: &Tree) -> Vec<Step<'_>> {
    vec![
        step("toolchain", "cargo fmt --version && cargo clippy --version", || toolchain(tree)),
        step("tools", "cargo xtask test", || {
            tools::install_missing()?;
            install_nextest(tree);
            Ok(true)
        }),
    ]
}

fn checks(tree: &Tree) -> Vec<Step<'_>> {
    let command = |name, repeat| step(name, repeat, move || shell(tree, repeat));
    let has_nextest = has_nextest(tree);
    vec![
        command("format", "cargo fmt --all --check"),
        step("tidy", "cargo xtask tidy", || tidy::run(tree)),
        step("spec", "cargo xtask spec", || spec::run(tree, &spec::Args::default())),
        command("clippy", "cargo clippy --workspace --all-targets -- -D warnings"),
        // The one development build: with the tests come all programs, which the next steps start.
        match has_nextest {
            true => command("build", "cargo nextest run --workspace --no-run"),
            false => command("build", "cargo test --workspace --all-targets --no-run"),
        },
        step("lab", "cargo xtask lab --prepare", || lab::prepare(tree, Dev::There)),
        step("tests", "cargo nextest run --workspace --no-fail-fast", move || {
            tests(tree, has_nextest)
        }),
        // Not built for speed as `cargo xtask sim` is, which would take longer than it saves; and it checks its own arithmetic.
        command("simulator", "target/debug/lull-sim --seeds 3000"),
        command("doc tests", "cargo test --workspace --doc"),
        step("package", "cargo xtask package --prove", || package::prove(tree, Dev::There)),
    ]
}

/// All tests. Most of their time they wait, for timers and for each other's processes, so that there are two for each processor;
/// `.config/nextest.toml` says which count twice.
fn tests(tree: &Tree, has_nextest: bool) -> Result<bool> {
    if !has_nextest {
        return shell(tree, "cargo test --workspace --all-targets --no-fail-fast");
    }
    let threads = 2 * std::thread::available_parallelism()?.get();
    let run = "cargo nextest run --workspace --no-fail-fast --test-threads";
    shell(tree, &format!("{run} {threads}"))
}

/// Runs a command whose words hold no spaces, with nothing to read. True if it exits with 0.
fn shell(tree: &Tree, command: &str) -> Result<bool> {
    let mut words = command.split(' ');
    let program = words.next().unwrap_or_default();
    let status = Command::new(program)
        .args(words)
        .current_dir(tree.root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting `{command}`"))?;
    Ok(status.success())
}

/// Whether the command runs and exits with 0; what it prints is dropped.
fn answers(tree: &Tree, command: &[&str]) -> bool {
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).current_dir(tree.root());
    process.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process.status().is_ok_and(|status| status.success())
}

/// The pinned toolchain with the components that the next steps use.
fn toolchain(tree: &Tree) -> Result<bool> {
    for (component, program) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(tree, &["cargo", program, "--version"]) {
            bail!(
                "the toolchain of rust-toolchain.toml lacks {component}: run `rustup component \
                 add {component}` in this folder and repeat"
            );
        }
    }
    Ok(true)
}

fn has_nextest(tree: &Tree) -> bool {
    answers(tree, &["cargo", "nextest", "--version"])
}

/// Gets nextest if it can be had; without it `cargo test` runs the same tests, slower.
fn install_nextest(tree: &Tree) {
    const INSTALL: &str = "cargo install --locked cargo-nextest";
    if has_nextest(tree) {
        return;
    }
    eprintln!("test: installing cargo-nextest with `{INSTALL}`, which takes some minutes");
    if !shell(tree, INSTALL).unwrap_or(false) || !has_nextest(tree) {
        eprintln!("test: cargo-nextest cannot be had here; cargo test will run the tests");
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of xtask: how long a step took")]
fn now() -> Instant {
    Instant::now()
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
