//! What the machine tells people, and what it says when it refuses.

use super::restart::Decision;
use super::{Entry, Progress, Proof, ResourceIndex};
use crate::{ConnId, MonoTime, Violation};
use core::time::Duration;
use lull_wire::messages::{Name, Path, Prose, Stall};
use lull_wire::{
    Access, AttachmentId, DisconnectCode, Epoch, RefusalCode, RestartId, Retry, Tenure,
};

/// Why a HELLO or an ATTACH is not granted. Words for people are made of it where the names and the clock are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Refusal {
    /// No version in common.
    Version { min: u16, max: u16 },
    /// No resource of that name.
    UnknownResource { name: Name },
    /// The resource of that name is another one than the attachment knew.
    Identity { name: Name },
    /// This release does not offer it.
    AccessNotOffered { access: Access },
    /// A pause is under way, or the target is going.
    Pausing,
    /// Another instance owns the attachment.
    OtherInstance { node: Name, since: MonoTime, lost: bool },
    /// The epoch is not higher than this.
    StaleEpoch { current: Epoch },
    /// Somebody else writes; or wrote, and is waited for until then. A namesake has the name of who asks.
    Conflict {
        resource: Name,
        node: Name,
        namesake: bool,
        access: Access,
        since: MonoTime,
        reserved: Option<Option<MonoTime>>,
    },
    /// Clients without an agent write.
    Agentless { resource: Name, clients: u32 },
    /// Another writer was let in since.
    StaleTenure { current: Tenure },
    /// The others were not kept waiting for this sharer any longer: what it has unanswered is not executed any more.
    Missed { current: Tenure },
    /// A writer may have something to replay; who only reads waits for it. A namesake has the name of who asks.
    NotReplayed {
        resource: Name,
        node: Name,
        namesake: bool,
        since: MonoTime,
        reserved: Option<Option<MonoTime>>,
    },
    /// Its medium lost what it was given: it begins a new life, or rests after so many failures in a row.
    WriteBackFailed { resource: Name, failures: u32, rest: Duration },
    /// The resource would lie on itself, or on more targets in a row than a path may name [CHAIN-3].
    Cycle { resource: Name, path: Path },
    /// The target on which the resource lies has not been reached in this life.
    NotReached { resource: Name, path: Path },
    /// The target on which the resource lies has fenced this one [SAFE-5]; what it said, or did.
    FencedAbove { resource: Name, path: Path, reason: Prose },
    /// The target's own state could not be written.
    NotRecorded,
    /// The resource has as many places as a target keeps.
    Limit { resource: Name },
}

impl Refusal {
    /// The code on the wire.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Version { .. } => RefusalCode::Version,
            Self::UnknownResource { .. } => RefusalCode::UnknownResource,
            Self::Identity { .. } => RefusalCode::Identity,
            Self::AccessNotOffered { .. } => RefusalCode::AccessNotOffered,
            Self::Pausing => RefusalCode::Pausing,
            Self::OtherInstance { .. } => RefusalCode::OtherInstance,
            Self::StaleEpoch { .. } => RefusalCode::StaleEpoch,
            Self::Conflict { .. } | Self::Agentless { .. } | Self::NotReplayed { .. } => {
                RefusalCode::Conflict
            }
            Self::StaleTenure { .. } | Self::Missed { .. } => RefusalCode::StaleTenure,
            Self::Cycle { .. } => RefusalCode::Cycle,
            Self::NotRecorded
            | Self::WriteBackFailed { .. }
            | Self::NotReached { .. }
            | Self::FencedAbove { .. } => RefusalCode::Unavailable,
            Self::Limit { .. } => RefusalCode::Limit,
        }
    }

    /// Whether it passes by itself, and after which span it is worth trying again.
    pub fn disposition(&self) -> (Retry, Duration) {
        match self {
            Self::Version { .. }
            | Self::UnknownResource { .. }
            | Self::Identity { .. }
            | Self::AccessNotOffered { .. }
            | Self::Conflict { reserved: None, .. }
            | Self::Agentless { .. }
            | Self::Cycle { .. }
            | Self::FencedAbove { .. }
            | Self::OtherInstance { .. }
            | Self::StaleTenure { .. } => (Retry::Final, Duration::ZERO),
            Self::StaleEpoch { .. } | Self::Missed { .. } => (Retry::Later, Duration::ZERO),
            Self::Pausing => (Retry::Later, Duration::from_millis(500)),
            Self::WriteBackFailed { rest, .. } => (Retry::Later, *rest),
            Self::NotReplayed { reserved: None, .. } => (Retry::Later, Duration::from_millis(100)),
            Self::NotReplayed { reserved: Some(_), .. } => (Retry::Later, Duration::from_secs(1)),
            Self::Conflict { reserved: Some(_), .. }
            | Self::NotRecorded
            | Self::NotReached { .. } => (Retry::Later, Duration::from_secs(2)),
            // Only the end of a hold span, a DETACH or an operator makes room.
            Self::Limit { .. } => (Retry::Later, Duration::from_secs(10)),
        }
    }
}

