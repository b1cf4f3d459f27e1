//! The load's one look at the clock.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the load generator's one clock place")]
pub fn now() -> Instant {
    Instant::now()
}
