//! `cargo xtask bench engines`: the ways in which a target reads and writes files, beside nbdkit's file plugin, served
//! over NBD to fio.

mod contestant;
mod workload;

use super::fio::Measured;
use super::restart::build;
use crate::tree::Tree;
use anyhow::{Result, ensure};
use contestant::{Contestant, KINDS, Kind};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use workload::{Turn, WORKLOADS, Workload};

/// What our cached file has to reach of nbdkit's requests per second with 32 in flight.
const LEAST_RATE: f64 = 1.3;
/// What it may take of nbdkit's processor time per request then.
const MOST_CPU: f64 = 0.6;

/// The flags of `cargo xtask bench engines`.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds, in each of which everybody has a turn with each load; the figures are medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one turn in seconds
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Size of each file in MiB
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Only those whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Only loads whose name contains this
    #[arg(long)]
    load: Option<String>,
    /// Where the files lie: not in memory [default: target/bench]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A `lull` to measure instead of building this one
    #[arg(long)]
    lull: Option<PathBuf>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// One contestant's medians with one load.
#[derive(Debug, Serialize)]
struct Row {
    load: &'static str,
    who: &'static str,
    #[serde(flatten)]
    medians: Turn,
}

/// Measures. True if our cached files are within their targets.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let lull = args.lull.clone().map_or_else(|| build(tree), Ok)?;
    let dir = args.dir.clone().unwrap_or_else(|| tree.root().join("target/bench"));
    let wanted = |kind: &&Kind| args.only.as_ref().is_none_or(|part| kind.name.contains(part));
    let start = |kind| Contestant::start(kind, &lull, &dir, args.size);
    let contestants = KINDS.iter().filter(wanted).map(start).collect::<Result<Vec<_>>>()?;
    eprintln!(
        "{} contestants, files of {} MiB in {}, {} rounds with turns of {} s",
        contestants.len(),
        args.size,
        dir.display(),
        args.rounds,
        args.seconds
    );
    let mut rows = Vec::new();
    let loads = |one: &&Workload| args.load.as_ref().is_none_or(|part| one.name.contains(part));
    for workload in WORKLOADS.iter().filter(loads) {
        let mut all: Vec<Vec<Turn>> = contestants.iter().map(|_| Vec::new()).collect();
        for _ in 0..args.rounds {
            for (contestant, measured) in contestants.iter().zip(&mut all) {
                measured.push(workload.run(contestant, Duration::from_secs(args.seconds))?);
            }
        }
        for (contestant, measured) in contestants.iter().zip(&all) {
            let medians = Turn::medians(measured);
            rows.push(Row { load: workload.name, who: contestant.kind.name, medians });
        }
        print_load(args, workload, &rows);
    }
    Ok(verdict(args, &rows))
}

fn show(args: &Args, line: &str) {
    if args.json { eprintln!("{line}") } else { println!("{line}") }
}

fn find<'a>(rows: &'a [Row], load: &str, who: &str) -> Option<&'a Turn> {
    rows.iter().find(|row| row.load == load && row.who == who).map(|row| &row.medians)
}

fn print_load(args: &Args, workload: &Workload, rows: &[Row]) {
    show(
        args,
        &format!(
            "{:<24} {:>9} {:>9} {:>9} {:>12}   {:>6} {:>6}",
            workload.name, "req/s", "MB/s", "p50 us", "CPU s/million", "rate", "CPU"
        ),
    );
    for row in rows.iter().filter(|row| row.load == workload.name) {
        let Turn { load: Measured { rate, bytes_rate, p50_us, .. }, cpu } = row.medians;
        let beside = KINDS.iter().find(|kind| kind.name == row.who).map_or("", |kind| kind.beside);
        let ratio = |value: fn(&Turn) -> f64| match find(rows, workload.name, beside) {
            Some(other) => format!("{:.2}", value(&row.medians) / value(other)),
            None => "-".to_owned(),
        };
        let (rate_ratio, cpu_ratio) = (ratio(|one| one.load.rate), ratio(|one| one.cpu));
        show(
            args,
            &format!(
                "  {:<22} {rate:>9.0} {:>9.0} {p50_us:>9.0} {cpu:>12.1}    {rate_ratio:>6} {cpu_ratio:>6}{}",
                row.who,
                bytes_rate / 1e6,
                if beside.is_empty() { String::new() } else { format!(" of {beside}") },
            ),
        );
    }
}

/// The targets stand for a cached file against the peer; the rest is for comparison.
fn verdict(args: &Args, rows: &[Row]) -> bool {
    let ours = KINDS[1].name;
    let mut passed = true;
    for workload in WORKLOADS.iter().filter(|one| one.judged) {
        let pair = (find(rows, workload.name, ours), find(rows, workload.name, KINDS[0].name));
        let (Some(ours), Some(peer)) = pair else { continue };
        let (rate, cpu) = (ours.load.rate / peer.load.rate, ours.cpu / peer.cpu);
        for (what, ratio, fits, target) in [
            ("requests per second", rate, rate >= LEAST_RATE, format!(">= {LEAST_RATE}")),
            ("CPU per request", cpu, cpu <= MOST_CPU, format!("<= {MOST_CPU}")),
        ] {
            passed &= fits;
            let word = if fits { "PASS" } else { "FAIL" };
            show(args, &format!("{word}  {}, {what}: {ratio:.2}, target {target}", workload.name));
        }
    }
    if args.json {
        let document = serde_json::json!({ "bench": "engines", "rows": rows, "passed": passed });
        println!("{document}");
    }
    passed
}
