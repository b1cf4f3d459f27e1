//! What a load came to: the document of `lull bench --json`.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::meter::Meter;
use super::order::Plan;
use super::recorder::Recorded;

/// One disk's share of a load. Spans are milliseconds or microseconds, as their names say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was loaded.
    pub place: String,
    /// Whether no request failed and every block checked was right.
    pub ok: bool,
    /// How long the load lasted, without the last reading.
    pub lasted_ms: u64,
    /// Reads that succeeded.
    pub reads: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Flushes that succeeded.
    pub flushes: u64,
    /// Reads, writes and flushes that succeeded, per second.
    pub iops: u64,
    /// Bytes read and written, per second.
    pub bytes_per_second: u64,
    /// Requests that succeeded in each second.
    pub per_second: Vec<u64>,
    /// Latency of reads.
    pub read_latency: Option<Latency>,
    /// Latency of writes.
    pub write_latency: Option<Latency>,
    /// Latency of flushes.
    pub flush_latency: Option<Latency>,
    /// The longest time that one request took, also one that failed.
    pub longest_request_ms: u64,
    /// The longest time in which no request succeeded.
    pub longest_gap_ms: u64,
    /// Requests that failed, by kind, those of the last reading included.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were lost and made again.
    pub connections_lost: u64,
    /// What verification found; none: it was not asked for.
    pub verification: Option<Verification>,
    /// The history that was recorded; none: it was not asked for.
    pub record: Option<Record>,
}

/// A history in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The file.
    pub file: String,
    /// Its lines.
    pub lines: u64,
    /// How long the load waited for the file: beyond a moment its figures are the file's.
    pub waited_ms: u64,
    /// Why it is not whole.
    pub error: Option<String>,
}

impl Record {
    pub(super) fn new(plan: &Plan, ended: std::io::Result<Recorded>) -> Self {
        let file = plan.record.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let error = ended.as_ref().err().map(ToString::to_string);
        let Recorded { lines, waited } = ended.unwrap_or_default();
        Self { file, lines, waited_ms: ms(waited), error }
    }
}

/// The latency of one kind of request, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean_us: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 90 of 100.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1,000.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
}

/// What verification found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verification {
    /// Reads of the load that were explained by the writes.
    pub checked_reads: u64,
    /// Blocks that were written and read once more in the end.
    pub verified_blocks: u64,
    /// Blocks that could not be read in the end.
    pub unread_blocks: u64,
    /// Blocks that were wrong.
    pub wrong_blocks: u64,
    /// The wrong blocks by what was wrong: `lost`, `flushed_lost`, `came_back`, `corrupt`.
    pub wrong: BTreeMap<&'static str, u64>,
    /// The first of them in full.
    pub told: Vec<String>,
    /// Whether the last reading came to its end.
    pub complete: bool,
}

/// Verification while it runs.
#[derive(Debug, Default)]
pub struct Verdict {
    pub(super) checked_reads: u64,
    pub(super) verified_blocks: u64,
    pub(super) unread_blocks: u64,
    pub(super) wrong: BTreeMap<&'static str, u64>,
    pub(super) told: Vec<String>,
}

impl Report {
    /// The report of a load that has just ended, before the last reading.
    pub(super) fn new(plan: &Plan, meter: &Meter, lasted: Duration) -> Self {
        let whole = meter.whole;
        let rate = |count: u64| {
            let us = lasted.as_micros().max(1);
            u64::try_from(u128::from(count) * 1_000_000 / us).unwrap_or(u64::MAX)
        };
        let [reads, writes, flushes] = &meter.latency;
        Self {
            place: plan.name.clone(),
            ok: false,
            lasted_ms: ms(lasted),
            reads: reads.len(),
            writes: writes.len(),
            flushes: flushes.len(),
            iops: rate(whole.done),
            bytes_per_second: rate(whole.bytes),
            per_second: meter.per_second.clone(),
            read_latency: Latency::of(reads),
            write_latency: Latency::of(writes),
            flush_latency: Latency::of(flushes),
            longest_request_ms: ms(whole.longest_request),
            longest_gap_ms: ms(whole.longest_gap),
            errors: BTreeMap::new(),
            connections_lost: 0,
            verification: None,
            record: None,
        }
    }

    /// The same with what the last reading brought.
    pub(super) fn conclude(
        mut self,
        meter: &Meter,
        verdict: Verdict,
        wrong: Option<u64>,
        complete: bool,
        record: Option<Record>,
    ) -> Self {
        self.errors.clone_from(&meter.errors);
        self.connections_lost = meter.losses;
        self.verification = wrong.map(|wrong_blocks| Verification {
            checked_reads: verdict.checked_reads,
            verified_blocks: verdict.verified_blocks,
            unread_blocks: verdict.unread_blocks,
            wrong_blocks,
            wrong: verdict.wrong,
            told: verdict.told,
            complete,
        });
        let right = self.verification.as_ref().is_none_or(|verification| {
            verification.complete
                && verification.wrong_blocks == 0
                && verification.unread_blocks == 0
        });
        let recorded = record.as_ref().is_none_or(|record| record.error.is_none());
        self.record = record;
        self.ok = right && complete && recorded && self.errors.is_empty();
        self
    }

    /// Requests that failed.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Some(Self {
            mean_us: histogram.mean() as u64,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        })
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
