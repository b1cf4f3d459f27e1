//! What a machine tells people: transitions as they happen, and a view of how things stand.

use super::{Again, Held, Marks, Outage, Policy, Why};
use crate::{MonoTime, Violation};
use core::time::Duration;
use lull_wire::messages::{Prose, Refused};
use lull_wire::{Epoch, Incarnation, RestartId, StatusCode};

/// What an interruption cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interruption {
    /// Why.
    pub why: Why,
    /// What happened when.
    pub marks: Marks,
    /// When RESUME came.
    pub resumed: MonoTime,
    /// The longest that one consumer's request had waited at RESUME, or before it until the replay brought its answer.
    pub longest: Duration,
    /// Requests that were held at RESUME.
    pub held: u32,
    /// What was sent again.
    pub again: Again,
}

/// A transition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Report {
    /// CONNECT came: the target is there.
    Connected { restart: RestartId },
    /// ATTACHED came.
    Attached { epoch: Epoch, incarnation: Incarnation, changed: bool },
    /// What may be missing in this incarnation is sent again before READY; so much of it was acknowledged before.
    Replaying { changes: u64, bytes: u64 },
    /// A retained change was not executed again: so much stays retained, and everybody waits [SAFE-2].
    Faulted { status: StatusCode, changes: u64, bytes: u64 },
    /// The attachment ended with changes that were acknowledged and that nobody will replay.
    LogLost { changes: u64, bytes: u64 },
    /// The attachment ended with changes that were acknowledged, which the next life replays where it finds the log.
    LogLeft { changes: u64, bytes: u64 },
    /// [SAFE-10] The life before left no log although it may have kept changes. `changed`: and the incarnation in which
    /// they were executed is over, so that they are lost; otherwise they are flushed before anything else.
    LogMissing { changed: bool },
    /// The other sharers were let go on without this one: so many changes of consumers were answered with an error,
    /// and whether they were executed is unknown [RESUME-2].
    Missed { changes: u64, bytes: u64 },
    /// RESUME came: requests flow.
    Sharing(Interruption),
    /// PAUSE came.
    Pausing { restart: RestartId, in_flight: u32, span: Duration, reason: Prose },
    /// The last pending request was answered.
    Drained { restart: RestartId, after: Duration },
    /// PAUSE COMPLETE was sent.
    Paused { restart: RestartId, after: Duration, retained: u64 },
    /// RESUME came without a restart: the pause was aborted.
    PauseAborted { restart: RestartId, longest: Duration },
    /// The session is gone. `leaving`: before it was known whether the target keeps a place for this attachment, which has
    /// nothing else left to do: it is asked once more, for some seconds [CONN-5].
    Away { why: Why, deadline: Option<MonoTime>, in_flight: u32, leaving: bool },
    /// A dial or an ATTACH was refused; `last`: that ends the attachment.
    Refused { refused: Refused, last: bool },
    /// The target's resource cannot take the place of the one that the consumers know [CONN-7].
    Unusable,
    /// The peer broke the protocol.
    Violation(Violation),
    /// A timer ended and the policy runs.
    Expired { timer: Timer, policy: Policy },
    /// The target is back before the shutdown's point of no return.
    ShutdownCancelled,
    /// The host is shut down.
    ShuttingDown,
    /// HOLD came, or says something else than the one before: requests wait for a target further up.
    Holding { span: Duration, held: Held },
    /// RESUME ended a HOLD; the longest that a consumer's request has waited.
    HoldOver { lasted: Duration, longest: Duration },
    /// A HOLD was not renewed: the connection is given up.
    HoldSilent,
    /// The incarnation is a new one, and what was unanswered is given back to those who retain.
    GivenBack,
    /// What was given back while it was outstanding is answered: nothing of it is executed any more.
    LateAnswered,
    /// The attachment ended.
    Ended(End),
}

/// Which of the initiator's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// From DISCONNECT or loss to CONNECT.
    Restart,
    /// From CONNECT to RESUME.
    Resume,
}

/// How an attachment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// DETACHED came.
    Detached,
    /// It left although the target was away; the target keeps its place reserved.
    Left,
    /// The first attach was refused finally.
    Refused,
    /// Another instance took it over, or an operator evicted it: it never comes back by itself [SAFE-5].
    Fenced,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not begun.
    Idle,
    /// Waiting for the next dial.
    Away,
    /// Dialling, up to CONNECT.
    Dialling,
    /// ATTACH sent.
    Attaching,
    /// Sending again what was unanswered.
    Replaying,
    /// READY sent.
    Ready,
    /// Requests flow.
    Sharing,
    /// Finishing what is pending.
    Draining,
    /// Flushing.
    Flushing,
    /// PAUSE COMPLETE sent.
    Paused,
    /// Finishing, then DETACH.
    Detaching,
    /// Over.
    Ended(End),
}

/// How an attachment stands.
#[derive(Clone, Debug)]
pub struct View {
    /// How far it is.
    pub phase: Phase,
    /// Since when it shares no more, why and until when.
    pub outage: Option<Outage>,
    /// The pause that runs, and until when its silence is tolerated.
    pub pause: Option<(RestartId, MonoTime)>,
    /// What HOLD said, while it lasts.
    pub held_by: Option<Held>,
    /// The resume timer's end.
    pub resume_by: Option<MonoTime>,
    /// Requests outstanding.
    pub in_flight: u32,
    /// The age of the oldest.
    pub oldest: Duration,
    /// Requests held.
    pub held: u32,
    /// Changes that were answered and that no flush covers: how many, and their bytes.
    pub retained: (u64, u64),
    /// What they count against the bound.
    pub counted: u64,
    /// The last epoch.
    pub epoch: Epoch,
    /// The last incarnation.
    pub incarnation: Incarnation,
}
