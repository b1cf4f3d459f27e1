//! The daemon's one clock.

use jiff::Timestamp;
use lull_proto::MonoTime;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where this life's time begins, on both clocks. Wall time is derived from the steady one, so that the times of a
/// record never run backwards within a life.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix: Duration,
}

impl Clock {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), unix }
    }

    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn now(&self) -> MonoTime {
        let elapsed = Instant::now() - self.start;
        MonoTime(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// An instant for a timer.
    pub fn instant(&self, at: MonoTime) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + Duration::from_nanos(at.0))
    }

    /// An instant in Unix microseconds.
    pub fn unix_us(&self, at: MonoTime) -> u64 {
        let unix = self.unix + Duration::from_nanos(at.0);
        u64::try_from(unix.as_micros()).unwrap_or(u64::MAX)
    }

    /// An instant for people, by [`time_of_day`].
    pub fn time_of_day(&self, at: MonoTime, now: MonoTime) -> String {
        time_of_day(self.unix_ms(at), self.unix_ms(now))
    }

    /// An instant in Unix milliseconds.
    pub fn unix_ms(&self, at: MonoTime) -> u64 {
        self.unix_us(at) / 1000
    }
}

/// A time as others read it, elsewhere and later: in UTC, which needs no time zone of either side, and with its date where
/// it is of another day than `now`, both in Unix milliseconds.
pub fn time_of_day(at: u64, now: u64) -> String {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let format = if at / DAY_MS == now / DAY_MS { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    // Only a time that no clock shows has no text.
    at.map_or_else(|| "?".to_owned(), |at| at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_date_only_on_another_day() {
        let at = 1_763_906_525_000;
        assert_eq!(time_of_day(at, at + 3_600_000), "14:02:05 UTC");
        assert_eq!(time_of_day(at, at + 36_000_000), "2025-11-23 14:02:05 UTC");
        assert_eq!(time_of_day(u64::MAX, at), "?");
    }
}
