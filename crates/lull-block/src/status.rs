//! What a consumer is told when a request did not succeed.

use std::io;

use rustix::io::Errno;

/// Why a request failed, in the few kinds that every consumer protocol can express.
///
/// The details of a failure belong in a log, not here: a consumer can only act on the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IoStatus {
    /// The medium failed this request, and this request only.
    #[error("input/output error")]
    Io,
    /// A flush or a durable write failed while it made earlier data durable ([SAFE-4]): any change
    /// acknowledged since the last successful flush may be lost, and the kernel has forgotten it.
    #[error("write-back failed: unflushed data may be lost")]
    WriteBackFailed,
    /// Any change acknowledged since the last successful flush may be lost, at no fault of the medium: the connection to
    /// where it lies was, and nobody can say ([SAFE-4]).
    #[error("unflushed data may be lost with the connection")]
    Forgotten,
    /// The medium, its file system or a quota is full.
    #[error("no space left")]
    NoSpace,
    /// A change to something that may only be read.
    #[error("read-only")]
    ReadOnly,
    /// The range ends beyond the resource.
    #[error("out of range")]
    OutOfRange,
    /// Misaligned, empty or too long, or the buffer does not have the length that the request
    /// needs.
    #[error("invalid request")]
    Invalid,
    /// The medium cannot do this operation at all.
    #[error("operation not supported")]
    NotSupported,
    /// The kernel lacked memory for this request; a later attempt may succeed.
    #[error("out of memory")]
    NoMemory,
    /// Nobody can say whether it was carried out, because what it was sent to is away; whoever asked keeps it, in its
    /// order, and asks again ([CHAIN-1]).
    #[error("not executed, as far as anybody knows")]
    NotExecuted,
    /// The resource stopped serving after failures; an operator has to act.
    #[error("resource is faulted")]
    Faulted,
}

impl From<Errno> for IoStatus {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Self::NoSpace,
            Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF => Self::ReadOnly,
            Errno::INVAL => Self::Invalid,
            Errno::OPNOTSUPP | Errno::NOSYS => Self::NotSupported,
            Errno::NOMEM => Self::NoMemory,
            _ => Self::Io,
        }
    }
}

impl From<io::Error> for IoStatus {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or(Self::Io, |code| Errno::from_raw_os_error(code).into())
    }
}
