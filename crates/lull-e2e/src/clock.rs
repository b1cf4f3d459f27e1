//! The tests' one look at the clock.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the tests' one clock place")]
pub fn now() -> Instant {
    Instant::now()
}
