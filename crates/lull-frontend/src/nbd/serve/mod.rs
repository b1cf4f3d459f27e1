//! The server's half on a stream: handshake, then requests in and replies out until somebody leaves.

mod closer;
mod connection;
mod load;
mod negotiate;
mod part;
mod receive;
mod reply;
mod stalled;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use lull_transport::{Inlet, Stream};

use super::handshake::HandshakeError;
use super::request::Terms;
use super::{Dialect, Exports, MAX_PAYLOAD};
use crate::device::Device;

use connection::{Reader, Shared};

pub use closer::Halfway;
pub use closer::{Closer, Stage};
pub use part::{Agreement, Owed, Parted, Resumed};
pub(crate) use reply::Duty;

/// What one connection may take, in time and memory. [SEC-4]
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the first byte to transmission, or the connection is closed. Default 30 s.
    pub handshake: Duration,
    /// Requests that are neither answered nor refused, and those whose data has not left; beyond it the connection is
    /// not read. Default 512.
    pub in_flight: usize,
    /// Bytes of the buffers of those requests and of replies that are not sent yet, by their footprint; where one more
    /// payload would be beyond it the connection is not read, but one request always fits. Default 64 MiB.
    pub bytes: usize,
    /// The receiving buffer's largest size in bytes; it grows as a client sends. Default 256 KiB,
    /// at least 32 KiB.
    pub inlet: usize,
    /// How long the last replies may take to leave once the connection is closing. Default 10 s.
    pub linger: Duration,
    /// For how long a client may take no byte of its replies, or send none of a payload that it has begun, before its
    /// connection is ended, once somebody else waits for memory of the device; up to twice as long where that begins in
    /// between. Default [`Duration::MAX`]: for ever.
    pub stuck: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshake: Duration::from_secs(30),
            in_flight: 512,
            bytes: 2 * MAX_PAYLOAD as usize,
            inlet: 256 * 1024,
            linger: Duration::from_secs(10),
            stuck: Duration::MAX,
        }
    }
}

/// Why a connection ended other than by leave of the client or of a [`Closer`].
#[derive(Debug, thiserror::Error)]
pub enum ServeEnd {
    /// The handshake failed; the client is at fault.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The handshake took too long.
    #[error("the client did not get to an export within {0:?}")]
    Slow(Duration),
    /// Something that is no request stood where a request belongs.
    #[error("the client sent {0:#010x} where a request belongs")]
    Garbage(u32),
    /// More payload announced than a request may have.
    #[error(
        "the client announced {0} bytes for one request, where at most {MAX_PAYLOAD} are taken"
    )]
    Flood(u64),
    /// The stream broke.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The client took no replies while the connection was closing.
    #[error("the client did not take its last replies within {0:?}")]
    Stuck(Duration),
    /// The client took no replies, which fill buffers that others wait for.
    #[error("the client took no byte of its replies for {0:?}")]
    Deaf(Duration),
    /// The client stopped in the middle of a payload, which keeps a buffer that others wait for.
    #[error("the client sent no more of the data that it had announced for {0:?}")]
    Halted(Duration),
}

/// Serves one client until it leaves, its stream breaks, or `closer` closes it.
///
/// It returns only when every request of the client is answered by its device, even if nobody is
/// left to hear it. It is dropped instead to cut the connection: answers then go nowhere.
pub async fn serve<E: Exports>(
    stream: Stream,
    exports: Rc<E>,
    limits: Limits,
    closer: Closer,
) -> Result<(), ServeEnd> {
    stream.miss_peer()?;
    let (mut r, mut w) = stream.into_split();
    // A name, an option's header and its info requests must fit for the handshake.
    let mut inlet = Inlet::with_capacity(limits.inlet.max(32 * 1024));
    let negotiating = negotiate::negotiate(&mut inlet, &mut r, &mut w, &*exports);
    let negotiated = tokio::select! {
        biased;
        () = closer.when(|stage| matches!(stage, Stage::Parting | Stage::Closed)) => return Ok(()),
        timed = tokio::time::timeout(limits.handshake, negotiating) => match timed {
            Err(_) => return Err(ServeEnd::Slow(limits.handshake)),
            Ok(negotiated) => negotiated?,
        },
    };
    let Some(agreed) = negotiated else {
        return Ok(());
    };
    let (reader, shared) = (Reader::new(inlet, r), Rc::new(Shared::new()));
    connection::transmit(reader, w, agreed, shared, &limits, &closer).await
}

/// The same for a client that was told what `device` is in some other way than by a handshake: its simple requests come
/// at once.
///
/// # Errors
/// Why it ended by itself.
pub async fn transmit<D: Device>(
    stream: Stream,
    device: Rc<D>,
    limits: Limits,
    closer: Closer,
) -> Result<(), ServeEnd> {
    let (r, w) = stream.into_split();
    let inlet = Inlet::with_capacity(limits.inlet.max(32 * 1024));
    let geometry = device.geometry().bounded();
    let terms = Terms { dialect: Dialect::Simple, extents: false };
    let (reader, shared) = (Reader::new(inlet, r), Rc::new(Shared::new()));
    let agreed = Agreed { device, geometry, terms };
    connection::transmit(reader, w, agreed, shared, &limits, &closer).await
}

/// What the handshake came to.
struct Agreed<D: Device> {
    device: Rc<D>,
    geometry: super::Geometry,
    terms: Terms,
}
