//! `cargo xtask bench WHAT`: figures that move with the machine, measured side by side in one run, with a verdict.
//! They are never asserted in tests.

mod engines;
mod figures;
mod fio;
mod line;
mod load;
mod postgres;
mod process;
mod restart;
mod retain;
mod scale;

use crate::tree::Tree;
use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub enum Bench {
    /// The longest stall that a consumer sees in a planned restart of the target, and what it consists of
    Restart(restart::Args),
    /// Each way of reading and writing files beside nbdkit: rate, latency, processor time per request
    Engines(engines::Args),
    /// What many idle sessions cost a target: memory, pausing, coming back, and others' I/O while all dial
    Scale(scale::Args),
    /// What it costs an initiator to retain what no flush covers: rate and processor time, flushes, memory
    Retain(retain::Args),
    /// What a database's clients see while the target is restarted and killed, with a picture of it
    Postgres(postgres::Args),
}

/// Measures and prints. True if the figures are within their targets.
pub fn run(tree: &Tree, bench: &Bench) -> Result<bool> {
    match bench {
        Bench::Restart(args) => restart::run(tree, args),
        Bench::Engines(args) => engines::run(tree, args),
        Bench::Scale(args) => scale::run(tree, args),
        Bench::Retain(args) => retain::run(tree, args),
        Bench::Postgres(args) => postgres::run(tree, args),
    }
}
