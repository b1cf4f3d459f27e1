//! From the first byte to transmission, both halves: bytes in, bytes and events out.

pub mod client;
pub mod contexts;
mod options;
pub mod server;

/// How a handshake went wrong for good. Whoever sees it closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side does not speak NBD.
    #[error("the peer does not speak NBD: it sent {0:#018x} where {1} belongs")]
    Magic(u64, &'static str),
    /// The server speaks NBD's oldest dialect.
    #[error("the server speaks only the old style of NBD, without options: use a newer server")]
    OldStyle,
    /// Flags that are not known to us; the protocol wants the connection closed.
    #[error("the client set unknown handshake flags {0:#x}")]
    Flags(u32),
    /// An option or its reply that is longer than anything sensible.
    #[error("the peer announced {length} bytes where at most {most} make sense")]
    TooLong {
        /// What it announced.
        length: u32,
        /// What is allowed.
        most: u32,
    },
    /// More options than a handshake can need.
    #[error("the client sent more than {0} options without getting to an export")]
    TooMany(u32),
    /// A reply that cannot be read or belongs to nothing.
    #[error("the server's answer to option {option} makes no sense: {what}")]
    Nonsense {
        /// The option.
        option: u32,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// An old client asked for an export by the option that cannot be refused politely.
    #[error("the client asked for an export that it cannot have: {0}")]
    NoExport(String),
    /// The server refused our option.
    #[error("the server refused the export: {text}")]
    Refused {
        /// The kind of refusal, a number of the protocol.
        kind: u32,
        /// What the server said about it, or what the number means.
        text: String,
    },
}
