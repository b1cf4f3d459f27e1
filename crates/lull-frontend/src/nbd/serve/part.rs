//! A connection between two processes: what the next one needs to go on with it, without its client noticing.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use lull_transport::{Inlet, Stream};
use serde::{Deserialize, Serialize};

use super::connection::{Reader, Shared, transmit};
use super::reply::{Answer, Duty};
use super::{Agreed, Closer, Limits, ServeEnd};
use crate::device::{self, Device, Reply};
use crate::nbd::Geometry;
use crate::nbd::reply::To;
use crate::nbd::request::Terms;

/// A connection that was taken out of its process.
#[derive(Debug)]
pub struct Parted {
    /// Its stream.
    pub fd: OwnedFd,
    /// What was agreed on it.
    pub agreed: Agreement,
    /// Bytes that were received and belong to requests that nobody has taken.
    pub unread: Vec<u8>,
    /// Bytes that are to be sent before anything else.
    pub unsent: Vec<u8>,
}

/// What client and server have agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// By which number [`Owed`] names the connection; each of a process has its own.
    pub connection: u64,
    /// What requests look like.
    pub terms: Terms,
    /// What the client was told.
    pub geometry: Geometry,
}

/// An answer that is owed to a client whose connection was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// Which connection, by its number.
    pub connection: u64,
    pub(super) to: To,
    pub(super) answer: Answer,
    pub(super) held: usize,
}

/// A connection that goes on in this process.
#[derive(Debug)]
pub struct Resumed<B: AsRef<[u8]>> {
    stream: Stream,
    agreed: Agreement,
    inlet: Inlet,
    limits: Limits,
    shared: Rc<Shared<B>>,
}

impl<B: AsRef<[u8]>> Resumed<B> {
    /// Takes it in; must be called within a runtime.
    ///
    /// # Errors
    /// The descriptor is no stream.
    pub fn new(parted: Parted, limits: Limits) -> io::Result<Self> {
        let Parted { fd, agreed, unread, unsent } = parted;
        let stream = Stream::from_fd(fd)?;
        let inlet = Inlet::holding(limits.inlet, &unread);
        let shared = Rc::new(Shared::new());
        if !unsent.is_empty() {
            shared.outlet.push_bytes(&unsent);
        }
        Ok(Self { stream, agreed, inlet, limits, shared })
    }

    /// What was agreed on it.
    pub fn agreed(&self) -> &Agreement {
        &self.agreed
    }

    /// Who is at its other end, for people.
    pub fn peer(&self) -> String {
        self.stream.peer()
    }

    /// The duty to answer what is owed on it.
    pub fn owes(&self, owed: Owed) -> Reply<B> {
        let Owed { to, answer, held, .. } = owed;
        let dialect = self.agreed.terms.dialect;
        Reply::new(device::Duty::Nbd(Duty::new(&self.shared, dialect, to, answer, held)))
    }

    /// Serves it on, as [`serve`](super::serve) does.
    ///
    /// # Errors
    /// As there.
    pub async fn serve<D: Device<Buffer = B>>(
        self,
        device: Rc<D>,
        closer: Closer,
    ) -> Result<(), ServeEnd> {
        let Self { stream, agreed, inlet, limits, shared } = self;
        let (r, w) = stream.into_split();
        let agreed = Agreed { device, geometry: agreed.geometry, terms: agreed.terms };
        transmit(Reader::new(inlet, r), w, agreed, shared, &limits, &closer).await
    }
}
