//! The tests' one look at the clock.

use std::time::{Instant, SystemTime};

/// Now.
#[expect(clippy::disallowed_methods, reason = "the tests' one clock place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Now by the calendar, in Unix microseconds: what other programs note.
#[expect(clippy::disallowed_methods, reason = "the tests' one clock place")]
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.expect("a clock after 1970").as_micros()).expect("a clock of this age")
}
