//! The state of a daemon as an initiator.

use serde::{Deserialize, Serialize};

use crate::footing::Footing;
use crate::status::{Access, Fault};
use crate::wait::Wait;
use crate::words::words;

/// A daemon as a user of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InitiatorStatus {
    /// Name of the node.
    pub name: String,
    /// This life of the daemon, in hexadecimal digits.
    pub instance: String,
    /// How it stands in the way of its consumers' I/O; none: it is a target's.
    pub footing: Option<Footing>,
    /// Its attachments.
    pub attachments: Vec<AttachmentStatus>,
}

words! {
    /// Where an attachment is, as its initiator sees it.
    AttachmentPhase {
        /// It tries to reach the target.
        #[default]
        Dialling = "dialling",
        /// The target is there; ATTACH is not answered.
        Attaching = "attaching",
        /// It sends again what the target's new incarnation does not have.
        Replaying = "replaying",
        /// It is ready and waits for RESUME.
        Ready = "ready",
        /// Requests flow.
        Sharing = "sharing",
        /// The target lies on another one, which is away: it holds new requests, and no timer runs.
        Held = "held",
        /// PAUSE has come: it holds new requests and waits for those in flight.
        Draining = "draining",
        /// It flushes what is unflushed.
        Flushing = "flushing",
        /// PAUSE COMPLETE is sent; it holds.
        Paused = "paused",
        /// The target is down; it holds and dials.
        Away = "away",
        /// A deadline has passed and the policy has run; a return of the target ends this too.
        Expired = "expired",
        /// It ends at the operator's wish.
        Detached = "detached",
        /// The target will not have it, and said so for good.
        Refused = "refused",
    }
}

words! {
    /// What an attachment does when its restart or resume timer ends.
    TimeoutPolicy {
        /// Hold on.
        #[default]
        Wait = "wait",
        /// Fail held and new requests.
        Error = "error",
        /// Run a command and hold on.
        Hook = "hook",
        /// Shut this host down.
        Shutdown = "shutdown",
    }
}

words! {
    /// How the command of a policy ended.
    HookOutcome {
        /// It has not.
        #[default]
        Running = "running",
        /// With success.
        Done = "done",
        /// With another status, by a signal, because its time was up, or it could not be run.
        Failed = "failed",
    }
}

words! {
    /// How far the shutdown of a host is.
    ShutdownPhase {
        /// The hook runs; the target's return cancels the shutdown.
        #[default]
        Preparing = "preparing",
        /// The hook has ended, and the target is on its way back.
        Waiting = "waiting",
        /// The point of no return is passed: the shutdown's command runs.
        Begun = "begun",
        /// The host was still up at the deadline: the last resort runs.
        Forced = "forced",
        /// The host is still up after all of it.
        Failed = "failed",
    }
}

/// The last run of a policy's hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookStatus {
    /// What was run.
    pub command: String,
    /// When it began, in Unix milliseconds.
    pub since: u64,
    /// When it ended, in Unix milliseconds.
    pub ended: Option<u64>,
    /// How it ended.
    pub outcome: HookOutcome,
    /// Why it failed, as a phrase behind "it": `ended with exit status: 1`.
    pub why: Option<String>,
    /// The last lines that it printed.
    pub output: Vec<String>,
}

/// A shutdown of its host that an attachment's policy wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShutdownStatus {
    /// How far it is.
    pub phase: ShutdownPhase,
    /// When the policy began it, in Unix milliseconds.
    pub since: u64,
    /// When what runs now is given up, in Unix milliseconds.
    pub deadline: Option<u64>,
}

