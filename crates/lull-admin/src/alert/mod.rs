//! What an operator should look at, derived from a [`Status`] and from nothing else: the command, the log and the
//! metrics say the same, and so would anybody who reads the document.

mod attachment;
mod log;
mod target;
#[cfg(test)]
mod tests;

pub use log::AlertLog;

use serde::{Deserialize, Serialize};

use crate::status::Status;
use crate::words::words;

words! {
    /// What is wrong.
    AlertKind {
        /// An attachment's target has been away past its timer.
        #[default]
        TargetGone = "target_gone",
        /// A target holds because another one, on which it lies, is away.
        HeldAbove = "held_above",
        /// A target has been away for longer than it announced.
        HeldLonger = "held_longer",
        /// A target refuses an attachment that its consumers wait for.
        Refused = "refused",
        /// An attachment's hook runs.
        HookRunning = "hook_running",
        /// An attachment's hook has failed.
        HookFailed = "hook_failed",
        /// This host is being shut down because a disk is gone.
        ShuttingDown = "shutting_down",
        /// The state directory cannot be written.
        StateNotWritten = "state_not_written",
        /// A block device of the kernel's is not to be had, or does not go.
        DeviceWaits = "device_waits",
        /// Unflushed changes were lost with a daemon that was killed.
        LogLost = "log_lost",
        /// Unflushed changes would be lost with the daemon.
        LogNotKept = "log_not_kept",
        /// A target could not take again what an attachment keeps.
        ReplayFailed = "replay_failed",
        /// A target has no room for an attachment's changes.
        Full = "full",
        /// The sharers of a resource went on without one that was not back in time.
        Missed = "missed",
        /// A resource is reserved by an initiator that is lost.
        Reserved = "reserved",
        /// A resource serves nobody because of a fault.
        Faulted = "faulted",
        /// A pause waits for an initiator.
        NotReady = "not_ready",
        /// A restart waits for an operator's answer.
        Question = "question",
        /// A target cannot serve and tries again.
        NotServing = "not_serving",
        /// Clients without an agent would be cut off by a restart.
        Agentless = "agentless",
    }
}

/// One thing that is wrong now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// What is wrong.
    pub kind: AlertKind,
    /// The attachment that it is about.
    pub attachment: Option<String>,
    /// The resource that it is about.
    pub resource: Option<String>,
    /// The other node that it is about: an initiator, or a target.
    pub node: Option<String>,
    /// Since when, in Unix milliseconds.
    pub since: u64,
    /// What is wrong, as a phrase: `lost, and its place is reserved for it`.
    pub text: String,
    /// What to do, as a phrase. A command between backquotes is for this daemon; one for another has none.
    pub next: String,
}

impl Alert {
    /// Whom or what it is about, for people: `web-2 on db1`.
    pub fn subject(&self) -> String {
        match (&self.attachment, &self.node, &self.resource) {
            (Some(attachment), _, _) => attachment.clone(),
            (None, Some(node), Some(resource)) => format!("{node} on {resource}"),
            (None, Some(node), None) => node.clone(),
            (None, None, Some(resource)) => resource.clone(),
            (None, None, None) => String::new(),
        }
    }

    /// Whether `other` is the same alert, seen at another time.
    fn is(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.kind, one.attachment.clone(), one.resource.clone());
        key(self) == key(other) && self.node == other.node
    }
}

/// What passes within this time is a restart's ordinary course, in milliseconds.
const PATIENCE_MS: u64 = 5_000;
/// How long it is told that sharers went on without one, in milliseconds.
const MISSED_MS: u64 = 3_600_000;

impl Status {
    /// The same document with the alerts that follow from it.
    #[must_use]
    pub fn with_alerts(mut self) -> Self {
        let mut alerts = Vec::new();
        if let Some(of) = &self.initiator {
            of.attachments.iter().for_each(|one| attachment::alerts(one, self.at, &mut alerts));
        }
        if let Some(of) = &self.target {
            target::alerts(of, self.at, &mut alerts);
        }
        self.alerts = alerts;
        self
    }
}
