//! What can be asked of a daemon: the closed list that its loop answers.

use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::event::{EventFeed, EventPosition};
use crate::record::RestartRecord;
use crate::restart::{Decision, GivenUp, PauseOrder, RestartOrder, RestartStarted};
use crate::status::Status;

/// Where a call's answer goes. Dropping it unanswered tells the caller that the daemon goes away.
pub type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// How many calls wait for the daemon's loop; further ones wait in their handlers.
pub const CALLS_QUEUED: usize = 64;

/// A call from an operator. The loop answers each at once; what takes time is reported by events.
#[derive(Debug)]
pub enum Call {
    /// `GET /v1/status`.
    Status {
        /// The document.
        reply: Reply<Status>,
    },
    /// `POST /v1/restart`.
    Restart {
        /// What to do.
        order: RestartOrder,
        /// Its number, as soon as it is accepted.
        reply: Reply<RestartStarted>,
    },
    /// `POST /v1/restart/{id}/decision`.
    Decide {
        /// Number of the restart.
        id: u64,
        /// The answer to its question.
        decision: Decision,
        /// Accepted, or no such question.
        reply: Reply<()>,
    },
    /// `POST /v1/pause`.
    Pause {
        /// How.
        order: PauseOrder,
        /// Its number, as soon as it is accepted.
        reply: Reply<RestartStarted>,
    },
    /// `POST /v1/resume`: end a pause of [`Call::Pause`].
    Resume {
        /// Accepted, or nothing is paused.
        reply: Reply<GivenUp>,
    },
    /// `POST /v1/abort`: give up the restart or pause that is under way.
    Abort {
        /// Accepted, or there is none, or it is past the point of no return.
        reply: Reply<GivenUp>,
    },
    /// `POST /v1/attachments/{name}/detach`, at an initiator. Answered when it is off the roster; `not_ready`: it has
    /// ended, and its place at the target stays reserved.
    Detach {
        /// Name of the attachment.
        name: String,
        /// Done, or why not.
        reply: Reply<()>,
    },
    /// `POST /v1/evict`, at a target: end a lost attachment's reservation, or with `force` a connected one's.
    Evict {
        /// Name of the initiator.
        name: String,
        /// Only on this resource; none: on all.
        resource: Option<String>,
        /// Also where it is connected.
        force: bool,
        /// What was ended and declared lost, one sentence for each.
        reply: Reply<Vec<String>>,
    },
    /// `GET /v1/history`: all records, the newest last, without transitions and messages.
    Histories {
        /// The records.
        reply: Reply<Vec<RestartRecord>>,
    },
    /// `GET /v1/history/{id}`.
    History {
        /// Number of the restart.
        id: u64,
        /// The whole record, also of the one that is under way.
        reply: Reply<RestartRecord>,
    },
    /// `GET /v1/events`.
    Events {
        /// The last event that the subscriber has seen.
        after: Option<EventPosition>,
        /// What came after it, and the stream.
        reply: Reply<EventFeed>,
    },
}
