//! Orders for a restart, and what is seen of one while it runs.

use serde::{Deserialize, Serialize};

use crate::error::{ApiError, ErrorCode};
use crate::wait::Wait;
use crate::words::words;

words! {
    /// What happens to the target between the pause and the resume.
    RestartKind {
        /// The daemon is replaced by the binary that is now at its path.
        #[default]
        Daemon = "daemon",
        /// The operating system reboots.
        Host = "host",
        /// The daemon exits; whoever starts it next resumes the sessions.
        Stop = "stop",
        /// A command runs while the target is down, then it starts again.
        Exec = "exec",
        /// Only the pause: something else does the restart and says `resume`.
        Pause = "pause",
    }
}

words! {
    /// What happens when the pause timer ends and somebody has not completed.
    OnPauseTimeout {
        /// Put a question to the operator; unanswered, it becomes `abort`.
        #[default]
        Ask = "ask",
        /// Give up the restart; everybody goes on.
        Abort = "abort",
        /// Go on without those who have not completed; they replay afterwards.
        Proceed = "proceed",
        /// Wait another span.
        Wait = "wait",
    }
}

words! {
    /// An answer to the question of an ended pause timer.
    Decision {
        /// Wait another pause span.
        #[default]
        Wait = "wait",
        /// Restart without those who are not ready.
        Proceed = "proceed",
        /// Do not restart.
        Abort = "abort",
    }
}

words! {
    /// Where a restart is.
    RestartPhase {
        /// The successor process is started and checks itself; nobody is paused yet.
        #[default]
        StartingSuccessor = "starting_successor",
        /// PAUSE is sent; initiators drain and flush.
        Pausing = "pausing",
        /// The pause timer ended; the operator is asked.
        Asking = "asking",
        /// All have completed, or are gone on without: backends and the record are made durable.
        Settling = "settling",
        /// All are paused and stay so until `resume` or `abort`.
        Paused = "paused",
        /// DISCONNECT is sent; the target does not serve.
        Down = "down",
        /// The new process serves; initiators come back.
        Resuming = "resuming",
        /// It has an outcome.
        Ended = "ended",
    }
}

words! {
    /// Where one attachment is within a restart.
    RowPhase {
        /// It has not been asked to pause.
        #[default]
        Sharing = "sharing",
        /// PAUSE is sent and nothing has come back yet.
        Asked = "asked",
        /// It waits for its requests in flight.
        Draining = "draining",
        /// It flushes what is unflushed.
        Flushing = "flushing",
        /// PAUSE COMPLETE has arrived.
        Paused = "paused",
        /// Its connection is lost; it counts as not completed.
        Lost = "lost",
        /// It detached during the restart, which counts as done.
        Detached = "detached",
        /// DISCONNECT is sent; it has not dialled the new process yet.
        Away = "away",
        /// It is back and sends again what was not answered or flushed.
        Replaying = "replaying",
        /// RESUME is sent.
        Resumed = "resumed",
    }
}

/// `POST /v1/restart`: restart the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartOrder {
    /// What happens between pause and resume.
    pub kind: RestartKind,
    /// For `exec` only: a command line for `/bin/sh -c`.
    pub command: Option<String>,
    /// Why, for the record and for the initiators' operators.
    pub reason: String,
    /// The expected downtime that initiators are told; none: the target's own estimate.
    pub expect_ms: Option<u64>,
    /// The span of the pause timer; none: the target's configuration.
    pub pause_timeout_ms: Option<u64>,
    /// What to do when it ends; none: `ask` if `interactive`, else `abort`.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// Whether somebody is there to answer a question.
    pub interactive: bool,
}

impl RestartOrder {
    /// Whether the order can be carried out as it stands.
    ///
    /// # Errors
    /// A kind or policy that this release does not know, or `exec` without its command.
    pub fn check(&self) -> Result<(), ApiError> {
        match (self.kind, &self.command) {
            (RestartKind::Unknown | RestartKind::Pause, _) => {
                return Err(bad("a restart is of kind daemon, host, stop or exec"));
            }
            (RestartKind::Exec, None) => return Err(bad("a restart of kind exec has a command")),
            (RestartKind::Daemon | RestartKind::Host | RestartKind::Stop, Some(_)) => {
                return Err(bad("only a restart of kind exec has a command"));
            }
            (RestartKind::Exec, Some(_)) | (_, None) => {}
        }
        check_policy(self.on_pause_timeout)
    }
}

