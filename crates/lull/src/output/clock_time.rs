//! Times of day in the reader's zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone in which times are shown.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this host or of `TZ`.
    pub fn local() -> Self {
        Self(TimeZone::system())
    }

    /// UTC, for tests.
    #[cfg(test)]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// `2026-11-22`.
    pub fn date(&self, at: u64) -> String {
        self.show(at, "%Y-%m-%d")
    }

    /// `14:02:01`.
    pub fn time(&self, at: u64) -> String {
        self.show(at, "%H:%M:%S")
    }

    /// `14:02:01.123`.
    pub fn time_ms(&self, at: u64) -> String {
        self.show(at, "%H:%M:%S%.3f")
    }

    /// Only a time that no clock shows has no text; it comes from a damaged document.
    fn show(&self, at: u64, format: &str) -> String {
        i64::try_from(at)
            .ok()
            .and_then(|at| Timestamp::from_millisecond(at).ok())
            .map(|at| at.to_zoned(self.0.clone()).strftime(format).to_string())
            .unwrap_or_else(|| "?".to_owned())
    }
}
