//! A load by fio's NBD engine, and what came of it.

use super::contestant::Contestant;
use crate::bench::figures;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is asked for.
pub struct Workload {
    pub name: &'static str,
    pattern: &'static str,
    block: &'static str,
    /// Requests in flight on each connection.
    depth: &'static str,
    connections: &'static str,
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
    Workload { connections, ..load(name, "randread", "4k", depth, false) }
}

const fn load(
    name: &'static str,
    pattern: &'static str,
    block: &'static str,
    depth: &'static str,
    judged: bool,
) -> Workload {
    Workload { name, pattern, block, depth, connections: "1", judged }
}

/// One turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Requests per second.
    pub rate: f64,
    /// Bytes per second.
    pub bytes_rate: f64,
    /// The median of fio's waiting for an answer, in microseconds.
    pub p50_us: f64,
    /// Processor seconds of the server's process per million requests.
    pub cpu: f64,
}

impl Workload {
    /// One turn of a contestant.
    pub fn run(&self, contestant: &Contestant, span: Duration) -> Result<Measured> {
        if contestant.kind.cached {
            // The kernel may have dropped what lay idle.
            let medium = contestant.medium();
            std::io::copy(&mut std::fs::File::open(medium)?, &mut std::io::sink())?;
        }
        let mut fio = Command::new("fio");
        fio.args(["--name=turn", "--ioengine=nbd", "--time_based", "--norandommap"]);
        fio.arg(format!("--uri={}", contestant.uri()));
        fio.arg(format!("--rw={}", self.pattern)).arg(format!("--bs={}", self.block));
        fio.arg(format!("--iodepth={}", self.depth));
        fio.args(["--thread", "--group_reporting", "--numjobs"]).arg(self.connections);
        fio.arg(format!("--runtime={}s", span.as_secs())).arg("--output-format=json");
        fio.current_dir(contestant.dir()).stdin(Stdio::null());
        let before = contestant.cpu()?;
        let output = fio.output().context("starting fio (Debian package fio)")?;
        let used = contestant.cpu()? - before;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "fio failed with {}: {said}", contestant.kind.name);
        let measured = parse(&said, self.pattern.contains("read"), used);
        measured.with_context(|| format!("fio's report: {said}"))
    }
}

/// The document in fio's report, before which the NBD library may have said something.
fn parse(report: &str, reads: bool, cpu_seconds: f64) -> Option<Measured> {
    let document = &report[report.find('{')?..];
    let document: serde_json::Value = serde_json::from_str(document).ok()?;
    let side = &document["jobs"][0][if reads { "read" } else { "write" }];
    let requests = side["total_ios"].as_f64().filter(|&requests| requests > 0.0)?;
    Some(Measured {
        rate: side["iops"].as_f64()?,
        bytes_rate: side["bw_bytes"].as_f64()?,
        p50_us: side["clat_ns"]["percentile"]["50.000000"].as_f64()? / 1000.0,
        cpu: cpu_seconds * 1e6 / requests,
    })
}

impl Measured {
    /// The median of each figure by itself.
    pub fn medians(all: &[Self]) -> Self {
        let median = |value: fn(&Self) -> f64| {
            // Thousandths are finer than what is printed.
            figures::median(all.iter().map(|one| (value(one) * 1000.0) as u64).collect()) as f64
                / 1000.0
        };
        Self {
            rate: median(|one| one.rate),
            bytes_rate: median(|one| one.bytes_rate),
            p50_us: median(|one| one.p50_us),
            cpu: median(|one| one.cpu),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_whatever_stands_before_it() {
        let report = r#"libnbd: hello
            {"jobs":[{"read":{"total_ios":2000,"iops":1000.0,"bw_bytes":4096000,
             "clat_ns":{"percentile":{"50.000000":12500}}}}]}"#;
        let measured = parse(report, true, 0.01).unwrap();
        assert_eq!((measured.rate, measured.p50_us, measured.cpu), (1000.0, 12.5, 5.0));
        assert!(parse("{}", true, 0.0).is_none());
    }
}
