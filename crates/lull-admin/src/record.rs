//! The history of restarts: each can be explained and drawn afterwards.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::restart::{RestartKind, RestartPhase};
use crate::words::words;

words! {
    /// How a restart ended.
    OutcomeKind {
        /// All completed the pause, and the target served again.
        #[default]
        Completed = "completed",
        /// It was given up before the point of no return; everybody went on.
        Aborted = "aborted",
        /// It was carried out without somebody's PAUSE COMPLETE.
        Proceeded = "proceeded",
        /// It did not work; `why` says what happened.
        Failed = "failed",
    }
}

/// How a restart ended, and why it ended so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// For `aborted` and `failed` the cause; for `proceeded` who was left behind.
    pub why: Option<String>,
    /// Whether it was given up because somebody was not ready (exit status 3).
    pub not_ready: Vec<String>,
    /// Whether it was given up by an operator's word, and not by a timer.
    pub by_operator: bool,
}

/// One restart from its order to its outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartRecord {
    /// Number of the restart.
    pub id: u64,
    /// Name of the target.
    pub node: String,
    /// What it did between pause and resume.
    pub kind: RestartKind,
    /// Why it was ordered.
    pub reason: String,
    /// When it was ordered, in Unix milliseconds.
    pub started: u64,
    /// When it got its outcome, in Unix milliseconds.
    pub ended: Option<u64>,
    /// How it ended; none: it is under way, or the host died in it.
    pub outcome: Option<Outcome>,
    /// While it has no outcome: why it has failed, whatever comes of its return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The phases it went through, in order.
    pub phases: Vec<PhaseSpan>,
    /// One row per attachment that was on the roster.
    pub rows: Vec<RecordRow>,
    /// The last answer that the old process gave, in Unix microseconds.
    pub last_answer_us: Option<u64>,
    /// The kernel's name of the boot in which the old process went down; empty: it did not, or it is not known.
    pub boot: String,
    /// The first connection that the new process accepted, in Unix microseconds.
    pub first_accept_us: Option<u64>,
    /// Every transition, in order.
    pub transitions: Vec<Event>,
    /// Who sent what to whom, in order.
    pub messages: Vec<Message>,
}

/// A phase of a restart with its times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseSpan {
    /// Which.
    pub phase: RestartPhase,
    /// Its begin, in Unix milliseconds.
    pub start: u64,
    /// Its end, in Unix milliseconds; none: it has not ended.
    pub end: Option<u64>,
}

/// What one attachment saw of a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordRow {
    /// Name of the initiator.
    pub initiator: String,
    /// Name of its attachment.
    pub attachment: String,
    /// Which attachment, in hexadecimal digits: one initiator may have several of a resource.
    pub id: String,
    /// Name of the resource.
    pub resource: String,
    /// PAUSE sent to PAUSE COMPLETE received; none: it never came.
    pub pause_complete_ms: Option<u64>,
    /// Requests in flight when PAUSE was sent, or as first reported after it.
    pub in_flight_at_pause: u64,
    /// Why it had not completed when the pause ended without it.
    pub not_completed_because: Option<String>,
    /// Order of the restart to RESUME for it; none: it did not come back.
    pub resumed_ms: Option<u64>,
    /// The longest that one request of its consumers waited, by the initiator's own report after RESUME, in
    /// milliseconds rounded up; none: it has not reported.
    pub stall_ms: Option<u64>,
    /// The same in microseconds.
    pub stall_us: u64,
    /// PAUSE to its last answer, by its own report, in microseconds.
    pub drain_us: u64,
    /// Its flush, by its own report, in microseconds.
    pub flush_us: u64,
    /// DISCONNECT or loss to CONNECT, by its own report, in microseconds.
    pub away_us: u64,
    /// CONNECT to RESUME, by its own report, in microseconds.
    pub resume_us: u64,
    /// Requests that it held when RESUME came.
    pub held: u64,
}

/// One message of the protocol, for drawing the sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Time since the restart was ordered, in microseconds.
    pub offset_us: u64,
    /// Who sent it, by node name.
    pub from: String,
    /// Who received it, by node name.
    pub to: String,
    /// Its name in the protocol: `PAUSE`, `PAUSE COMPLETE`.
    pub name: String,
    /// What of its contents matters to a reader: `4 in flight, 64 KiB unflushed`; may be empty.
    pub detail: String,
}
