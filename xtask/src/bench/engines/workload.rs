//! A load by fio's NBD engine, and what it costs the server.

use super::contestant::Contestant;
use crate::bench::fio::{Job, Measured, median};
use crate::bench::process::busy_ms;
use anyhow::Result;
use serde::Serialize;
use std::time::Duration;

/// What is asked for.
pub struct Workload {
    pub name: &'static str,
    job: Job,
    /// Whether the targets are for this one.
    pub judged: bool,
}

/// In the order in which they run.
pub const WORKLOADS: [Workload; 9] = [
    load("4 KiB read, depth 1", "randread", "4k", "1", false),
    load("4 KiB read, depth 32", "randread", "4k", "32", true),
    load("4 KiB write, depth 1", "randwrite", "4k", "1", false),
    load("4 KiB write, depth 32", "randwrite", "4k", "32", true),
    load("128 KiB read, depth 8", "read", "128k", "8", false),
    load("128 KiB write, depth 8", "write", "128k", "8", false),
    crowd("4 KiB read, 4 × depth 32", "4", "32"),
    crowd("4 KiB read, 16 × depth 32", "16", "32"),
    crowd("4 KiB read, 512 × depth 1", "512", "1"),
];

/// Many connections, each with a thread of fio's.
const fn crowd(name: &'static str, connections: &'static str, depth: &'static str) -> Workload {
    let job = Job { pattern: "randread", block: "4k", depth, connections };
    Workload { name, job, judged: false }
}

const fn load(
    name: &'static str,
    pattern: &'static str,
    block: &'static str,
    depth: &'static str,
    judged: bool,
) -> Workload {
    Workload { name, job: Job { pattern, block, depth, connections: "1" }, judged }
}

/// One turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Turn {
    #[serde(flatten)]
    pub load: Measured,
    /// Processor seconds of the server's process per million requests.
    pub cpu: f64,
}

impl Workload {
    /// One turn of a contestant.
    pub fn run(&self, contestant: &Contestant, span: Duration) -> Result<Turn> {
        if contestant.kind.cached {
            // The kernel may have dropped what lay idle.
            let medium = contestant.medium();
            std::io::copy(&mut std::fs::File::open(medium)?, &mut std::io::sink())?;
        }
        let before = busy_ms(contestant.pid())?;
        let load = self.job.run(&contestant.uri(), contestant.dir(), span)?;
        let used = busy_ms(contestant.pid())? - before;
        Ok(Turn { load, cpu: used as f64 * 1e3 / load.requests })
    }
}

impl Turn {
    /// The median of each figure by itself.
    pub fn medians(all: &[Self]) -> Self {
        let load = Measured {
            rate: median(all, |one| one.load.rate),
            bytes_rate: median(all, |one| one.load.bytes_rate),
            p50_us: median(all, |one| one.load.p50_us),
            requests: median(all, |one| one.load.requests),
        };
        Self { load, cpu: median(all, |one| one.cpu) }
    }
}
