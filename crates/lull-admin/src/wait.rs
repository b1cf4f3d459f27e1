//! Why something stands still: [TIMER-5] says that no hold is without an owner.

use serde::{Deserialize, Serialize};

/// Something that waits, with a name on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wait {
    /// Who must act for it to end: an initiator, a target, `operator`.
    pub for_whom: String,
    /// What they must do, as a phrase: `complete the pause`, `come back`.
    pub what: String,
    /// When the wait began, in Unix milliseconds.
    pub since: u64,
    /// When it ends by itself, in Unix milliseconds; none: it lasts until it is satisfied.
    pub deadline: Option<u64>,
    /// What comes at the deadline, as a phrase: `ask the operator`, `fail held requests`.
    pub then: String,
    /// How an operator ends it, as a phrase, where that is not plain; a command between backquotes is for this daemon.
    pub next: String,
}
