//! `cargo xtask bench retain`: what it costs that an initiator keeps what no flush covers: requests and processor time,
//! flushes of the medium, memory.

mod stand;

use super::fio::{Job, Measured, median};
use super::process::{busy_ms, memory};
use super::restart::build;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use stand::{Medium, Stand, Way};
use std::path::PathBuf;
use std::time::Duration;

/// What must be left of the rate.
const LEAST_RATE: f64 = 0.95;
/// What an initiator may take beyond what it takes when idle, in parts of what it may retain.
const MOST_MEMORY: f64 = 1.2;
/// The most flushes for each time that as much was written as may be retained: one is due when half is used.
const MOST_FLUSHES: f64 = 4.0;
/// Whoever came near the bound less often than this has not shown that it keeps it.
const LEAST_FLUSHED: u64 = 4;

/// The flags of `cargo xtask bench retain`.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds, in each of which every way has a turn with each load; the figures are medians
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Length of one turn in seconds
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Size of each resource in MiB
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// What an initiator may retain, in MiB
    #[arg(long, default_value_t = 64)]
    retain: u64,
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

/// Loads whose cost is judged.
const JOBS: [(&str, Job); 2] = [
    ("4 KiB random write, depth 32", write("randwrite", "4k", "32")),
    ("128 KiB sequential write, depth 8", write("write", "128k", "8")),
];
/// One in which as many changes as may be are kept for their bytes.
const SMALL: Job = write("randwrite", "512", "32");

const fn write(pattern: &'static str, block: &'static str, depth: &'static str) -> Job {
    Job { pattern, block, depth, connections: "1" }
}

/// One turn of a way with a load.
#[derive(Clone, Copy, Debug, Serialize)]
struct Turn {
    #[serde(flatten)]
    load: Measured,
    /// Processor seconds per million requests, of the initiator and of the target.
    initiator_cpu: f64,
    target_cpu: f64,
    /// What the target's medium was asked for, per million requests.
    flushes: f64,
    durable_writes: f64,
}

/// A way's medians with a load.
#[derive(Debug, Serialize)]
struct Row {
    load: &'static str,
    way: &'static str,
    #[serde(flatten)]
    medians: Turn,
}

/// What came out, and whether it should have.
#[derive(Debug, Serialize)]
struct Verdict {
    what: String,
    value: f64,
    target: String,
    passed: bool,
}

/// Measures. True if all is within the targets.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let lull = args.lull.clone().map_or_else(|| build(tree), Ok)?;
    let dir = args.dir.clone().unwrap_or_else(|| tree.root().join("target/bench"));
    let stand = Stand::start(&lull, &dir, args.size, args.retain << 20)?;
    let keeper = stand.initiator(Way::Retained, Medium::Memory).context("it was started")?;
    let idle = memory(keeper, "VmRSS")?;
    let mut verdicts = Vec::new();
    let mut rows = cost(args, &stand, &mut verdicts)?;
    rows.extend(flushes(args, &stand, &mut verdicts)?);
    room(args, &stand, (keeper, idle), &mut verdicts)?;
    for Verdict { what, value, target, passed } in &verdicts {
        let word = if *passed { "PASS" } else { "FAIL" };
        show(args, &format!("{word}  {what}: {value:.2}, target {target}"));
    }
    let passed = verdicts.iter().all(|one| one.passed);
    if args.json {
        let document = serde_json::json!({
            "bench": "retain", "rows": rows, "verdicts": verdicts, "passed": passed
        });
        println!("{document}");
    }
    Ok(passed)
}

fn show(args: &Args, line: &str) {
    if args.json { eprintln!("{line}") } else { println!("{line}") }
}

/// Each way's turns with a load, round by round; who begins changes.
fn rounds(args: &Args, stand: &Stand, job: Job, ways: &[Way], on: Medium) -> Result<Vec<Turn>> {
    let mut all: Vec<Vec<Turn>> = ways.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds {
        for at in 0..ways.len() {
            let at = (at + round) % ways.len();
            all[at].push(turn(args, stand, job, ways[at], on)?);
        }
    }
    Ok(all.iter().map(|turns| medians(turns)).collect())
}

fn turn(args: &Args, stand: &Stand, job: Job, way: Way, on: Medium) -> Result<Turn> {
    let busy = || -> Result<(u64, u64)> {
        let initiator = stand.initiator(way, on).map_or(Ok(0), busy_ms)?;
        Ok((initiator, busy_ms(stand.target())?))
    };
    let (counted, used) = (stand.counted(way, on)?, busy()?);
    let load = job.run(&stand.uri(way, on), stand.dir(), Duration::from_secs(args.seconds))?;
    let (now_counted, now_used) = (stand.counted(way, on)?, busy()?);
    let of_million = |value: u64| value as f64 * 1e6 / load.requests;
    Ok(Turn {
        load,
        initiator_cpu: of_million(now_used.0 - used.0) / 1e3,
        target_cpu: of_million(now_used.1 - used.1) / 1e3,
        flushes: of_million(now_counted.flushes - counted.flushes),
        durable_writes: of_million(now_counted.durable_writes - counted.durable_writes),
    })
}

