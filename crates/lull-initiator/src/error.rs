//! Why the daemon did not start, or ended otherwise than it was told.

use lull_admin::ListenError;

use crate::config::ConfigError;
use crate::state_file::StateError;

/// What a command prints before it exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An attachment's state.
    #[error(transparent)]
    State(#[from] StateError),
    /// What an earlier life left is there, and cannot be had: to start without it would be to lose it.
    #[error(
        "{attachment}: the log of unflushed writes that the process before this one left {why}; start again, or, if \
         those writes may be lost, end its keeper and remove {attachment}.unflushed first"
    )]
    Log {
        /// The attachment's name.
        attachment: String,
        /// What is wrong with it.
        why: String,
    },
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] ListenError),
    /// The address for knocks.
    #[error("callback: {0}")]
    Callback(#[from] lull_transport::BindError),
    /// The system refused something without which no daemon can be.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The process that this one is to succeed.
    #[error(transparent)]
    Predecessor(#[from] lull_transport::handover::SuccessorError),
    /// The target refused an attachment that was never attached, or ended one for good.
    #[error("{attachment}: {text}")]
    Ended {
        /// The attachment's name.
        attachment: String,
        /// What was said, with the next step.
        text: String,
    },
    /// It was stopped while consumers still waited for answers.
    #[error(
        "{attachment}: stopped while {unanswered} requests were unanswered; their consumers were cut off"
    )]
    CutOff {
        /// The attachment's name.
        attachment: String,
        /// How many.
        unanswered: usize,
    },
}
