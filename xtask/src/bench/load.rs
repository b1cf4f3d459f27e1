//! A consumer that is not ours: fio's NBD engine, which notes how long each request took.

use super::line::Line;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Load on one initiator's front end, under way.
pub struct Load {
    process: Child,
    log: PathBuf,
    said: PathBuf,
}

/// One answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// When the answer came, in Unix milliseconds.
    pub at_ms: u64,
    /// How long the request took, in microseconds.
    pub took_us: u64,
}

/// What a load looks like.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Requests in flight.
    pub depth: u16,
    /// How long it goes on.
    pub span: Duration,
}

impl Load {
    /// Starts random reads and writes of 4 KiB, half of each, on the disk of initiator `n`.
    pub fn start(line: &Line, n: usize, pattern: Pattern) -> Result<Self> {
        let base = line.dir().join(format!("load{n}"));
        let said = line.log(&format!("fio{n}"));
        let mut fio = Command::new("fio");
        fio.args(["--name=load", "--ioengine=nbd", "--rw=randrw", "--bs=4k", "--time_based"]);
        fio.arg(format!("--uri={}", line.uri(n)));
        fio.arg(format!("--iodepth={}", pattern.depth));
        fio.arg(format!("--runtime={}ms", pattern.span.as_millis()));
        fio.arg(format!("--write_lat_log={}", base.display()));
        fio.args(["--log_unix_epoch=1", "--disable_slat=1", "--disable_clat=1"]);
        let log = std::fs::File::create(&said)?;
        fio.current_dir(line.dir()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = fio.spawn().context("starting fio (Debian package fio)")?;
        Ok(Self { process, log: base.with_file_name(format!("load{n}_lat.1.log")), said })
    }

    /// Waits for its end; every request that it made.
    ///
    /// # Errors
    /// Where one request failed.
    pub fn finish(mut self) -> Result<Vec<Answered>> {
        let status = self.process.wait()?;
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        ensure!(status.success(), "a consumer had an error, fio ended with {status}: {said}");
        let requests = read_log(&self.log)?;
        std::fs::remove_file(&self.log)?;
        Ok(requests)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read_log(path: &Path) -> Result<Vec<Answered>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| parse(line).with_context(|| format!("fio's log: {line}"))).collect()
}

/// A line of fio's log: milliseconds, nanoseconds, and what does not matter here.
fn parse(line: &str) -> Option<Answered> {
    let mut fields = line.split(',').map(str::trim);
    let at_ms = fields.next()?.parse().ok()?;
    let took_ns: u64 = fields.next()?.parse().ok()?;
    Some(Answered { at_ms, took_us: took_ns / 1000 })
}

impl Answered {
    /// When the request was made, in Unix milliseconds.
    pub fn begun_ms(&self) -> u64 {
        self.at_ms - self.took_us / 1000
    }
}

/// The longest request among those that were under way at some time of a span.
pub fn longest(requests: &[Answered], from_ms: u64, to_ms: u64) -> Option<Answered> {
    let meets = |one: &&Answered| one.begun_ms() <= to_ms && one.at_ms >= from_ms;
    requests.iter().filter(meets).max_by_key(|one| one.took_us).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_request_is_sought_among_those_under_way_within_the_span() {
        let log = "1000, 900000000, 0, 4096\n2000, 40000000, 1, 4096\n2001, 50000999, 0, 4096";
        let requests: Vec<_> = log.lines().map(|line| parse(line).unwrap()).collect();
        let took = |from, to| longest(&requests, from, to).map(|one| one.took_us);
        assert_eq!(took(1500, 1955), Some(50_000));
        assert_eq!(took(1000, 1955), Some(900_000));
        assert_eq!(took(1001, 1949), None);
        assert_eq!(took(2001, 4000), Some(50_000));
    }
}
