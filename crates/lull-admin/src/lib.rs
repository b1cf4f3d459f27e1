//! The operator's interface of a daemon.
//!
//! The types of the documents, the server that turns HTTP into [`Call`]s for the daemon's loop,
//! and the client that the command uses. Times of day are Unix milliseconds in `u64`; spans are
//! milliseconds in fields that end in `_ms`; random numbers of 128 bits are hexadecimal strings.
//!
//! A daemon makes an [`EventLog`], binds an [`AdminListener`] (or is passed one), hands it with a
//! channel to [`serve`], and answers each [`Call`] in its own loop.

mod address;
mod alert;
mod amount;
mod attachment;
mod call;
mod client;
mod documents;
mod error;
mod event;
mod footing;
mod host;
mod listen;
mod metrics;
mod moment;
mod record;
mod restart;
mod server;
mod status;
mod stream;
mod uri;
mod wait;
mod words;

pub use address::{AdminAddr, BadAdminAddr, Role};
pub use alert::{Alert, AlertKind, AlertLog};
pub use amount::show_bytes;
pub use attachment::{
    AttachmentPhase, AttachmentStatus, HookOutcome, HookStatus, InitiatorStatus, Outage,
    RetainingStatus, ShutdownPhase, ShutdownStatus, TimeoutPolicy,
};
pub use call::{CALLS_QUEUED, Call, Reply};
pub use client::{Client, ClientError, MAX_ANSWER_BYTES};
pub use error::{ApiError, ErrorCode};
pub use event::{Event, EventFeed, EventLog, EventPosition, RECENT_EVENTS, SUBSCRIBER_LAG};
pub use footing::Footing;
pub use host::{Delay, HostWatch, Reason};
pub use listen::{AdminListener, ListenError};
pub use moment::Moment;
pub use record::{Message, Outcome, OutcomeKind, PhaseSpan, RecordRow, RestartRecord};
pub use restart::{
    Decision, GivenUp, NotReady, OnPauseTimeout, PauseOrder, Question, RestartKind, RestartOrder,
    RestartPhase, RestartRow, RestartStarted, RestartStatus, RowPhase,
};
pub use server::{AdminServer, MAX_REQUEST_BYTES, serve};
pub use status::{
    Access, AgentlessStatus, Fault, Missed, ResourceStatus, SessionPhase, SessionStatus, Status,
    TargetPhase, TargetStatus,
};
pub use stream::{EventItem, EventStream, read_events};
pub use uri::{BadUri, DEFAULT_PORT, MAX_NAME_BYTES, Place, ResourceUri, is_resource_name};
pub use wait::Wait;
