//! What everything that can lie under a shared resource has in common.

use std::io;
use std::time::Duration;

use crate::{Completion, Request};

/// The longest payload of one read or write, in bytes. A longer one is answered with
/// [`IoStatus::Invalid`](crate::IoStatus::Invalid) and no pool has a buffer for it.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// What a resource is; fixed while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in all; a multiple of `block`.
    pub size: u64,
    /// The smallest unit of every offset and length, in bytes: a power of two, at least 512.
    pub block: u32,
    /// The unit that is handled best, in bytes: a power of two, at least `block`.
    pub preferred: u32,
    /// The longest read or write, in bytes, and the longest range to be read ahead. Discards,
    /// zeroes and lists of extents may cover as much as a `u32` holds.
    pub max_length: u32,
    /// Whether [`Op::Discard`](crate::Op::Discard) is carried out.
    pub discard: bool,
    /// Whether [`Op::WriteZeroes`](crate::Op::WriteZeroes) is carried out.
    pub write_zeroes: bool,
    /// Whether every change is refused.
    pub read_only: bool,
}

/// What a medium waits for while its requests are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whom: the address of a server.
    pub for_whom: String,
    /// What it is to do, as in "waits for SERVER to …", and why it has not done it yet.
    pub what: String,
    /// For how long already.
    pub elapsed: Duration,
}

/// A medium that takes requests.
///
/// Requests outstanding at the same time are carried out in any order; whoever needs one of two
/// overlapping requests to be the later one starts it after the other's answer ([SAFE-3]).
pub trait Backend: Send + Sync {
    /// What the resource is.
    fn geometry(&self) -> Geometry;

    /// How requests are carried out, for a status display: `pread+threads`, `memory`, `null`, …
    fn engine(&self) -> &'static str;

    /// What lies here, for people: `file:/path`.
    fn describe(&self) -> String;

    /// Starts one request. `Some`: it was done at once, on the caller's thread, without waiting
    /// for a medium. `None`: its answer will arrive at the [`Completions`](crate::Completions)
    /// that the token came from. Never blocks for long.
    fn start(&self, request: Request) -> Option<Completion>;

    /// What it waits for, if its requests are held at this moment because of something that is not
    /// here. A medium of this machine waits for nobody.
    fn waiting(&self) -> Option<Waiting> {
        None
    }

    /// Begins to move unflushed data towards the medium, so that a flush soon after is short.
    /// Waits for nothing, promises nothing and consumes no error ([SAFE-4]).
    fn start_write_back(&self);

    /// Begins anew after a request was answered with
    /// [`IoStatus::WriteBackFailed`](crate::IoStatus::WriteBackFailed) or
    /// [`IoStatus::Forgotten`](crate::IoStatus::Forgotten): from here on a flush is worth something again, for what is
    /// written from here on. The caller sees to it that nothing is outstanding, and that whatever may be lost is written
    /// again ([SAFE-4]).
    fn renew(&self) {}

    /// With `on`, requests that cannot be passed on because somebody is [waited for](Backend::waiting) are answered with
    /// [`IoStatus::NotExecuted`](crate::IoStatus::NotExecuted) instead of being held, those that are held already and
    /// those to come, a flush too; without, they are held again ([CHAIN-1]). A medium of this machine holds none.
    fn give_back(&self, _on: bool) {}

    /// The marker that was stored with the medium ([SAFE-8]); `None` where there is none or where
    /// the medium cannot carry one.
    fn identity(&self) -> Option<[u8; 16]>;

    /// What the kernel calls a medium that cannot carry a marker, as far as it has a name: a block device ([SAFE-8]).
    /// `None` for any other.
    fn device(&self) -> Option<String> {
        None
    }

    /// Stores the marker with the medium, durably.
    ///
    /// # Errors
    /// `Unsupported` where the medium cannot carry one; otherwise what the kernel said.
    fn set_identity(&self, identity: [u8; 16]) -> io::Result<()>;
}
