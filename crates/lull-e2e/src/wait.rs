//! Waiting for a condition, with a name and an end.

use std::time::Duration;

use crate::clock::now;

/// A span that nothing prompt takes on a machine that is busy with other tests.
pub const PROMPT: Duration = Duration::from_secs(15);

/// How often is looked.
const EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` gives something, at most for `within`.
///
/// # Panics
/// At the deadline, naming `what`.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < deadline, "waited {within:?} for this in vain: {what}");
        std::thread::sleep(EVERY);
    }
}

/// Looks until `look` is true, at most for `within`.
///
/// # Panics
/// At the deadline, naming `what`.
pub fn wait_until(what: &str, within: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, within, || look().then_some(()));
}
