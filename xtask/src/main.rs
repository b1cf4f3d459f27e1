//! Automation of this repository: `cargo xtask TASK`, one file (or folder) per task.

mod bench;
mod dev;
mod finding;
mod fuzz;
mod lab;
mod package;
mod rust_source;
mod sim;
mod soak;
mod spec;
mod test;
mod tidy;
mod tools;
mod tree;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Automation of this repository")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all that CI runs: tools, format, tidy, spec, clippy, tests, the package
    Test,
    /// Check the shape of the tree: dependencies, file sizes, names, unsafe code
    Tidy,
    /// Print where each rule of the specification is kept and tested; fail on a hole
    Spec(spec::Args),
    /// Build the Debian package, or prove that it can be lived with
    Package(package::Args),
    /// Run simulated worlds: seeds, faults, and judges from outside (`cargo xtask sim -- --help`)
    Sim(sim::Args),
    /// Throw arbitrary bytes at every decoder and arbitrary events at the machines, guided by what they cover
    Fuzz(fuzz::Args),
    /// Run whole operating systems under QEMU that reboot and lose their power: the tests, or a lab for you
    Lab(lab::Args),
    /// Disturb again and again: the end-to-end tests at counts of 10, 20 and 50
    Soak(soak::Args),
    /// Measure what moves with the machine, against its targets
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> Result<ExitCode> {
    let tree = tree::Tree::find()?;
    let passed = match Args::parse().task {
        Task::Test => test::run(&tree)?,
        Task::Tidy => tidy::run(&tree)?,
        Task::Spec(args) => spec::run(&tree, &args)?,
        Task::Package(args) => package::run(&tree, &args)?,
        Task::Sim(args) => sim::run(&tree, &args)?,
        Task::Fuzz(args) => fuzz::run(&tree, &args)?,
        Task::Lab(args) => lab::run(&tree, &args)?,
        Task::Soak(args) => soak::run(&tree, &args)?,
        Task::Bench(bench) => bench::run(&tree, &bench)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
