//! Instants on a node's own clock. They never cross the wire; spans do.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// Nanoseconds since some instant in the life of this daemon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(pub u64);

impl MonoTime {
    /// The span from `earlier` to this; zero where `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Milliseconds from `now` until this, rounded up; zero where it is past. For the wire.
    pub fn millis_from(self, now: Self) -> u64 {
        self.0.saturating_sub(now.0).div_ceil(1_000_000)
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for MonoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// The earliest of some deadlines.
pub(crate) fn earliest(deadlines: impl IntoIterator<Item = Option<MonoTime>>) -> Option<MonoTime> {
    deadlines.into_iter().flatten().min()
}

/// Microseconds of a span, for the wire.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds of a span, for the wire: rounded up, [`Duration::MAX`] as all ones ("without limit").
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A span from the wire; all ones is [`Duration::MAX`] ("without limit").
pub(crate) fn span(millis: u64) -> Duration {
    if millis == u64::MAX { Duration::MAX } else { Duration::from_millis(millis) }
}
