//! What comes from a target: frames in, events out.

use std::io;
use std::rc::Rc;

use lull_block::Buffer;
use lull_proto::ConnId;
use lull_proto::initiator::{Event, Slot};
use lull_transport::{Felt, Inlet, Outlet, ReadHalf};
use lull_wire::messages::Reply;
use lull_wire::{DecodeError, Digest, FrameHeader, HEADER_LENGTH, Kind, Message, Sender, extents};
use tokio::io::AsyncRead;

use crate::attachment::Attachment;
use crate::buffer::{Bytes, Shared};

/// The receiving buffer's largest size in bytes. Every body fits; a payload longer than what is in it goes
/// straight to its request's memory.
const INLET: usize = 256 * 1024;

/// Bytes that may wait to leave before messages are counted that make this side say something.
const MOST_QUEUED: usize = 64 * 1024;
/// So many messages are heard while as much waits all the time and less than [`TAKEN`] leaves: hours of a target that waits
/// for room and says a few times a second that it lives. No other has reason to say more. Replies are not counted: a
/// target may wait for them to be read before it reads on.
const MOST_UNANSWERED: u32 = 64 * 1024;
/// Bytes: more than what so many messages are answered, of which the longest is PAUSE COMPLETE, 80 bytes.
const TAKEN: u64 = 8 * 1024 * 1024;
const _: () = assert!(TAKEN > MOST_UNANSWERED as u64 * 80);

/// Why a connection is over.
#[derive(Debug)]
pub enum Over {
    /// The machine wanted it so.
    HungUp,
    /// The target closed it.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// What came was no message.
    Garbage(DecodeError),
}

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

impl From<DecodeError> for Over {
    fn from(error: DecodeError) -> Self {
        Self::Garbage(error)
    }
}

/// What a reply brings with it.
#[derive(Debug)]
pub enum Carried {
    /// Nothing.
    Nothing,
    /// Data for this slot's memory; the memory, where it is there. `list_of`: it is a list of extents, of so many bytes
    /// in blocks of so many.
    Wanted { slot: Slot, tenant: u64, bytes: Option<Bytes>, list_of: Option<(u32, u32)> },
    /// Data that nobody waits for any more.
    Unwanted,
}

/// Reads until the connection is over.
pub async fn receive(
    attachment: &Rc<Attachment>,
    conn: ConnId,
    r: ReadHalf,
    outlet: &Outlet<Shared>,
) -> Over {
    let mut r = Felt::new(r, |_| attachment.feel(conn));
    let mut inlet = Inlet::with_capacity(INLET);
    let (mut unanswered, mut taken) = (0, 0);
    loop {
        // [SEC-4] Whoever asks and does not take the answers is not heard until it does.
        if outlet.queued() < MOST_QUEUED || outlet.written() >= taken + TAKEN {
            (unanswered, taken) = (0, outlet.written());
        } else if unanswered >= MOST_UNANSWERED {
            outlet.below(MOST_QUEUED).await;
        }
        match frame(attachment, conn, &mut inlet, &mut r).await {
            Ok(_) if !attachment.is_present(conn) => return Over::HungUp,
            Ok(Kind::Reply) => {}
            Ok(_) => unanswered += 1,
            Err(over) => return over,
        }
    }
}

/// Takes one frame; which kind it was.
async fn frame(
    attachment: &Rc<Attachment>,
    conn: ConnId,
    inlet: &mut Inlet,
    r: &mut (impl AsyncRead + Unpin),
) -> Result<Kind, Over> {
    let header = loop {
        match FrameHeader::read(inlet.bytes(), Sender::Target)? {
            Some(header) if inlet.bytes().len() >= header.length() => break header,
            Some(_) | None => {
                if inlet.fill(r).await? == 0 {
                    return Err(Over::Closed);
                }
            }
        }
    };
    let body = &inlet.bytes()[HEADER_LENGTH..header.length()];
    header.check_body(body)?;
    if header.kind == Kind::Reply {
        let reply = Reply::decode(body)?;
        inlet.consume(header.length());
        match attachment.claim(conn, &reply, header.payload)? {
            Carried::Nothing => {}
            Carried::Wanted { slot, tenant, bytes, list_of } => {
                let mut filling = Filling { attachment, slot, tenant, bytes, filled: false };
                match list_of {
                    None => filling.fill(header.payload, inlet, r).await?,
                    Some(range) => filling.list(header.payload, range, inlet, r).await?,
                }
            }
            Carried::Unwanted => skip(header.payload, inlet, r).await?,
        }
        attachment.hear(Event::Replied { conn, reply });
    } else {
        let message = Message::decode(header.kind, body)?;
        inlet.consume(header.length());
        attachment.received(conn, message);
    }
    Ok(header.kind)
}

/// A read's memory while it is being filled. It goes back to its slot whatever happens: the read may have to be
/// sent again on another connection.
struct Filling<'a> {
    attachment: &'a Rc<Attachment>,
    slot: Slot,
    tenant: u64,
    bytes: Option<Bytes>,
    filled: bool,
}

impl Filling<'_> {
    async fn fill(
        &mut self,
        payload: Digest,
        inlet: &mut Inlet,
        r: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), Over> {
        let bytes = match &mut self.bytes {
            Some(bytes) => bytes,
            None => self.bytes.insert(self.find(payload.length as usize)?),
        };
        inlet.read_exact_into(r, bytes.as_mut()).await?;
        payload.check(bytes.as_ref())?;
        self.filled = true;
        Ok(())
    }

    /// Memory for a read that has none: an earlier connection that was given up in the middle has it for a moment, or there
    /// was none to be had when this process took it over from the one before. Whoever reads replies does not wait for what
    /// only the next ones free; all such reads together are no more than the memory of that one.
    fn find(&self, length: usize) -> io::Result<Bytes> {
        let found = self.attachment.pool().take(length);
        found.map_or_else(|| Buffer::alone(length), Ok).map(Bytes)
    }

    /// Nobody knows beforehand how long a list is: it is received into memory of its own, which is small, and its slot's
    /// takes as much of it as it holds; a list may end early. Without memory it is empty, and nothing is known of the range.
    async fn list(
        &mut self,
        payload: Digest,
        (length, block): (u32, u32),
        inlet: &mut Inlet,
        r: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), Over> {
        let mut list = vec![0; payload.length as usize];
        inlet.read_exact_into(r, &mut list).await?;
        payload.check(&list)?;
        extents::check(&list, length, block)?;
        let found = || self.attachment.pool().take(list.len()).map(Bytes);
        let mut bytes = self.bytes.take().or_else(found).unwrap_or(Bytes(Buffer::empty()));
        let some = bytes.as_ref().len().min(list.len());
        let whole = some - some % extents::EXTENT_BYTES;
        bytes.0.truncate(whole);
        bytes.as_mut().copy_from_slice(&list[..whole]);
        (self.bytes, self.filled) = (Some(bytes), true);
        Ok(())
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            self.attachment.give_back(self.slot, self.tenant, bytes, self.filled);
        }
    }
}

async fn skip(
    payload: Digest,
    inlet: &mut Inlet,
    r: &mut (impl AsyncRead + Unpin),
) -> Result<(), Over> {
    let mut left = payload.length as usize;
    while left > 0 {
        if inlet.bytes().is_empty() && inlet.fill(r).await? == 0 {
            return Err(Over::Closed);
        }
        let n = inlet.bytes().len().min(left);
        inlet.consume(n);
        left -= n;
    }
    Ok(())
}