impl PauseOrder {
    /// Whether the order can be carried out as it stands.
    ///
    /// # Errors
    /// A policy that this release does not know.
    pub fn check(&self) -> Result<(), ApiError> {
        check_policy(self.on_pause_timeout)
    }
}

fn check_policy(policy: Option<OnPauseTimeout>) -> Result<(), ApiError> {
    match policy {
        Some(OnPauseTimeout::Unknown) => {
            Err(bad("on_pause_timeout is one of ask, abort, proceed, wait"))
        }
        _ => Ok(()),
    }
}

fn bad(message: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message, "correct the request and send it again")
}

/// `POST /v1/pause`: pause everybody for a restart that something else performs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PauseOrder {
    /// Why, for the record and for the initiators' operators.
    pub reason: String,
    /// The expected downtime that initiators are told.
    pub expect_ms: Option<u64>,
    /// The span of the pause timer.
    pub pause_timeout_ms: Option<u64>,
    /// What to do when it ends; none: `ask` if `interactive`, else `abort`.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// Whether somebody is there to answer a question.
    pub interactive: bool,
}

/// The answer to an accepted restart or pause; the rest is seen in status, events and history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartStarted {
    /// Number of the restart, by which everything else refers to it.
    pub id: u64,
    /// The initiators that will be paused, by name.
    pub initiators: Vec<String>,
}

/// A restart that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartStatus {
    /// Number of the restart.
    pub id: u64,
    /// What it does between pause and resume.
    pub kind: RestartKind,
    /// Why.
    pub reason: String,
    /// Where it is.
    pub phase: RestartPhase,
    /// When it was ordered, in Unix milliseconds.
    pub started: u64,
    /// When this phase began, in Unix milliseconds.
    pub phase_since: u64,
    /// When the timer that runs in this phase ends, in Unix milliseconds.
    pub deadline: Option<u64>,
    /// The question that waits for an answer, in phase `asking`.
    pub question: Option<Question>,
    /// What it waits for, one entry for each who is awaited.
    pub waits: Vec<Wait>,
    /// One row per attachment on the roster.
    pub rows: Vec<RestartRow>,
}

/// One attachment within a restart that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartRow {
    /// Name of the initiator.
    pub initiator: String,
    /// Name of its attachment.
    pub attachment: String,
    /// Name of the resource.
    pub resource: String,
    /// Where it is.
    pub phase: RowPhase,
    /// Requests in flight, by its own last report.
    pub in_flight: u64,
    /// Age of the oldest of them, by its own last report.
    pub oldest_ms: u64,
    /// Bytes it keeps because no flush has released them.
    pub unflushed: u64,
    /// PAUSE sent to PAUSE COMPLETE, once that has come.
    pub pause_complete_ms: Option<u64>,
    /// Why it has not completed, where that is known.
    pub not_completed_because: Option<String>,
    /// PAUSE sent to RESUME sent, once that has happened.
    pub stall_ms: Option<u64>,
}

/// What the operator is asked when the pause timer ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Question {
    /// When it was put, in Unix milliseconds.
    pub since: u64,
    /// When it becomes `abort` unanswered, in Unix milliseconds.
    pub deadline: u64,
    /// Who is not ready, and why.
    pub not_ready: Vec<NotReady>,
}

/// What came of giving a restart or a pause up, beside that everybody goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GivenUp {
    /// What was begun outside of the daemon, and what becomes of it, as a sentence; none: nothing was.
    pub outside: Option<String>,
}

/// One who has not completed the pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotReady {
    /// Name of the initiator.
    pub initiator: String,
    /// Name of its attachment.
    pub attachment: String,
    /// Why, as a phrase: `3 writes in flight, the oldest for 12 s`.
    pub because: String,
}

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.attachment.is_empty() || self.attachment == self.initiator {
            write!(f, "{}: {}", self.initiator, self.because)
        } else {
            write!(f, "{} ({}): {}", self.initiator, self.attachment, self.because)
        }
    }
}
