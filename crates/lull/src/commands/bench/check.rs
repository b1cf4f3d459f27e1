//! `lull bench --check`: judges a history in a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use lull_history::account::{self, Account, Lines};
use lull_history::file::{self, Error, Finding, Verdict};
use lull_history::{FaultKind, Held, Part};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::print_json;
use crate::units::counted;

/// Findings that are told in full; all are counted.
const TOLD: usize = 20;

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    /// Whether every read is explained.
    ok: bool,
    /// Reads that were answered with success.
    reads: u64,
    /// Changes that were answered with success.
    changes: u64,
    /// Flushes that were answered with success.
    flushes: u64,
    /// Requests that were answered with an error or not at all.
    not_done: u64,
    /// Reads that are not explained.
    wrong_reads: u64,
    /// The first of them.
    findings: Vec<Told>,
}

/// One read that is not explained. Lines count from 1.
#[derive(Debug, Serialize)]
struct Told {
    /// What is wrong: `lost`, `flushed_lost`, `came_back`, `corrupt`.
    kind: &'static str,
    /// The unit.
    unit: u64,
    /// The line of the read's answer, and its microseconds.
    line: usize,
    micros: u64,
    /// What it held, as the history has it.
    held: String,
    /// The line in which what it held began to be written.
    found_line: Option<usize>,
    /// The line in which what should have been there began to be written.
    newer_line: Option<usize>,
    /// The line in which the flush began that covered it.
    flush_line: Option<usize>,
}

/// Judges the history in `path` and prints the verdict.
///
/// # Errors
/// It cannot be read, or a read in it is not explained.
pub fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let open = || Ok::<_, Error>(BufReader::with_capacity(1 << 20, File::open(path)?));
    let failed = |error: Error| Failure::failed(format!("{}: {error}", path.display()));
    let verdict = file::check(open().map_err(failed)?).map_err(failed)?;
    let told = &verdict.findings[..verdict.findings.len().min(TOLD)];
    let accounts = match told {
        [] => Vec::new(),
        told => account::of(open().map_err(failed)?, told).map_err(failed)?,
    };
    let all: Vec<(&Finding, &Account)> = told.iter().zip(&accounts).collect();
    if json {
        print_json(&document(&verdict, &all))?;
    } else {
        print!("{}", text(&verdict, &all));
    }
    match verdict.findings.len() {
        0 => Ok(()),
        wrong => Err(Failure::failed(format!(
            "{}: {} not explained by the writes",
            path.display(),
            counted(wrong as u64, "read is", "reads are")
        ))),
    }
}

fn document(verdict: &Verdict, told: &[(&Finding, &Account)]) -> Document {
    let [reads, changes, flushes] = verdict.done;
    let begin = |lines: Option<Lines>| lines.map(|lines| lines.begin);
    let tell = |(finding, account): &(&Finding, &Account)| Told {
        kind: kind(finding, account).as_str(),
        unit: finding.fault.unit,
        line: finding.line,
        micros: finding.micros,
        held: finding.fault.held.to_string(),
        found_line: begin(account.found),
        newer_line: begin(account.newer),
        flush_line: begin(account.flush),
    };
    Document {
        ok: verdict.findings.is_empty(),
        reads,
        changes,
        flushes,
        not_done: verdict.not_done,
        wrong_reads: verdict.findings.len() as u64,
        findings: told.iter().map(tell).collect(),
    }
}

/// What was written to another unit is nobody's here.
fn kind(finding: &Finding, account: &Account) -> FaultKind {
    if account.elsewhere.is_some() { FaultKind::Corrupt } else { finding.fault.kind }
}

fn text(verdict: &Verdict, told: &[(&Finding, &Account)]) -> String {
    let [reads, changes, flushes] = verdict.done;
    let mut text = format!(
        "{}, {}, {}; {} with an error or no answer\n",
        counted(reads, "read", "reads"),
        counted(changes, "change", "changes"),
        counted(flushes, "flush", "flushes"),
        counted(verdict.not_done, "request", "requests"),
    );
    for (finding, account) in told {
        text.push_str(&sentence(finding, account));
    }
    let rest = verdict.findings.len() - told.len();
    if rest > 0 {
        let _ = writeln!(text, "… and {} more", counted(rest as u64, "read", "reads"));
    }
    for kind in FaultKind::ALL {
        let count = verdict.findings.iter().filter(|found| found.fault.kind == kind).count();
        if count > 0 {
            let _ = writeln!(text, "{:>12} × {}: {}", count, kind.as_str(), meaning(kind));
        }
    }
    if verdict.findings.is_empty() {
        let _ = writeln!(text, "right: every read is explained");
    }
    text
}

/// What a kind says of a disk.
fn meaning(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Lost => {
            "an acknowledged write is gone that no flush covered; a plain disk may lose it in a \
             power cut"
        }
        FaultKind::CameBack => {
            "an acknowledged write is gone that had been read already and no flush covered"
        }
        FaultKind::FlushedLost => "a write is gone that a flush had covered; no disk may lose it",
        FaultKind::Corrupt => "content that nobody wrote there",
    }
}

fn sentence(finding: &Finding, account: &Account) -> String {
    let (fault, kind) = (&finding.fault, kind(finding, account));
    let read = account.read.map_or(finding.line, |lines| lines.begin);
    let mut text = format!(
        "WRONG {}: the read of unit {} in {} ({:.3} s) returned {}",
        kind.as_str(),
        fault.unit,
        lines(Lines { begin: read, end: Some(finding.line), done: true }),
        finding.micros as f64 / 1e6,
        held(&fault.held),
    );
    match (account.found, account.elsewhere, fault.found) {
        (Some(found), Some(unit), _) => {
            let _ = write!(text, ", which {} wrote to unit {unit}", lines(found));
        }
        (Some(found), None, _) => {
            let _ = write!(text, ", written in {}", lines(found));
        }
        (None, _, Some(0)) => text.push_str(", which stood there before the history"),
        (None, _, _) => {}
    }
    text.push('\n');
    let Some(newer) = account.newer else { return text };
    let answered = match newer {
        Lines { end: Some(_), done: true, .. } => "was acknowledged and is missing",
        _ => "is missing",
    };
    let flush = match (kind, account.flush) {
        (FaultKind::FlushedLost, Some(flush)) => {
            format!("; the flush in {} covered it", lines(flush))
        }
        (FaultKind::FlushedLost, None) => "; it was to be durable by itself".to_owned(),
        (FaultKind::CameBack, _) => "; an earlier read had returned it".to_owned(),
        (FaultKind::Lost, _) => "; no flush covered it".to_owned(),
        (FaultKind::Corrupt, _) => String::new(),
    };
    let _ = writeln!(text, "      the change in {} {answered}{flush}", lines(newer));
    text
}

fn held(held: &Held) -> String {
    match held {
        Held::Whole(number) => number.to_string(),
        Held::Before(_) => "what was there before".to_owned(),
        Held::Strange => "something that nobody wrote there".to_owned(),
        Held::Parts(parts) => {
            let part = |part: &Part| match part {
                Part::Number(number) => number.to_string(),
                Part::Before => "what was there before".to_owned(),
            };
            format!("parts of {}", parts.iter().map(part).collect::<Vec<_>>().join(" and "))
        }
    }
}

/// `line 7`, `lines 7 to 12`.
fn lines(lines: Lines) -> String {
    match lines {
        Lines { begin, end: Some(end), .. } if end != begin => {
            format!("lines {begin} to {end}")
        }
        Lines { begin, .. } => format!("line {begin}"),
    }
}