fn medians(turns: &[Turn]) -> Turn {
    Turn {
        load: Measured {
            rate: median(turns, |one| one.load.rate),
            bytes_rate: median(turns, |one| one.load.bytes_rate),
            p50_us: median(turns, |one| one.load.p50_us),
            requests: median(turns, |one| one.load.requests),
        },
        initiator_cpu: median(turns, |one| one.initiator_cpu),
        target_cpu: median(turns, |one| one.target_cpu),
        flushes: median(turns, |one| one.flushes),
        durable_writes: median(turns, |one| one.durable_writes),
    }
}

/// On memory, where to be durable costs nothing: the difference is what retaining takes.
fn cost(args: &Args, stand: &Stand, verdicts: &mut Vec<Verdict>) -> Result<Vec<Row>> {
    let ways = [Way::Retained, Way::Through];
    let mut rows = Vec::new();
    for (name, job) in JOBS {
        let medians = rounds(args, stand, job, &ways, Medium::Memory)?;
        show(
            args,
            &format!(
                "{:<34} {:>9} {:>7} {:>7}   CPU s/million: {:>9} {:>7}",
                format!("{name}, memory"),
                "req/s",
                "MB/s",
                "p50 us",
                "initiator",
                "target"
            ),
        );
        for (way, medians) in ways.iter().zip(&medians) {
            let Measured { rate, bytes_rate, p50_us, .. } = medians.load;
            show(
                args,
                &format!(
                    "  {:<32} {rate:>9.0} {:>7.0} {p50_us:>7.0}                  {:>9.1} {:>7.1}",
                    way.name(),
                    bytes_rate / 1e6,
                    medians.initiator_cpu,
                    medians.target_cpu,
                ),
            );
        }
        let value = medians[0].load.rate / medians[1].load.rate;
        verdicts.push(Verdict {
            what: format!("{name}: rate beside the same without retaining"),
            value,
            target: format!(">= {LEAST_RATE}"),
            passed: value >= LEAST_RATE,
        });
        let row = |(way, medians): (&Way, _)| Row { load: name, way: way.name(), medians };
        rows.extend(ways.iter().zip(medians).map(row));
    }
    Ok(rows)
}

/// On a file, by a consumer that never flushes: nobody writes through in secret.
fn flushes(args: &Args, stand: &Stand, verdicts: &mut Vec<Verdict>) -> Result<Vec<Row>> {
    let ways = [Way::Retained, Way::Through, Way::Bare];
    let (name, job) = JOBS[0];
    let medians = rounds(args, stand, job, &ways, Medium::File)?;
    show(
        args,
        &format!(
            "{:<34} {:>9}   per million: {:>8} {:>15}",
            format!("{name}, file"),
            "req/s",
            "flushes",
            "durable writes"
        ),
    );
    for (way, medians) in ways.iter().zip(&medians) {
        let Turn { load, flushes, durable_writes, .. } = medians;
        let rate = load.rate;
        show(
            args,
            &format!(
                "  {:<32} {rate:>9.0}                {flushes:>8.0} {durable_writes:>15.0}",
                way.name()
            ),
        );
    }
    let kept = &medians[0];
    let filled = 4096.0 * 1e6 / (args.retain << 20) as f64;
    let (durable, most) = (kept.durable_writes, MOST_FLUSHES * filled);
    for (what, value, target, passed) in [
        ("durable writes per million, retaining", durable, "0".to_owned(), durable == 0.0),
        (
            "flushes per million, retaining",
            kept.flushes,
            format!("<= {most:.0}"),
            kept.flushes <= most,
        ),
    ] {
        verdicts.push(Verdict { what: what.to_owned(), value, target, passed });
    }
    let row = |(way, medians): (&Way, _)| Row { load: "file", way: way.name(), medians };
    Ok(ways.iter().zip(medians).map(row).collect())
}

/// After all of that and many small writes, none of which any consumer flushed.
fn room(
    args: &Args,
    stand: &Stand,
    (keeper, idle): (u32, u64),
    verdicts: &mut Vec<Verdict>,
) -> Result<()> {
    let bound = (args.retain << 20) as f64;
    turn(args, stand, SMALL, Way::Retained, Medium::Memory)?;
    let flushed = stand.kept(Medium::Memory)?.own_flushes;
    ensure!(flushed >= LEAST_FLUSHED, "the bound was hardly ever near: give more --seconds");
    let peak = memory(keeper, "VmHWM")?;
    let beyond = peak.saturating_sub(idle) as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    show(
        args,
        &format!(
            "initiator that retains {} MiB, consumer without a flush: idle {:.1} MiB, peak {:.1} MiB, of it {:.1} by load",
            args.retain,
            mib(idle as f64),
            mib(peak as f64),
            mib(beyond)
        ),
    );
    let value = beyond / bound;
    verdicts.push(Verdict {
        what: "memory by load, in parts of what may be retained".to_owned(),
        value,
        target: format!("<= {MOST_MEMORY}"),
        passed: value <= MOST_MEMORY,
    });
    Ok(())
}
