//! What a daemon answers when it does not do what it was told.

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// The kind of a refusal; it decides the HTTP status and the command's exit status.
    ErrorCode {
        /// The request makes no sense as written.
        #[default]
        BadRequest = "bad_request",
        /// There is no such restart, attachment or initiator.
        NotFound = "not_found",
        /// Something else is under way, or the state does not allow it.
        Conflict = "conflict",
        /// Somebody named in the message was not ready.
        NotReady = "not_ready",
        /// This daemon has no such role (a restart asked of an initiator).
        WrongRole = "wrong_role",
        /// It was tried and did not work.
        Failed = "failed",
        /// The daemon is on its way out and answers no more calls.
        GoingAway = "going_away",
    }
}

impl ErrorCode {
    /// The HTTP status that carries this code.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest | Self::WrongRole => 400,
            Self::NotFound => 404,
            Self::Conflict | Self::NotReady => 409,
            Self::Failed | Self::Unknown => 500,
            Self::GoingAway => 503,
        }
    }
}

/// A refusal or failure that an operator reads: what, and what to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}\n  next: {next_step}")]
#[serde(default)]
pub struct ApiError {
    /// The kind.
    pub code: ErrorCode,
    /// What is wrong, naming the thing.
    pub message: String,
    /// What the operator can do about it. A command between backquotes is for the daemon that says this; one for
    /// another daemon has none.
    pub next_step: String,
}

impl ApiError {
    /// An error with its next step; both are sentences without a full stop.
    pub fn new(code: ErrorCode, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { code, message: message.into(), next_step: next_step.into() }
    }
}
