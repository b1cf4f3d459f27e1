//! Waiting for a condition, with a name and an end.

use std::time::Duration;

use crate::clock::now;

/// A span that nothing prompt takes on a machine that is busy with other tests.
pub const PROMPT: Duration = Duration::from_secs(15);

/// How long is waited between two looks: twice as long as the last one took, so that looking, which is a program in a guest
/// of the lab's, takes little from what is waited for; but at least and at most this long.
const BETWEEN: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(250)];

/// Looks until `look` gives something, at most for `within`.
///
/// # Panics
/// At the deadline, naming `what`.
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + within;
    loop {
        let begun = now();
        if let Some(found) = look() {
            return found;
        }
        let ended = now();
        assert!(ended < deadline, "waited {within:?} for this in vain: {what}");
        let [least, most] = BETWEEN;
        std::thread::sleep((2 * (ended - begun)).clamp(least, most));
    }
}

/// Looks until `look` is true, at most for `within`.
///
/// # Panics
/// At the deadline, naming `what`.
pub fn wait_until(what: &str, within: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, within, || look().then_some(()));
}