/// How far one attachment is with a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum RowState {
    /// Not asked.
    Sharing,
    /// Asked; what it said last.
    Draining(Option<Progress>),
    /// PAUSE COMPLETE came.
    Complete(Proof),
    /// Its session is lost, for so long.
    Lost { since: Duration },
}

/// One attachment in a pause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Whose.
    pub entry: Entry,
    /// How far.
    pub state: RowState,
}

/// Why a restart was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// An operator said so.
    Operator,
    /// Somebody did not complete in time.
    NotComplete,
    /// A backend could not be made durable.
    NotDurable,
    /// The target's own state could not be written.
    NotRecorded,
    /// A backend was not flushed in time.
    FlushLate,
    /// The target's own state was not written in time.
    RecordLate,
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Report {
    /// A HELLO or an ATTACH was refused.
    Refused { node: Name, refusal: Refusal },
    /// ATTACHED was sent.
    Attached { conn: ConnId, attachment: AttachmentId, epoch: Epoch },
    /// RESUME was sent.
    Resumed { conn: ConnId, attachment: AttachmentId, replayed: u64, bytes: u64 },
    /// A session was lost.
    Lost { attachment: AttachmentId },
    /// A peer was silent for too long.
    Silent { conn: ConnId },
    /// A peer broke the protocol.
    Violation { conn: ConnId, violation: Violation },
    /// An attachment left the roster.
    Detached { entry: Entry },
    /// An operator ended an attachment.
    Evicted { entry: Entry },
    /// A lost session's place was given up: its hold span is over.
    Over { entry: Entry },
    /// A sharer was not back in time: the others share without what it has unanswered [RESUME-2].
    Missed { entry: Entry },
    /// PAUSE was sent to all.
    Pausing { restart: RestartId, rows: alloc::vec::Vec<Row> },
    /// Somebody is waited for once more: an attachment that came back, or a hold that became a restart.
    PausingAgain { restart: RestartId, rows: alloc::vec::Vec<Row> },
    /// An attachment said what it waits for.
    Progress { attachment: AttachmentId, state: RowState },
    /// An attachment is quiet.
    Complete { attachment: AttachmentId, proof: Proof },
    /// The pause timer ended: an operator is asked.
    Asking { restart: RestartId, rows: alloc::vec::Vec<Row> },
    /// An operator decided.
    Decided { restart: RestartId, decision: Decision },
    /// The backends are being flushed.
    Settling { restart: RestartId },
    /// All are paused and stay so.
    Quiet { restart: RestartId },
    /// The point of no return.
    Leaving { restart: RestartId, rows: alloc::vec::Vec<Row> },
    /// The target would go, and waits for what these initiators asked it, and so many clients without an agent.
    Lingering { restart: RestartId, sessions: alloc::vec::Vec<Name>, agentless: u32 },
    /// A resource's medium lost what it was given; so many times in a row. Everybody on it replays.
    WriteBackFailed { resource: ResourceIndex, failures: u32 },
    /// A resource begins a new life because the target on which it lies did. Everybody on it replays.
    UpstreamBeganAnew { resource: ResourceIndex },
    /// A resource begins a new life because the connection to where its medium lies was lost, and with it perhaps what was not
    /// flushed. Everybody on it replays.
    MediumForgot { resource: ResourceIndex },
    /// The target on which a resource lies takes no request: who uses it is told to hold, and why.
    Holding { resource: ResourceIndex, reason: Prose, path: Path },
    /// The target on which a resource lies has fenced this one: nobody is let in any more.
    FencedAbove { resource: ResourceIndex, reason: Prose, path: Path },
    /// It takes them again, and whoever held goes on.
    HoldOver { resource: ResourceIndex, lasted: Duration },
    /// DISCONNECT was sent; the attachment may be off the roster by then.
    Disconnected { node: Name, attachment: AttachmentId, code: DisconnectCode },
    /// The restart was given up; everybody shares again.
    Aborted { restart: RestartId, why: Why, rows: alloc::vec::Vec<Row> },
    /// What an interruption cost an attachment.
    Stall { attachment: AttachmentId, stall: Stall },
}
