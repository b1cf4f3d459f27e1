//! The daemon's one clock.

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

    /// An instant in Unix milliseconds.
    pub fn unix_ms(&self, at: MonoTime) -> u64 {
        self.unix_us(at) / 1000
    }
}
