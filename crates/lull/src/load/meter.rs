//! What a load counts while it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A flush.
    Flush,
}

/// The longest latency that the histograms tell apart, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 3_600_000_000;

/// Seconds that are counted one by one; later ones only in the total.
const MOST_SECONDS: usize = 100_000;

/// The counters of one disk.
#[derive(Debug)]
pub struct Meter {
    begun: Instant,
    /// When a request last succeeded, or the load began.
    last_success: Instant,
    /// Requests under way.
    pub in_flight: u64,
    /// Latencies of what succeeded, in microseconds: reads, writes, flushes.
    pub latency: [Histogram<u64>; 3],
    /// Requests that succeeded in each second since the begin.
    pub per_second: Vec<u64>,
    /// Requests that failed, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were lost.
    pub losses: u64,
    /// Everything since the begin.
    pub whole: Window,
    /// The same since it was last taken.
    window: Window,
}

/// What happened within a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Requests that succeeded.
    pub done: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Bytes that were read and written.
    pub bytes: u64,
    /// The longest time that one request took, whatever came of it.
    pub longest_request: Duration,
    /// The longest time in which no request succeeded.
    pub longest_gap: Duration,
}

impl Window {
    /// What a consumer calls the stall: the longer of the two.
    pub fn longest_stall(&self) -> Duration {
        self.longest_request.max(self.longest_gap)
    }
}

impl Meter {
    /// Counters of a load that begins now.
    pub fn new(now: Instant) -> Self {
        // Two digits are all that is shown; the bounds are constants that are right.
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 2);
        let latency = [(); 3].map(|()| histogram().unwrap_or_else(|_| unreachable!()));
        Self {
            begun: now,
            last_success: now,
            in_flight: 0,
            latency,
            per_second: Vec::new(),
            errors: BTreeMap::new(),
            losses: 0,
            whole: Window::default(),
            window: Window::default(),
        }
    }

    /// A request is sent.
    pub fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// A request of `bytes` bytes, sent at `sent`, has succeeded.
    pub fn success(&mut self, kind: Kind, bytes: u64, sent: Instant, now: Instant) {
        let took = self.end(sent, now);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency[kind as usize].saturating_record(us.clamp(1, LONGEST_US));
        let gap = self.since_success(now);
        self.last_success = now;
        for window in [&mut self.whole, &mut self.window] {
            window.done += 1;
            window.bytes += bytes;
            window.longest_gap = window.longest_gap.max(gap);
        }
        let second = now.saturating_duration_since(self.begun).as_secs() as usize;
        if second < MOST_SECONDS {
            if self.per_second.len() <= second {
                self.per_second.resize(second + 1, 0);
            }
            self.per_second[second] += 1;
        }
    }

    /// A request, sent at `sent`, has failed.
    pub fn failure(&mut self, why: &str, sent: Instant, now: Instant) {
        self.end(sent, now);
        self.fail(why, 1);
    }

    /// So many requests will never be answered.
    pub fn give_up(&mut self, count: u64, why: &str, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(count);
        self.note_gap(now);
        if count > 0 {
            self.fail(why, count);
        }
    }

    fn fail(&mut self, why: &str, count: u64) {
        *self.errors.entry(why.to_owned()).or_default() += count;
        self.whole.errors += count;
        self.window.errors += count;
    }

    fn end(&mut self, sent: Instant, now: Instant) -> Duration {
        self.in_flight = self.in_flight.saturating_sub(1);
        let took = now.saturating_duration_since(sent);
        for window in [&mut self.whole, &mut self.window] {
            window.longest_request = window.longest_request.max(took);
        }
        took
    }

    /// For how long no request has succeeded.
    pub fn since_success(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_success)
    }

    /// Enters the gap that lasts at this moment.
    pub fn note_gap(&mut self, now: Instant) {
        let gap = self.since_success(now);
        for window in [&mut self.whole, &mut self.window] {
            window.longest_gap = window.longest_gap.max(gap);
        }
    }

    /// What happened since this was last asked, the gap that lasts at this moment included.
    pub fn take_window(&mut self, now: Instant) -> Window {
        self.note_gap(now);
        std::mem::take(&mut self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::clock;

    #[test]
    fn a_stall_is_seen_from_both_sides() {
        let begin = clock::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut meter = Meter::new(begin);
        meter.begin();
        meter.begin();
        meter.success(Kind::Read, 10, at(0), at(5));
        assert_eq!(meter.take_window(at(7)).longest_stall(), Duration::from_millis(5));
        meter.failure("EIO", at(1), at(90));
        let window = meter.take_window(at(95));
        assert_eq!((window.errors, window.done), (1, 0));
        assert_eq!(window.longest_gap, Duration::from_millis(90), "an error ends no gap");
        assert_eq!(window.longest_request, Duration::from_millis(89));
        assert_eq!(meter.per_second, [1]);
    }

    #[test]
    fn what_is_never_answered_is_an_error_each() {
        let begin = clock::now();
        let mut meter = Meter::new(begin);
        (0..3).for_each(|_| meter.begin());
        meter.give_up(3, "no answer", begin + Duration::from_secs(2));
        assert_eq!(meter.errors["no answer"], 3);
        assert_eq!(meter.whole.longest_gap, Duration::from_secs(2));
        assert_eq!(meter.in_flight, 0);
    }
}
