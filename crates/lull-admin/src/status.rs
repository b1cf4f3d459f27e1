//! The state of a daemon at one moment: the document of `GET /v1/status`.

use serde::{Deserialize, Serialize};

use crate::alert::Alert;
use crate::attachment::InitiatorStatus;
use crate::restart::RestartStatus;
use crate::wait::Wait;
use crate::words::words;

/// A daemon; one daemon may have both roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Name of the node.
    pub name: String,
    /// Version of the daemon's binary.
    pub version: String,
    /// Its process; 0, and `null` in the document, where none runs and this was read from the state directory.
    #[serde(with = "process")]
    pub pid: u32,
    /// When this process began to serve, in Unix milliseconds.
    pub since: u64,
    /// When this document was made, in Unix milliseconds; ages are counted from here.
    pub at: u64,
    /// Its state as a target.
    pub target: Option<TargetStatus>,
    /// Its state as an initiator.
    pub initiator: Option<InitiatorStatus>,
    /// What an operator should look at; all of it follows from the rest of the document.
    pub alerts: Vec<Alert>,
}

/// How a process is written that may not be there.
mod process {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(pid: &u32, to: S) -> Result<S::Ok, S::Error> {
        (*pid != 0).then_some(*pid).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        Ok(Option::<u32>::deserialize(from)?.unwrap_or_default())
    }
}

/// Something that does not work at the moment and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Since when, in Unix milliseconds.
    pub since: u64,
    /// What the system said.
    pub why: String,
}

words! {
    /// What a target does as a whole.
    TargetPhase {
        /// It shares.
        #[default]
        Serving = "serving",
        /// A successor process is being started and checks itself; it shares still.
        StartingSuccessor = "starting_successor",
        /// PAUSE is sent; initiators drain.
        Pausing = "pausing",
        /// All are paused, or left behind; media and record are made durable.
        Settling = "settling",
        /// All are paused for a restart that something else performs.
        Paused = "paused",
        /// DISCONNECT is sent.
        Down = "down",
        /// It serves again and waits for initiators to come back.
        Resuming = "resuming",
    }
}

words! {
    /// The access of an attachment to its resource.
    Access {
        /// Read and write, alone.
        #[default]
        Rw = "rw",
        /// Read only.
        Ro = "ro",
        /// Read and write, with others.
        RwShared = "rw-shared",
    }
}

words! {
    /// Where a session of one attachment is, as its target sees it.
    SessionPhase {
        /// A connection is there, ATTACH is not answered yet.
        #[default]
        Attaching = "attaching",
        /// It sends again what another incarnation did not get.
        Replaying = "replaying",
        /// It is ready and waits until its resource opens.
        Ready = "ready",
        /// Requests flow.
        Sharing = "sharing",
        /// PAUSE is sent; it drains.
        Draining = "draining",
        /// It flushes.
        Flushing = "flushing",
        /// PAUSE COMPLETE has come.
        Paused = "paused",
        /// DISCONNECT is sent.
        Disconnected = "disconnected",
        /// The connection is lost; the resource stays reserved.
        Lost = "lost",
    }
}

/// A daemon as the owner of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetStatus {
    /// Name of the node.
    pub name: String,
    /// This life of the daemon, in hexadecimal digits.
    pub instance: String,
    /// What it does as a whole.
    pub phase: TargetPhase,
    /// Addresses at which initiators reach it, in the form of the command line.
    pub listen: Vec<String>,
    /// Addresses at which clients without an agent reach it.
    pub nbd: Vec<String>,
    /// What it owns.
    pub resources: Vec<ResourceStatus>,
    /// The roster: each attachment, connected or lost.
    pub initiators: Vec<SessionStatus>,
    /// Clients without an agent.
    pub agentless: Vec<AgentlessStatus>,
    /// A restart that is under way.
    pub restart: Option<RestartStatus>,
    /// Whatever else waits, for instance a resource for its writers' return.
    pub waits: Vec<Wait>,
    /// Why its state cannot be written, where it cannot.
    pub state_fault: Option<Fault>,
    /// Why it does not serve although it should, where it does not.
    pub trouble: Option<Fault>,
}

/// One resource of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// What it rests on, as it was configured.
    pub backend: String,
    /// How its I/O is done, as a word: `threads`, `memory`.
    pub engine: String,
    /// Its size in bytes; 0 while that is not known, since the target on which it rests was not reached.
    pub size: u64,
    /// The nodes that it leads through with its name at each, as `node/resource`, this one first; more than one where
    /// it rests on another target's resource.
    pub path: Vec<String>,
    /// Its incarnation, in hexadecimal digits.
    pub incarnation: String,
    /// Number of the present writer's tenure.
    pub tenure: u64,
    /// Attachments that use it, as `initiator/attachment access`.
    pub held_by: Vec<String>,
    /// Flushes that its medium was asked for, in this life of the daemon.
    pub flushes: u64,
    /// Writes that its medium was asked to make durable each by itself, in this life of the daemon.
    pub durable_writes: u64,
    /// Changes that were answered with "no space left", in this life of the daemon.
    pub full: u64,
    /// Sharers that were not back in time, so that the others went on without what they had unanswered, in this life of
    /// the daemon.
    pub missed: u64,
    /// The last of them, and when its place was given up.
    pub last_missed: Option<Missed>,
    /// Why it serves nobody, where it does not.
    pub faulted: Option<String>,
    /// Whom it waits for before it opens.
    pub waits_for: Option<Wait>,
}

/// A sharer that was not back in time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Name of the initiator.
    pub initiator: String,
    /// When its place was given up, in Unix milliseconds.
    pub at: u64,
}

/// One attachment, as its target sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionStatus {
    /// Name of the initiator.
    pub initiator: String,
    /// Name of its attachment.
    pub attachment: String,
    /// Name of the resource.
    pub resource: String,
    /// Its access.
    pub access: Access,
    /// Where it is.
    pub phase: SessionPhase,
    /// Where its connection comes from; empty while it is lost.
    pub peer: String,
    /// When this phase began, in Unix milliseconds.
    pub since: u64,
    /// Requests that the target has not answered.
    pub in_flight: u64,
    /// Age of the oldest of them, by its last report: initiators report while they drain and flush.
    pub oldest_ms: u64,
    /// Bytes it keeps because no flush has released them, by its last report; 0 at other times, whatever it keeps.
    pub unflushed: u64,
    /// Number of its last ATTACH.
    pub epoch: u64,
    /// The initiator's life, in hexadecimal digits.
    pub instance: String,
    /// How long its resource stays reserved after a loss; none: without limit.
    pub hold_ms: Option<u64>,
    /// Number of the target's thread that serves it; 0 as well while it is lost.
    pub thread: u64,
    /// What the target waits for from it.
    pub waits_for: Option<Wait>,
}

/// A client that speaks NBD straight to the target: it cannot be paused, only held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentlessStatus {
    /// Where its connection comes from.
    pub peer: String,
    /// Name of the resource.
    pub resource: String,
    /// Its access.
    pub access: Access,
    /// When it came, in Unix milliseconds.
    pub since: u64,
    /// Requests that the target has not answered.
    pub in_flight: u64,
    /// Number of the target's thread that serves it.
    pub thread: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_run_has_no_process() {
        let text = serde_json::to_string(&Status::default()).unwrap();
        assert!(text.contains(r#""pid":null"#), "{text}");
        for (text, pid) in [(r#"{"pid":null}"#, 0), (r#"{"pid":17}"#, 17), ("{}", 0)] {
            assert_eq!(serde_json::from_str::<Status>(text).unwrap().pid, pid);
        }
    }
}
