//! What a daemon leaves to its successor, as it crosses from process to process: a document, the bytes of writes and
//! connections that wait, and descriptors under names.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use lull_admin::{Fault, RestartRecord};
use lull_frontend::nbd;
use lull_proto::MonoTime;
use lull_proto::geometry;
use lull_proto::initiator::{self, Ask, Slot};
use lull_wire::{Features, OpCode, RequestFlags};
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use crate::block_device::Parked;
use crate::buffer::Shared;
use crate::mounted::Mount;

/// Names of descriptors that belong to the daemon as a whole.
pub const ADMIN: &str = "admin";
/// Where targets knock.
pub const CALLBACK: &str = "callback";
const DOCUMENT: &str = "document";
const PAYLOAD: &str = "payload";

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    /// Where the clock of the life before began, in nanoseconds of the host's own.
    pub clock: u64,
    /// The restarts so far; the last one is under way.
    pub restarts: Vec<RestartRecord>,
    /// Each attachment's part.
    pub attachments: Vec<Left>,
}

/// What one attachment leaves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    /// Its name.
    pub name: String,
    /// Which one it is.
    pub id: String,
    /// What consumers were told.
    pub promised: Geometry,
    /// What was sent and is not answered.
    pub sent: Vec<Waiting>,
    /// What was never sent.
    pub held: Vec<Waiting>,
    /// As [`initiator::Succession::whole`].
    pub whole: bool,
    /// Since when nothing is shared, in nanoseconds of the document's clock, as all times here.
    pub since: u64,
    /// When the restart timer ends.
    pub deadline: Option<u64>,
    /// The policy has run.
    pub expired: bool,
    /// The downtime that a pause announces which was under way.
    #[serde(default)]
    pub announced: Option<Duration>,
    /// Until when a target further up is waited for.
    #[serde(default)]
    pub held_until: Option<u64>,
    /// The requests, by their slots.
    pub requests: Vec<Request>,
    /// Connections of NBD clients, the kernel among them; the descriptor of each has its place in this list as its number.
    pub clients: Vec<Client>,
    /// Nothing that the kernel's NBD was given back is still to be asked again; a release that does not say so did not look.
    #[serde(default)]
    pub kernel_waits_for_nothing: bool,
    /// The mounted file.
    pub mount: Option<Mount>,
    /// What was lost with a log before.
    pub log_lost: Option<Fault>,
}

/// A range of the payload, in bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Span {
    at: u64,
    length: u64,
}

/// What a resource measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    size: u64,
    block: u32,
    preferred: u32,
    max_length: u32,
    features: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Asked {
    op: u8,
    flags: u8,
    offset: u64,
    length: u32,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Waiting {
    slot: u32,
    ask: Asked,
    since: u64,
}

/// A request in its slot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Which slot.
    pub slot: u32,
    /// The present piece.
    pub ask: Asked,
    /// Bytes behind it.
    pub rest: u64,
    /// What a write carries.
    pub payload: Option<Span>,
    /// To whom the answer is owed.
    pub owed: nbd::Owed,
}

/// A connection of an NBD client.
#[derive(Debug, Serialize, Deserialize)]
pub struct Client {
    /// The client is this host's kernel, for the attachment's device.
    #[serde(default)]
    pub kernel: bool,
    /// What was agreed on it.
    pub agreed: nbd::Agreement,
    /// Received, and belongs to requests that nobody has taken.
    pub unread: Span,
    /// To be sent before anything else.
    pub unsent: Span,
}

impl From<geometry::Geometry> for Geometry {
    fn from(of: geometry::Geometry) -> Self {
        let geometry::Geometry { size, block, preferred, max_length, features } = of;
        Self { size, block, preferred, max_length, features: features.bits() }
    }
}

impl Geometry {
    /// As machines know it; `None` where it has what this release does not know.
    pub fn known(self) -> Option<geometry::Geometry> {
        let Self { size, block, preferred, max_length, features } = self;
        let features = Features::of_bits(features)?;
        Some(geometry::Geometry { size, block, preferred, max_length, features })
    }
}

impl From<Ask> for Asked {
    fn from(Ask { op, flags, offset, length }: Ask) -> Self {
        Self { op: op.number(), flags: flags.bits(), offset, length }
    }
}

impl Asked {
    /// As machines know it.
    pub fn known(self) -> Option<Ask> {
        let Self { op, flags, offset, length } = self;
        Some(Ask { op: OpCode::from(op), flags: RequestFlags::of_bits(flags)?, offset, length })
    }
}

impl From<&initiator::Waiting> for Waiting {
    fn from(of: &initiator::Waiting) -> Self {
        Self { slot: of.slot.0, ask: of.ask.into(), since: of.since.0 }
    }
}

impl Waiting {
    /// The same in this process, where its slot has another number; with what is behind it of its request.
    pub fn known(self, slots: &HashMap<u32, (Slot, u64)>) -> Option<initiator::Waiting> {
        let (slot, rest) = *slots.get(&self.slot)?;
        let (ask, since) = (self.ask.known()?, MonoTime(self.since));
        Some(initiator::Waiting { slot, ask, rest, since })
    }
}

/// Bytes that go along with a document.
#[derive(Debug)]
pub struct Payload {
    from: Place,
    length: u64,
}

/// Where they are: in this process, by their places, or in memory that the process before has filled.
#[derive(Debug)]
enum Place {
    Here(BTreeMap<u64, Shared>),
    Before(File),
}

