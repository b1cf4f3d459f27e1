//! The one place where this daemon reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lull_proto::MonoTime;

/// The daemon's clock; copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that began with the host's own: a life before this one may have waited already, which is no time before it.
    pub fn start() -> Self {
        Self::begun(0)
    }

    /// A clock that began when another process's did, which said so by [`Clock::began`].
    #[expect(clippy::disallowed_methods, reason = "this is the daemon's one clock")]
    pub fn begun(at: u64) -> Self {
        let ago = Duration::from_nanos(host_ns().saturating_sub(at));
        let now = Instant::now();
        Self { start: now.checked_sub(ago).unwrap_or(now) }
    }

    /// When it began, in nanoseconds of the host's own clock, which all of its processes share until it boots.
    pub fn began(&self) -> u64 {
        host_ns().saturating_sub(self.now().0)
    }

    /// `at`, in nanoseconds of the host's own clock.
    pub fn at_host(&self, at: MonoTime) -> u64 {
        self.began().saturating_add(at.0)
    }

    /// What another process calls so many nanoseconds of the host's own clock.
    pub fn of_host(&self, at: u64) -> MonoTime {
        MonoTime(at.saturating_sub(self.began()))
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

fn host_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, rest) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
