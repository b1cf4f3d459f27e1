//! What is kept of each round, as files in a folder of its own. The table is made of nothing else.

use serde::{Deserialize, Serialize};

/// What happened when, as [`Notes`].
pub(super) const NOTES: &str = "round.json";
/// What the consumer of blocks asked and was answered: a history.
pub(super) const HISTORY: &str = "blocks.history";
/// What it came to; empty where it did not end.
pub(super) const BLOCKS: &str = "blocks.json";
/// What the consumer of files came to; empty where it did not end.
pub(super) const FILES: &str = "files.json";
/// Whether one more file can be written to the file system, after all that; empty where that did not end.
pub(super) const PROBE: &str = "probe";
/// What e2fsck says of the file system, with its exit status; empty where it did not end.
pub(super) const CHECK: &str = "e2fsck";
/// Why there is no round, where the lab failed.
pub(super) const FAILED: &str = "failed";

/// The kernel's log of a guest.
pub(super) fn kernel_log(guest: &str) -> String {
    format!("{guest}-kernel.log")
}

/// What is done to a target's system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Disturbance {
    /// It reboots, in good order.
    Reboot,
    /// Its power is cut, and comes back.
    Cut,
}

impl Disturbance {
    pub(super) const ALL: [Self; 2] = [Self::Reboot, Self::Cut];

    /// Its name among the logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Cut => "cut",
        }
    }

    /// Its name in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Reboot => "planned reboot",
            Self::Cut => "power cut",
        }
    }
}

/// What is known of a round beside what others have said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The name of the system under test.
    pub(super) system: String,
    /// What was done to its target.
    pub(super) disturbance: Disturbance,
    /// Number of the round, from 1.
    pub(super) round: u32,
    /// From the order to reboot, or the cut, until somebody listened at the target's port again, in milliseconds.
    pub(super) outage_ms: u64,
}