/// One attachment of an initiator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttachmentStatus {
    /// Its name.
    pub name: String,
    /// Where the resource is.
    pub uri: String,
    /// Name of the resource.
    pub resource: String,
    /// Name of the target, once it has said it.
    pub target: Option<String>,
    /// The face shown to the consumer, in the form of the command line: `nbd unix:/run/db.sock`.
    pub front_end: String,
    /// Consumers that are connected to it.
    pub clients: u64,
    /// The nodes that the resource leads through with its name at each, as `node/resource`, the target first; as far as
    /// they are known.
    pub path: Vec<String>,
    /// Where it is.
    pub phase: AttachmentPhase,
    /// When this phase began, in Unix milliseconds; while the target is away and dialled, when that began.
    pub since: u64,
    /// Its access.
    pub access: Access,
    /// Size of the resource in bytes; 0 before the first ATTACHED.
    pub size: u64,
    /// Incarnation of the resource, in hexadecimal digits.
    pub incarnation: String,
    /// Number of its last ATTACH.
    pub epoch: u64,
    /// Requests sent and not answered.
    pub in_flight: u64,
    /// Age of the oldest of them.
    pub oldest_ms: u64,
    /// Requests of consumers that are held.
    pub held: u64,
    /// Bytes kept because no flush has released them.
    pub unflushed: u64,
    /// What it keeps of its acknowledged changes.
    pub retaining: RetainingStatus,
    /// Why its last replay failed, until one succeeds.
    pub replay_fault: Option<Fault>,
    /// When a change was last answered with "no space left", in Unix milliseconds.
    pub full_at: Option<u64>,
    /// Why it holds, where it does.
    pub outage: Option<Outage>,
    /// What the target waits for above it, as a phrase, and since when: it holds new requests, and no timer runs.
    pub held_above: Option<Fault>,
    /// Unanswered changes that were answered with errors because the other sharers were let go on without it, in this
    /// life.
    pub missed_changes: u64,
    /// When that happened last, and what was lost.
    pub missed: Option<Fault>,
    /// The target's last refusal, while it refuses.
    pub refused: Option<String>,
    /// Why its state cannot be written, where it cannot.
    pub state_fault: Option<Fault>,
    /// What its device in the kernel waits for, where that takes long, and since when.
    pub device_waits: Option<Fault>,
    /// Why nobody keeps its unflushed changes over the end of the daemon, where nobody does.
    pub log_fault: Option<Fault>,
    /// What is known of unflushed changes that were lost with an earlier process of the daemon.
    pub log_lost: Option<Fault>,
    /// The longest that a request waited because of a hold, in this life.
    pub longest_stall_ms: u64,
    /// Requests answered with an error of ours or of the target, in this life.
    pub errors: u64,
    /// The last run of its policy's hook, in this life.
    pub hook: Option<HookStatus>,
    /// The shutdown of this host that it wants.
    pub shutdown: Option<ShutdownStatus>,
    /// What it waits for.
    pub waits_for: Option<Wait>,
}

/// What an attachment keeps for a target that crashes, and what came of it in this life of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetainingStatus {
    /// Acknowledged changes that no flush covers.
    pub changes: u64,
    /// What they count against the bound: the memory that they take, their bytes and 128 for each, and at least 256.
    pub counted: u64,
    /// The bound, in bytes; 0: nothing is kept, every change is durable when it is answered.
    pub bound: u64,
    /// Flushes that no consumer asked for: to make room, and before a pause or a detach.
    pub own_flushes: u64,
    /// Changes that waited for room.
    pub waited: u64,
    /// Changes that were sent again after they had been acknowledged.
    pub replayed_changes: u64,
    /// Their bytes.
    pub replayed_bytes: u64,
    /// Replays that the target could not take.
    pub replay_faults: u64,
}

/// A time in which an attachment cannot share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outage {
    /// Why: `target restarts: new kernel`, `connection lost`.
    pub why: String,
    /// When it began, in Unix milliseconds.
    pub since: u64,
    /// When the policy runs, in Unix milliseconds; none: never.
    pub deadline: Option<u64>,
    /// When the downtime that the target announced is over, in Unix milliseconds; none: it announced none.
    pub expected: Option<u64>,
    /// The policy.
    pub policy: TimeoutPolicy,
    /// Whether the deadline has passed and the policy has run.
    pub expired: bool,
}
