//! What the server's half asks of whoever owns the data.

use std::future::Future;
use std::rc::Rc;

use super::{Errno, Geometry, Reply};

/// What a consumer wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Fill the buffer from the device.
    Read,
    /// Write the buffer.
    Write {
        /// On stable storage before it is answered.
        fua: bool,
    },
    /// Everything answered before this was submitted is on stable storage before it is answered.
    Flush,
    /// The content of the range is no longer needed.
    Discard,
    /// The range reads as zeroes.
    WriteZeroes {
        /// On stable storage before it is answered.
        fua: bool,
        /// The range must stay allocated.
        keep_allocated: bool,
        /// To be refused with [`Errno::NotSupported`] and without effect where it would take as
        /// long as writing them.
        fast: bool,
    },
    /// Fill the buffer with a list of [`Extent`](super::Extent)s, as many as there is room for, and
    /// answer with the buffer cut to that list. Its first extent begins at the offset; its last
    /// one may reach beyond the range.
    Extents,
    /// The range will be read soon.
    Cache,
}

impl Op {
    /// Whether it alters what the device holds.
    pub fn is_change(self) -> bool {
        match self {
            Op::Read | Op::Flush | Op::Extents | Op::Cache => false,
            Op::Write { .. } | Op::Discard | Op::WriteZeroes { .. } => true,
        }
    }
}

/// One export as one connection uses it.
pub trait Device {
    /// Memory that a request's bytes live in. `as_ref` and `as_mut` are exactly as long as was asked.
    type Buffer: AsRef<[u8]> + AsMut<[u8]> + 'static;

    /// Size and abilities. Read when a connection is opened; later only to see whether the device
    /// has grown, when a client asks for what lies beyond the size that it was told.
    fn geometry(&self) -> Geometry;

    /// Memory for `length` bytes (1 up to the geometry's `max_length`, or a list of up to
    /// [`MAX_EXTENTS`](super::MAX_EXTENTS)); `None` while there is none,
    /// which stops the connection from reading further until [`Device::buffer_freed`].
    fn buffer(&self, length: u32) -> Option<Self::Buffer>;

    /// Ends when [`Device::buffer`] may succeed again. It may end too early.
    fn buffer_freed(&self) -> impl Future<Output = ()>;

    /// Takes a request. Range, alignment and permission are checked already. `buffer` has `length`
    /// bytes for the payload of a write and for what a read fills, which is at most `max_length`;
    /// it has room for a list of extents; for everything else, where the range may be any part of
    /// the device, it is `None`.
    /// [CONN-3] Each request is answered exactly once through `reply`, possibly before this returns.
    fn submit(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Self::Buffer>,
        reply: Reply<Self::Buffer>,
    );
}

/// The names under which devices are found. Given to each connection, so that an implementation
/// knows whom it serves.
pub trait Exports {
    /// What a name opens.
    type Device: Device + 'static;

    /// Every name that this client may see.
    fn list(&self) -> Vec<String>;

    /// Opens the export `name` for transmission. "" is the default export, which exists where there
    /// is exactly one. The device is dropped when its connection ends.
    fn open(&self, name: &str) -> impl Future<Output = Result<Rc<Self::Device>, OpenRefused>>;

    /// Looks at an export without using it. To be overridden where opening means taking.
    fn describe(&self, name: &str) -> impl Future<Output = Result<Geometry, OpenRefused>> {
        async move { self.open(name).await.map(|device| device.geometry()) }
    }
}

/// Why an export cannot be opened. The text goes to the client's user: it names the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefused {
    /// There is no export of that name.
    #[error("{0}")]
    Unknown(String),
    /// This client may not, or not now because of others.
    #[error("{0}")]
    Policy(String),
    /// The server is about to stop or not ready yet.
    #[error("{0}")]
    Shutdown(String),
}

/// What a request came to: for a read the filled buffer; otherwise a buffer given back or nothing.
pub type Outcome<B> = Result<Option<B>, Errno>;
