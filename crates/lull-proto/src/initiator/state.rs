//! Where an attachment is, with what belongs to each place.

use super::{Again, End, Held, Marks, Outage, Replay};
use crate::beat::Beat;
use crate::{ConnId, MonoTime};
use core::time::Duration;
use lull_wire::messages::Prose;
use lull_wire::{Incarnation, RestartId};

/// The connection of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub(super) conn: ConnId,
    pub(super) beat: Beat,
    /// What WELCOME said.
    pub(super) version: u16,
    /// What ATTACHED said; every reply repeats it [SAFE-4].
    pub(super) incarnation: Incarnation,
    /// What HOLD said, until something ends it.
    pub(super) held: Option<Held>,
}

/// A dial under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dial {
    pub(super) conn: ConnId,
    pub(super) limit: MonoTime,
    pub(super) step: Step,
    /// When it would have been begun, had no knock come.
    pub(super) instead_of: Option<MonoTime>,
}

/// How far a dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Connecting,
    Greeted,
    Welcomed { keep_alive: Duration, version: u16 },
}

/// The resume timer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    pub(super) by: MonoTime,
    pub(super) probe: Probe,
}

/// The keep-alive round after the resume timer's end [TIMER-6].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Probe {
    /// The timer runs.
    NotYet,
    /// This PING is sent.
    Sent(u64),
    /// Its PONG came and no RESUME before it: the policy may run.
    Answered,
}

/// A pause that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pause {
    pub(super) restart: RestartId,
    pub(super) downtime: Duration,
    pub(super) reason: Prose,
    /// Silence beyond this is a loss [PAUSE-10].
    pub(super) until: MonoTime,
    pub(super) in_flight: u32,
    pub(super) progress_at: MonoTime,
    pub(super) marks: Marks,
    /// The outage that had not ended when PAUSE came [PAUSE-8]: its restart timer goes on.
    pub(super) before: Option<Outage>,
}

/// How far leaving is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leaving {
    /// What was accepted is finished.
    Finishing,
    /// What is unflushed is flushed.
    Flushing,
    /// DETACH is sent.
    Asked,
}

/// Where an attachment is.
///
/// Every way out of every state; *gone* is a loss, four silent rounds, DISCONNECT, or what the target must not say:
///
/// | state | what ends it | next |
/// | --- | --- | --- |
/// | `Idle` | the daemon begins | `Dialling` |
/// | `Away` | its wait is over, KNOCK, the restart timer's end | `Dialling` |
/// | `Dialling` | CONNECT | `Attaching` |
/// | | the dial fails or takes too long, gone, REFUSED | `Away` |
/// | `Attaching` | ATTACHED | `Replaying`; `Ready` in the incarnation in which all was executed |
/// | | gone, REFUSED, a resource that its consumers could not use | `Away` |
/// | `Replaying` | all is answered | `Ready`; `Draining` where PAUSE came meanwhile |
/// | | gone; a retained change is answered with an error: everybody waits, and all of it is tried again | `Away` |
/// | `Ready` | RESUME | `Sharing` |
/// | | PAUSE | `Draining` |
/// | | gone | `Away` |
/// | `Sharing` | PAUSE | `Draining` |
/// | | the attachment is to end | `Leaving` |
/// | | gone | `Dialling` |
/// | `Draining` | all is answered | `Flushing` |
/// | `Flushing` | its flush is answered, or none is needed | `Paused` |
/// | `Paused` | the attachment is to end, and nothing is left to lose | `Leaving` |
/// | these three | RESUME: the restart was aborted | `Sharing` |
/// | | gone, or the pause's span is over | `Dialling`; `Away` where PAUSE came before RESUME |
/// | `Leaving` | PAUSE before DETACH is sent | `Draining` |
/// | | gone: DETACH may have been heard or not, it is asked once more | `Dialling` |
/// | | DETACHED | `Ended` |
///
/// `Ended` also follows
/// * where an operator ends the attachment and it has not begun, or is without a session and has nothing to lose, or not
///   any more once its policy has answered the rest; or ends it at once, from `Ready` on only while no request is left;
/// * where DISCONNECT says that it was taken over or evicted;
/// * from `Dialling` and `Attaching` where REFUSED is final for it: at first, when it leaves (what it retains stays for its
///   next life), and when it is fenced;
/// * where it leaves, asks once more, and is gone again, refused finally, or not let in for some seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
#[expect(clippy::large_enum_variant, reason = "there is one of them for each attachment")]
pub enum State {
    /// Not begun.
    Idle,
    /// No session, no dial.
    Away { outage: Outage, next: MonoTime },
    /// A dial is under way.
    Dialling { outage: Outage, dial: Dial },
    /// CONNECT came, ATTACH is sent.
    Attaching { outage: Outage, link: Link, resume: Resume },
    /// ATTACHED came; retained and unanswered changes are sent again.
    Replaying { outage: Outage, link: Link, resume: Resume, replay: Replay, pause: Option<Pause> },
    /// READY is sent.
    Ready { outage: Outage, link: Link, resume: Resume, again: Again },
    /// Requests flow.
    Sharing { link: Link },
    /// PAUSE came; what is pending is finished.
    Draining { link: Link, pause: Pause },
    /// What is unflushed is flushed.
    Flushing { link: Link, pause: Pause },
    /// PAUSE COMPLETE is sent.
    Paused { link: Link, pause: Pause },
    /// The attachment ends.
    Leaving { link: Link, step: Leaving },
    /// It has ended.
    Ended(End),
}

/// Whether the attachment is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Intent {
    Stay,
    Leave,
    /// The connection was lost when the target may have let it in, or may have let it go: it goes there once more,
    /// and has nothing to lose.
    LeaveOnceMore,
}
