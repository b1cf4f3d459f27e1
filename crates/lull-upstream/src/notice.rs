//! What an operator should hear of.

use std::fmt;
use std::time::Duration;

/// Something that happened between a medium and its server; as text it is a sentence for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The connection is lost; requests are held and the server is dialled again, without end.
    Lost {
        /// The medium's URI.
        uri: String,
        /// How it was lost.
        why: String,
    },
    /// It cannot be used for another reason than before, while requests are held.
    Away {
        /// The medium's URI.
        uri: String,
        /// Why not.
        why: String,
    },
    /// It serves again.
    Back {
        /// The medium's URI.
        uri: String,
        /// After how long.
        away: Duration,
        /// How many requests were sent again.
        again: usize,
    },
    /// Changes that were acknowledged may be gone: no flush covered them when the connection was lost ([SAFE-4]).
    Unflushed {
        /// The medium's URI.
        uri: String,
    },
    /// It has no flush.
    NeverFlushes {
        /// The medium's URI.
        uri: String,
        /// Whether each single change can be made durable instead.
        durable_writes: bool,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { uri, why } => {
                write!(
                    f,
                    "{uri}: the connection was lost ({why}); requests are held until its server is back"
                )
            }
            Self::Away { uri, why } => write!(f, "{uri}: still away: {why}"),
            Self::Back { uri, away, again } => {
                write!(
                    f,
                    "{uri}: back after {} ms; {again} requests were sent again",
                    away.as_millis()
                )
            }
            Self::Unflushed { uri } => write!(
                f,
                "{uri}: changes were acknowledged and not flushed when the connection was lost, and its server cannot \
                 say whether it still has them: with the next read or flush initiators send them again, and who is no \
                 initiator gets an error; write-through avoids that"
            ),
            Self::NeverFlushes { uri, durable_writes: true } => {
                write!(
                    f,
                    "{uri}: its server has no flush: every change is made durable before it is answered"
                )
            }
            Self::NeverFlushes { uri, durable_writes: false } => write!(
                f,
                "{uri}: its server offers neither flushes nor durable writes: whatever it has answered is taken for durable"
            ),
        }
    }
}
