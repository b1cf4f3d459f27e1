//! `cargo xtask bench restart`: how long a consumer waits while its target is replaced by a new process.

use super::figures::{self, Pieces};
use super::line::Line;
use super::load::{self, Answered, Load, Pattern};
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a restart may add to the downtime of the process itself, in microseconds.
const BEYOND_DOWN_US: u64 = 50_000;
/// What the whole stall may be, in microseconds.
const WHOLE_US: u64 = 150_000;
/// Load before a restart is ordered: fio has come up by then, and the page cache is as dirty as it gets in a while.
const LEAD: Duration = Duration::from_millis(2500);
/// Load after one.
const TRAIL: Duration = Duration::from_millis(3000);
/// How far back before the order the load's usual longest request is sought: fio's start is left out.
const USUAL_MS: u64 = 2000;
/// Fewer requests than these before the order are no load.
const LEAST_REQUESTS: usize = 1000;

/// The flags of `cargo xtask bench restart`.
#[derive(clap::Args)]
pub struct Args {
    /// Restarts; the verdict is on the median
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Initiators, each with a disk and a consumer of its own
    #[arg(long, default_value_t = 3)]
    initiators: usize,
    /// Requests in flight at each consumer
    #[arg(long, default_value_t = 32)]
    depth: u16,
    /// Size of each disk in MiB
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Where media and state lie: not in memory [default: target/bench]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A `lull` to measure instead of building this one
    #[arg(long)]
    lull: Option<PathBuf>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Measures. True if both medians are within their targets.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(args.rounds > 0 && args.initiators > 0, "at least one round and one initiator");
    let lull = match &args.lull {
        Some(lull) => lull.clone(),
        None => build(tree)?,
    };
    let media = args.dir.clone().unwrap_or_else(|| tree.root().join("target/bench"));
    eprintln!(
        "{} initiators, each with a file of {} MiB on {}, 4 KiB random reads and writes at depth {}",
        args.initiators,
        args.size,
        media.display(),
        args.depth
    );
    let mut line = Line::start(&lull, &media, args.initiators, args.size)?;
    let mut rounds = Vec::new();
    println_table(args, &figures::table_head());
    for number in 1..=args.rounds {
        let pieces = round(&mut line, args)?;
        let row = figures::table_row(&format!("round {number}"), &pieces.columns());
        println_table(args, &format!("{row}  {} in flight at PAUSE", pieces.in_flight));
        rounds.push(pieces);
    }
    Ok(verdict(args, &rounds))
}

/// The table goes to standard output, unless that is for the document.
fn println_table(args: &Args, row: &str) {
    if args.json { eprintln!("{row}") } else { println!("{row}") }
}

/// Builds the command as it is released; where it lies.
pub fn build(tree: &Tree) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args([
        "build",
        "--release",
        "--package",
        "lull",
        "--message-format",
        "json-render-diagnostics",
    ]);
    cargo.current_dir(tree.root()).stderr(Stdio::inherit());
    let output = cargo.output().context("starting cargo")?;
    ensure!(output.status.success(), "lull could not be built");
    let text = String::from_utf8(output.stdout)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: serde_json::Value| {
        message["executable"].as_str().filter(|path| path.ends_with("lull")).map(PathBuf::from)
    });
    programs.next_back().context("cargo built no program `lull`")
}

/// One restart under load; the pieces of the longest stall among its consumers.
fn round(line: &mut Line, args: &Args) -> Result<Pieces> {
    let pattern = Pattern { depth: args.depth, span: LEAD + TRAIL };
    let start = |n| Load::start(line, n, pattern);
    let loads = (0..args.initiators).map(start).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(LEAD);
    let id = line.restart()?;
    let requests = loads.into_iter().map(Load::finish).collect::<Result<Vec<_>>>()?;
    let record = line.record(id)?;
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    ensure!(kind == Some(lull_admin::OutcomeKind::Completed), "restart {id}: {:?}", record.outcome);
    let seen = |n: usize, requests: &[Answered]| {
        let row = record.rows.iter().find(|row| row.initiator == format!("web{n}"));
        let row = row.with_context(|| format!("no row of web{n} in restart {id}"))?;
        let earlier = requests.iter().filter(|one| one.at_ms < record.started);
        ensure!(earlier.count() > LEAST_REQUESTS, "web{n}'s consumer was not at work");
        let sent = |name| {
            let at = figures::sent_us(&record, row, name).map(|us| us / 1000);
            at.with_context(|| format!("no {name} to web{n} in restart {id}"))
        };
        let longest = load::longest(requests, sent("PAUSE")?, sent("RESUME")?);
        let longest = longest.with_context(|| format!("nothing of web{n}'s was under way"))?;
        let earlier = (record.started - USUAL_MS, record.started - 1);
        let usual = load::longest(requests, earlier.0, earlier.1).map_or(0, |one| one.took_us);
        Ok(Pieces::of(&record, row, longest, usual))
    };
    let each = requests.iter().enumerate().map(|(n, requests)| seen(n, requests));
    let each = each.collect::<Result<Vec<_>>>()?;
    each.into_iter().max_by_key(|pieces| pieces.stall_us).context("no initiator")
}

fn verdict(args: &Args, rounds: &[Pieces]) -> bool {
    let medians = figures::medians(rounds);
    println_table(args, &figures::table_row("median", &medians));
    println_table(args, &figures::table_row("worst", &figures::worst(rounds)));
    let beyond = figures::median(rounds.iter().map(Pieces::beyond_down_us).collect());
    let whole = figures::median(rounds.iter().map(|one| one.stall_us).collect());
    let mut passed = true;
    for (what, median, most) in [
        ("longest stall beyond the process's downtime", beyond, BEYOND_DOWN_US),
        ("longest stall", whole, WHOLE_US),
    ] {
        let fits = median <= most;
        passed &= fits;
        let word = if fits { "PASS" } else { "FAIL" };
        let (median, most) = (median as f64 / 1000.0, most / 1000);
        println_table(args, &format!("{word}  {what}: median {median:.1} ms, target {most} ms"));
    }
    if args.json {
        let document = json!({
            "bench": "restart",
            "initiators": args.initiators,
            "depth": args.depth,
            "size_mib": args.size,
            "rounds": rounds,
            "median_stall_us": whole,
            "median_beyond_down_us": beyond,
            "target_stall_us": WHOLE_US,
            "target_beyond_down_us": BEYOND_DOWN_US,
            "passed": passed,
        });
        println!("{document}");
    }
    passed
}
