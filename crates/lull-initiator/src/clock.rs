//! The one place where this daemon reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lull_proto::MonoTime;

/// The daemon's clock; copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's one clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time since the start.
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's one clock")]
    pub fn now(&self) -> MonoTime {
        let span = Instant::now().saturating_duration_since(self.start);
        MonoTime(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The runtime's name for `at`; far beyond any life of a daemon it is cut off at a year.
    pub fn instant(&self, at: MonoTime) -> tokio::time::Instant {
        const YEAR: u64 = 366 * 24 * 3600 * 1_000_000_000;
        (self.start + Duration::from_nanos(at.0.min(self.now().0.saturating_add(YEAR)))).into()
    }

    /// The time of day, in Unix milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's one clock")]
    pub fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The time of day at `at`, in Unix milliseconds, as the present setting of the clock has it.
    pub fn wall_at(&self, at: MonoTime) -> u64 {
        let (now, wall) = (self.now().0, self.wall_ms());
        if at.0 >= now {
            wall.saturating_add((at.0 - now) / 1_000_000)
        } else {
            wall.saturating_sub((now - at.0) / 1_000_000)
        }
    }
}
