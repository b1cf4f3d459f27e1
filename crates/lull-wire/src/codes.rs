//! Every enumeration and every set of bits that a message carries. A number is never given twice.

use crate::code::{codes, flags};

codes! {
    /// What an initiator may do with a resource [SAFE-9].
    Access: u8 {
        /// Reads and writes; one at a time.
        ReadWrite = 1 "rw",
        /// Reads only; any number, beside a writer too.
        ReadOnly = 2 "ro",
        /// Reads and writes beside others who do.
        Shared = 3 "rw-shared",
    }

    /// What a request asks for.
    OpCode: u8 {
        /// Data back: `length` bytes from `offset`.
        Read = 1 "read",
        /// The payload is written at `offset`.
        Write = 2 "write",
        /// What was answered before this was sent is on stable storage when this is answered.
        Flush = 3 "flush",
        /// The range's content is no longer wanted; it reads as anything.
        Discard = 4 "discard",
        /// The range reads as zeroes.
        WriteZeroes = 5 "write-zeroes",
        /// Which parts of the range hold data: a list of [extents](crate::extents) back.
        Extents = 6 "extents" since 2,
        /// The range is read soon; nothing depends on it.
        ReadAhead = 7 "read-ahead" since 2,
    }

    /// How a request ended.
    StatusCode: u8 {
        /// Done.
        Done = 0 "done",
        /// The medium failed.
        Io = 1 "input/output error",
        /// No space left on the medium.
        NoSpace = 2 "no space left",
        /// The attachment or the medium may not be written.
        ReadOnly = 3 "read-only",
        /// The range is not inside the resource.
        OutOfRange = 4 "out of range",
        /// The request makes no sense: alignment, length.
        Invalid = 5 "invalid request",
        /// The resource cannot do this.
        NotSupported = 6 "not supported",
        /// Unanswered: keep it in order and send it again; nothing is promised about the medium [CHAIN-1].
        NotExecuted = 7 "not executed",
    }

    /// Why a HELLO or an ATTACH was refused.
    RefusalCode: u16 {
        /// No version in common.
        Version = 1 "no common version",
        /// The peer is not who it says or may not be here.
        NotAllowed = 2 "not allowed",
        /// No resource of that name.
        UnknownResource = 3 "unknown resource",
        /// The resource is not the one that this attachment knew [SAFE-8].
        Identity = 4 "another resource under this name",
        /// Somebody holds the resource in a way that excludes this access [SAFE-9].
        Conflict = 5 "in use",
        /// The epoch is not higher than the last one; the current one is named [SAFE-5].
        StaleEpoch = 6 "stale epoch",
        /// Another instance of this initiator owns the attachment [SAFE-5].
        OtherInstance = 7 "owned by another instance",
        /// Another writer was let in since: this log is never replayed [SAFE-7].
        StaleTenure = 8 "another writer was let in since",
        /// A pause is under way and this attachment is new [PAUSE-8].
        Pausing = 9 "a pause is under way",
        /// The path would come back to where it began [CHAIN-3].
        Cycle = 10 "the path is a cycle",
        /// The target does not offer this access.
        AccessNotOffered = 11 "access not offered",
        /// A limit of the target is reached.
        Limit = 12 "a limit is reached",
        /// The resource cannot be used now: its medium failed.
        Unavailable = 13 "resource not available",
    }

    /// Whether it is worth trying again.
    Retry: u8 {
        /// No: something must be changed first.
        Final = 0 "final",
        /// Yes, after the span that is named with it.
        Later = 1 "try again",
    }

    /// Why a target ends a session [CONN-4].
    DisconnectCode: u8 {
        /// It restarts and comes back.
        Restart = 1 "restart",
        /// A write-back failed: the same target at once, another incarnation [SAFE-4].
        WriteBackFailed = 2 "write-back failed",
        /// Another instance took the attachment over.
        TakenOver = 3 "taken over",
        /// It does not come back.
        Shutdown = 4 "shut down for good",
        /// An operator ended the attachment.
        Evicted = 5 "evicted by an operator",
    }
}

flags! {
    /// How a request is to be done.
    RequestFlags: u8 {
        /// Answered only when on stable storage.
        FUA = 0,
        /// Zeroes must stay allocated: no hole may be made.
        KEEP_ALLOCATED = 1,
        /// Zeroes that would have to be written out are refused as not supported, without effect.
        FAST = 2 since 2,
    }

    /// What a resource can do.
    Features: u32 {
        /// [`OpCode::Discard`].
        DISCARD = 0,
        /// [`OpCode::WriteZeroes`].
        WRITE_ZEROES = 1,
        /// Changes are refused.
        READ_ONLY = 2,
        /// [`OpCode::Extents`].
        EXTENTS = 3 since 2,
    }

    /// What is known of an extent; no bit: it holds data.
    ExtentState: u32 {
        /// Nothing is allocated for it.
        HOLE = 0 since 2,
        /// It reads as zeroes.
        ZERO = 1 since 2,
    }
}

impl Access {
    /// Whether it may change the resource.
    pub fn writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Shared)
    }

    /// Whether two who have these may have the resource at the same time [SAFE-9].
    pub fn goes_beside(self, other: Self) -> bool {
        !(self.writes() && other.writes()) || (self == Self::Shared && other == Self::Shared)
    }
}
