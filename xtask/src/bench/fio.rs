//! fio's NBD engine for a while, and what it reports.

use super::figures;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is asked for, in fio's words.
#[derive(Clone, Copy)]
pub struct Job {
    pub pattern: &'static str,
    pub block: &'static str,
    /// Requests in flight on each connection.
    pub depth: &'static str,
    /// Each with a thread of fio's.
    pub connections: &'static str,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Requests per second.
    pub rate: f64,
    /// Bytes per second.
    pub bytes_rate: f64,
    /// The median of fio's waiting for an answer, in microseconds.
    pub p50_us: f64,
    /// All requests.
    pub requests: f64,
}

impl Job {
    /// Loads the export `uri` for so long; what fio leaves behind lies in `dir`.
    ///
    /// # Errors
    /// One request failed, or there is no fio.
    pub fn run(&self, uri: &str, dir: &Path, span: Duration) -> Result<Measured> {
        let mut fio = Command::new("fio");
        fio.args(["--name=turn", "--ioengine=nbd", "--time_based", "--norandommap"]);
        fio.arg(format!("--uri={uri}"));
        fio.arg(format!("--rw={}", self.pattern)).arg(format!("--bs={}", self.block));
        fio.arg(format!("--iodepth={}", self.depth));
        fio.args(["--thread", "--group_reporting", "--numjobs"]).arg(self.connections);
        fio.arg(format!("--runtime={}ms", span.as_millis())).arg("--output-format=json");
        fio.current_dir(dir).stdin(Stdio::null());
        let output = fio.output().context("starting fio (Debian package fio)")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "fio failed on {uri}: {said}");
        parse(&said, self.pattern.contains("read")).with_context(|| format!("fio's report: {said}"))
    }
}

/// The document in fio's report, before which the NBD library may have said something.
fn parse(report: &str, reads: bool) -> Option<Measured> {
    let document = &report[report.find('{')?..];
    let document: serde_json::Value = serde_json::from_str(document).ok()?;
    let side = &document["jobs"][0][if reads { "read" } else { "write" }];
    Some(Measured {
        rate: side["iops"].as_f64()?,
        bytes_rate: side["bw_bytes"].as_f64()?,
        p50_us: side["clat_ns"]["percentile"]["50.000000"].as_f64()? / 1000.0,
        requests: side["total_ios"].as_f64().filter(|&requests| requests > 0.0)?,
    })
}

/// The median of a figure.
pub fn median<T>(all: &[T], value: impl Fn(&T) -> f64) -> f64 {
    // Thousandths are finer than what is printed.
    figures::median(all.iter().map(|one| (value(one) * 1000.0) as u64).collect()) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_whatever_stands_before_it() {
        let report = r#"libnbd: hello
            {"jobs":[{"read":{"total_ios":2000,"iops":1000.0,"bw_bytes":4096000,
             "clat_ns":{"percentile":{"50.000000":12500}}}}]}"#;
        let measured = parse(report, true).unwrap();
        assert_eq!((measured.rate, measured.p50_us, measured.requests), (1000.0, 12.5, 2000.0));
        assert!(parse("{}", true).is_none());
    }
}