impl Default for Payload {
    fn default() -> Self {
        Self { from: Place::Here(BTreeMap::new()), length: 0 }
    }
}

impl Payload {
    /// What a process before this one has written.
    pub(crate) fn given(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { from: Place::Before(file), length })
    }

    /// Takes some more along. Nothing is copied as long as nobody else is to have it, so that nothing can fail.
    pub fn put(&mut self, bytes: Shared) -> Span {
        let (at, length) = (self.length, bytes.as_ref().len() as u64);
        if let (Place::Here(parts), 1..) = (&mut self.from, length) {
            parts.insert(at, bytes);
            self.length += length;
        }
        Span { at, length }
    }

    /// What is there.
    ///
    /// # Errors
    /// It is not.
    pub fn get(&self, Span { at, length }: Span) -> io::Result<Shared> {
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(missing());
        }
        match &self.from {
            Place::Here(_) if length == 0 => Ok(Shared::copied(Vec::new())),
            Place::Here(parts) => {
                let part = parts.get(&at).filter(|part| part.as_ref().len() as u64 == length);
                part.cloned().ok_or_else(missing)
            }
            Place::Before(file) => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, at)?;
                Ok(Shared::copied(bytes))
            }
        }
    }

    /// All of it, for another process.
    fn written(&self) -> io::Result<File> {
        match &self.from {
            Place::Before(file) => file.try_clone(),
            Place::Here(parts) => {
                let file = rustix::fs::memfd_create("lull-payload", MemfdFlags::CLOEXEC)?;
                let file = File::from(file);
                for (at, bytes) in parts {
                    file.write_all_at(bytes.as_ref(), *at)?;
                }
                Ok(file)
            }
        }
    }
}

/// What another process can read: the document and the bytes that it names.
#[derive(Debug)]
pub struct Written {
    document: File,
    payload: File,
}

/// All of it.
#[derive(Debug)]
pub struct Estate {
    /// The document.
    pub document: Document,
    /// The bytes that it names.
    pub payload: Payload,
    /// The descriptors.
    pub fds: HashMap<String, OwnedFd>,
    /// Devices of ublk's by the attachments that have them: for this process, should it go on. The kernel gives them to a
    /// successor.
    pub blocks: HashMap<String, Parked>,
}

impl Estate {
    /// The document and its bytes as files, to be given with [`Estate::parcel`].
    ///
    /// # Errors
    /// The system has no memory or descriptor. The estate is what it was.
    pub fn written(&self) -> io::Result<Written> {
        let file = rustix::fs::memfd_create("lull-document", MemfdFlags::CLOEXEC)?;
        let mut document = File::from(file);
        document.write_all(&serde_json::to_vec(&self.document)?)?;
        Ok(Written { document, payload: self.payload.written()? })
    }

    /// What a successor is given; `written` is what [`Estate::written`] made.
    pub fn parcel<'a>(&'a self, written: &'a Written) -> Vec<(String, BorrowedFd<'a>)> {
        let own = [(DOCUMENT, written.document.as_fd()), (PAYLOAD, written.payload.as_fd())];
        let own = own.map(|(name, fd)| (name.to_owned(), fd));
        own.into_iter().chain(self.fds.iter().map(|(n, fd)| (n.clone(), fd.as_fd()))).collect()
    }

    /// What a predecessor gave.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(given: Vec<(String, OwnedFd)>) -> io::Result<Self> {
        let mut fds: HashMap<_, _> = given.into_iter().collect();
        let mut taken = |name: &str| {
            let lacks = || io::Error::other(format!("the old process handed over no {name}"));
            fds.remove(name).map(File::from).ok_or_else(lacks)
        };
        let (mut document, payload) = (taken(DOCUMENT)?, taken(PAYLOAD)?);
        document.rewind()?;
        let mut text = Vec::new();
        document.read_to_end(&mut text)?;
        let document = serde_json::from_slice(&text)?;
        Ok(Self { document, payload: Payload::given(payload)?, fds, blocks: HashMap::new() })
    }

    /// Takes a descriptor out.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        self.fds.remove(name)
    }
}

/// What the descriptor of a listening socket is called: by the name that its front end gives it.
pub fn listener_name(id: &str, name: &str) -> String {
    format!("{}{name}", listeners_of(id))
}

/// How the names of an attachment's listening sockets begin.
pub fn listeners_of(id: &str) -> String {
    format!("listen {id} ")
}

/// What the descriptor of a client's connection is called, by its place in the list.
pub fn client_name(id: &str, place: usize) -> String {
    format!("client {id} {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_gives_what_was_put_and_nothing_beyond_in_either_process() {
        let mut here = Payload::default();
        let mut put = |bytes: &[u8]| here.put(Shared::copied(bytes.to_vec()));
        let (first, none, second) = (put(b"first"), put(b""), put(b"second"));
        let there = Payload::given(here.written().unwrap()).unwrap();
        for payload in [&here, &there] {
            assert_eq!(payload.get(second).unwrap().as_ref(), b"second");
            assert_eq!(payload.get(first).unwrap().as_ref(), b"first");
            assert_eq!(payload.get(none).unwrap().as_ref(), b"");
            assert!(payload.get(Span { at: 6, length: 6 }).is_err());
            assert!(payload.get(Span { at: u64::MAX, length: 2 }).is_err());
        }
    }
}
