//! The error numbers of the protocol.

use std::fmt;

/// How a request failed, as NBD says it. The numbers are those of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errno {
    /// Not permitted: a change of a read-only export.
    Perm,
    /// Input/output error.
    Io,
    /// No memory now.
    NoMem,
    /// The request makes no sense: unaligned, out of range, unknown.
    Inval,
    /// No room, or a write beyond the end.
    NoSpace,
    /// A result that does not fit.
    Overflow,
    /// Not supported for this export.
    NotSupported,
    /// The server is going down. Ours never says so by itself.
    Shutdown,
    /// Another number, from a server that is not ours.
    Other(u32),
}

impl Errno {
    /// The number on the wire, never 0.
    pub fn code(self) -> u32 {
        match self {
            Errno::Perm => 1,
            Errno::Io => 5,
            Errno::NoMem => 12,
            Errno::Inval => 22,
            Errno::NoSpace => 28,
            Errno::Overflow => 75,
            Errno::NotSupported => 95,
            Errno::Shutdown => 108,
            Errno::Other(0) => 22,
            Errno::Other(code) => code,
        }
    }

    /// What a number on the wire means; `None` for 0, which is success.
    pub fn from_code(code: u32) -> Option<Errno> {
        Some(match code {
            0 => return None,
            1 => Errno::Perm,
            5 => Errno::Io,
            12 => Errno::NoMem,
            22 => Errno::Inval,
            28 => Errno::NoSpace,
            75 => Errno::Overflow,
            95 => Errno::NotSupported,
            108 => Errno::Shutdown,
            other => Errno::Other(other),
        })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Errno::Perm => "operation not permitted (EPERM)",
            Errno::Io => "input/output error (EIO)",
            Errno::NoMem => "no memory (ENOMEM)",
            Errno::Inval => "invalid request (EINVAL)",
            Errno::NoSpace => "no space (ENOSPC)",
            Errno::Overflow => "value too large (EOVERFLOW)",
            Errno::NotSupported => "not supported (ENOTSUP)",
            Errno::Shutdown => "the server is shutting down (ESHUTDOWN)",
            Errno::Other(code) => return write!(f, "error {code}"),
        })
    }
}

impl std::error::Error for Errno {}
