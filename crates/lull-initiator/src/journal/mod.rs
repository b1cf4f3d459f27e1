//! The retained log: acknowledged changes that no flush covers, with their payloads [SAFE-1], in memory that the next
//! life of this daemon finds [SAFE-10].
//!
//! A page of its own first: what this is, where the log begins, in which incarnation all of it was executed, and whose it
//! is. Then a ring of records, one behind the other, each a header of 32 bytes and its payload:
//!
//! ```text
//!  0        8        16       20   21      22      24            28           32
//!  │ mark   │ offset │ length │ op │ flags │ zero  │ payload CRC │ header CRC │ payload, up to the next 32 …
//! ```
//!
//! Positions count every byte that the ring ever took, so that none comes twice; `mark` is the record's position plus
//! one. A record is **written** while its mark is zero, **acknowledged** from the store of its mark on, which comes
//! behind all of its bytes and before the consumer's answer, and **released** once the log begins behind it. Before a
//! mark is stored the place where the next one belongs is made zero: a log ends there whatever bytes lie in it. A life
//! may be killed between any two stores: what it had begun to write was acknowledged to nobody, and is not found.

mod extent;
mod life;
mod memory;
mod saved;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lull_proto::initiator::{Ask, Legacy};
use lull_wire::{AttachmentId, Digest, Incarnation, OpCode, RequestFlags};

use memory::Memory;

pub use extent::Extent;
pub use life::Life;
pub use saved::Saved;

/// What lies before the ring.
const FRONT: usize = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"lulllog1");
/// Words of the first page.
const AT_MAGIC: usize = 0;
const AT_ATTACHMENT: usize = 16;
const AT_HEAD: usize = 64;
/// Not zero from the beginning on until all that is in this log was executed somewhere: the log before it was lost.
const AT_MISSES: usize = 72;
/// Two places for the incarnation, which take turns: a mark that counts up, the incarnation, its checksum.
const AT_SETTLED: [usize; 2] = [128, 192];
/// Whose log it is.
const AT_LIFE: usize = 256;

/// A record's header; payloads are rounded up to it, so that no header lies around the ring's end.
const HEADER: usize = 32;
const KEEPS_ALLOCATED: u8 = 1;

/// The log of one attachment. The machine bounds it.
#[derive(Debug)]
pub struct Journal {
    memory: Memory,
    /// Bytes of the ring.
    size: usize,
    /// Where the next record begins.
    tail: u64,
    /// The records, in order.
    records: VecDeque<Record>,
    /// The place of the first one, as the machine counts.
    first: u64,
    /// The last mark of the incarnation.
    settled: u64,
    /// Whose it is; `None` until that is said.
    life: Option<Life>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    at: u64,
    payload: Digest,
}

/// What a life before this one left.
#[derive(Debug)]
pub struct Found {
    /// The log, to go on with.
    pub journal: Journal,
    /// Of which attachment.
    pub attachment: AttachmentId,
    /// Whose it was last; `None` where that is not known.
    pub life: Option<Life>,
    /// What the machine inherits.
    pub legacy: Legacy,
    /// The log before this one was lost, and nobody was told yet; this one is empty.
    pub misses: bool,
    /// Changes whose payload is not what was written, with the range that they span; nobody can replay them.
    pub damaged: Option<Damage>,
}

/// Changes that cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Those that are known; others may follow where `more`.
    pub known: Extent,
    /// The log's end could not be read: whatever was in it is lost too.
    pub more: bool,
}

/// Memory that holds no log.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be mapped.
    #[error("cannot be mapped: {0}")]
    Memory(#[from] io::Error),
    /// It holds something else.
    #[error("holds no log")]
    Other,
}

impl Journal {
    /// An empty log with room for what a machine retains that is bounded to `retain` bytes.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn create(attachment: AttachmentId, retain: u64) -> io::Result<Self> {
        // What a change counts has room for its header and for what its payload is rounded up by.
        let size = retain.checked_next_multiple_of(FRONT as u64);
        let length = size.and_then(|bytes| usize::try_from(bytes).ok()?.checked_add(2 * FRONT));
        let mut memory = Memory::create(length.ok_or(io::ErrorKind::InvalidInput)?)?;
        memory.bytes_mut(AT_ATTACHMENT, 16).copy_from_slice(&attachment.0);
        memory.store(AT_MAGIC, MAGIC);
        Ok(Self::over(memory))
    }

    fn over(memory: Memory) -> Self {
        let size = memory.len() - FRONT;
        Self { memory, size, tail: 0, records: VecDeque::new(), first: 0, settled: 0, life: None }
    }

    /// Takes all of its memory now, so that its first use takes none.
    ///
    /// # Errors
    /// What the kernel says, before Linux 5.14 that it does not know how.
    pub fn populate(&self) -> io::Result<()> {
        self.memory.populate()
    }

    /// What a machine may retain in it, in bytes: without what is damaged between the records, which no machine counts, and which
    /// takes its room until those before it are released.
    pub fn retains(&self) -> u64 {
        let head = self.records.front().map_or(self.tail, |record| record.at);
        let counted = |record: &Record| needed(record.payload.length as usize);
        let damaged = (self.tail - head) as usize - self.records.iter().map(counted).sum::<usize>();
        (self.size - FRONT).saturating_sub(damaged) as u64
    }

    /// The log that a life before this one left in `file`.
    ///
    /// # Errors
    /// It is something else.
    pub fn recover(file: OwnedFd) -> Result<Found, JournalError> {
        let memory = Memory::map(file)?;
        let whole = memory.len() >= 2 * FRONT && memory.len().is_multiple_of(FRONT);
        if !whole || memory.load(AT_MAGIC) != MAGIC {
            return Err(JournalError::Other);
        }
        let attachment = memory.bytes(AT_ATTACHMENT, 16).first_chunk();
        let attachment = AttachmentId(*attachment.unwrap_or(&[0; 16]));
        let mut journal = Self::over(memory);
        let settled = journal.read_settled();
        let life = journal.read_life();
        journal.tail = journal.memory.load(AT_HEAD);
        if !journal.tail.is_multiple_of(HEADER as u64) || journal.tail > u64::MAX / 2 {
            return Err(JournalError::Other);
        }
        let (mut changes, mut damaged, begin) = (Vec::new(), None, journal.tail);
        while journal.memory.load(journal.place(journal.tail)) == journal.tail + 1 {
            let Some((ask, payload)) = journal.read_header(journal.tail) else {
                damage(&mut damaged, None);
                break;
            };
            let (at, need) = (journal.tail, needed(payload.length as usize));
            if at - begin + need as u64 + HEADER as u64 > journal.size as u64 {
                damage(&mut damaged, None);
                break;
            }
            if Digest::of(&journal.payload(Record { at, payload })) == payload {
                journal.records.push_back(Record { at, payload });
                changes.push(ask);
            } else {
                damage(&mut damaged, Some(&ask));
            }
            journal.tail += need as u64;
        }
        // What cannot be read is not met again.
        let (tail, head) = (journal.tail, journal.records.front().map(|record| record.at));
        journal.memory.store(journal.place(tail), 0);
        journal.memory.store(AT_HEAD, head.unwrap_or(tail));
        let misses = journal.is_missing();
        let legacy = Legacy::Kept { settled, changes };
        Ok(Found { journal, attachment, life, legacy, misses, damaged })
    }

    /// Keeps a change under the next place, which is `place`: from here on the next life finds it.
    pub fn push(&mut self, place: u64, ask: &Ask, payload: &[u8], digest: Digest) {
        if self.records.is_empty() {
            self.rewind();
            self.first = place;
        }
        debug_assert_eq!(place, self.first + self.records.len() as u64);
        let (at, need) = (self.tail, needed(payload.len()));
        let head = self.records.front().map_or(at, |record| record.at);
        let used = (at - head) as usize;
        assert!(used + need + HEADER <= self.size, "the machine's log is bounded");
        let next = at + need as u64;
        self.memory.store(self.place(next), 0);
        self.memory
            .bytes_mut(self.place(at) + 8, HEADER - 8)
            .copy_from_slice(&header(at, ask, digest));
        let begin = (at + HEADER as u64) as usize % self.size;
        let whole = payload.len().min(self.size - begin);
        self.memory.bytes_mut(FRONT + begin, whole).copy_from_slice(&payload[..whole]);
        self.memory.bytes_mut(FRONT, payload.len() - whole).copy_from_slice(&payload[whole..]);
        self.memory.store(self.place(at), at + 1);
        self.tail = next;
        self.records.push_back(Record { at, payload: digest });
    }

    /// Lets go of everything before this place.
    pub fn release(&mut self, before: u64) {
        let from = self.first;
        while self.first < before && self.records.pop_front().is_some() {
            self.first += 1;
        }
        if self.first > from {
            let head = self.records.front().map_or(self.tail, |record| record.at);
            self.memory.store(AT_HEAD, head);
        }
    }

    /// All of it was executed in this incarnation.
    pub fn settle(&mut self, incarnation: Incarnation) {
        self.settled += 1;
        let at = AT_SETTLED[(self.settled % 2) as usize];
        self.memory.store(at, 0);
        self.memory.bytes_mut(at + 8, 16).copy_from_slice(&incarnation.0);
        self.memory.store(at + 24, Digest::of(&incarnation.0).crc.into());
        self.memory.store(at, self.settled);
        self.memory.store(AT_MISSES, 0);
        self.sign();
    }

    /// The log before this one was lost: that is known from life to life until people were told.
    pub fn misses(&mut self) {
        self.memory.store(AT_MISSES, 1);
    }

    /// Whether people are still to be told that the log before this one was lost.
    pub fn is_missing(&self) -> bool {
        self.memory.load(AT_MISSES) != 0
    }

    /// What is kept under a place, once more copied: a connection may need it longer than the log.
    pub fn copy(&self, place: u64) -> Option<(Vec<u8>, Digest)> {
        let at = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let record = *self.records.get(at)?;
        Some((self.payload(record), record.payload))
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// From the ring's beginning again: pages that were never needed stay untouched.
    fn rewind(&mut self) {
        let begin = self.tail.next_multiple_of(self.size as u64);
        if begin != self.tail {
            self.memory.store(self.place(begin), 0);
            self.memory.store(AT_HEAD, begin);
            self.tail = begin;
        }
    }

    /// Where a position lies in the memory.
    fn place(&self, at: u64) -> usize {
        FRONT + (at % self.size as u64) as usize
    }

    fn payload(&self, record: Record) -> Vec<u8> {
        let length = record.payload.length as usize;
        let begin = ((record.at + HEADER as u64) % self.size as u64) as usize;
        let whole = length.min(self.size - begin);
        let mut payload = Vec::with_capacity(length);
        payload.extend_from_slice(self.memory.bytes(FRONT + begin, whole));
        payload.extend_from_slice(self.memory.bytes(FRONT, length - whole));
        payload
    }

    fn read_settled(&mut self) -> Incarnation {
        let mut newest = Incarnation::NONE;
        for at in AT_SETTLED {
            let mark = self.memory.load(at);
            let bytes = self.memory.bytes(at + 8, 16);
            let right = self.memory.load(at + 24) == u64::from(Digest::of(bytes).crc);
            if mark > self.settled && right && mark < u64::MAX / 2 {
                self.settled = mark;
                newest = Incarnation(*bytes.first_chunk().unwrap_or(&[0; 16]));
            }
        }
        newest
    }

    /// What the record says whose mark was found at `at`.
    fn read_header(&self, at: u64) -> Option<(Ask, Digest)> {
        let bytes = self.memory.bytes(self.place(at) + 8, HEADER - 8);
        let offset = u64::from_le_bytes(*bytes.first_chunk()?);
        let length = u32::from_le_bytes(*bytes[8..].first_chunk()?);
        let (op, flags) = (OpCode::from(bytes[12]), bytes[13]);
        let allocated = flags & KEEPS_ALLOCATED != 0;
        let flags = RequestFlags::none().with_if(allocated, RequestFlags::KEEP_ALLOCATED);
        let payload = if op == OpCode::Write { length } else { 0 };
        let payload =
            Digest { length: payload, crc: u32::from_le_bytes(*bytes[16..].first_chunk()?) };
        let ask = Ask { op, flags, offset, length };
        let changes = matches!(op, OpCode::Write | OpCode::Discard | OpCode::WriteZeroes);
        let whole = offset.checked_add(length.into()).is_some();
        (changes && whole && *bytes == header(at, &ask, payload)).then_some((ask, payload))
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Bytes of the ring for a record with so much payload.
fn needed(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(HEADER)
}

/// A header but for its mark, which its checksum covers all the same.
fn header(at: u64, ask: &Ask, payload: Digest) -> [u8; HEADER - 8] {
    let mut bytes = [0; HEADER];
    let allocated = ask.flags.has(RequestFlags::KEEP_ALLOCATED);
    bytes[..8].copy_from_slice(&(at + 1).to_le_bytes());
    bytes[8..16].copy_from_slice(&ask.offset.to_le_bytes());
    bytes[16..20].copy_from_slice(&ask.length.to_le_bytes());
    bytes[20] = ask.op.number();
    bytes[21] = if allocated { KEEPS_ALLOCATED } else { 0 };
    bytes[24..28].copy_from_slice(&payload.crc.to_le_bytes());
    let crc = Digest::of(&bytes[..28]).crc;
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    let mut rest = [0; HEADER - 8];
    rest.copy_from_slice(&bytes[8..]);
    rest
}

/// One more change that cannot be replayed; `None`: it is not known which, nor what follows it.
fn damage(all: &mut Option<Damage>, ask: Option<&Ask>) {
    let damage = all.get_or_insert(Damage { known: Extent::NONE, more: false });
    match ask {
        Some(ask) => damage.known.add(ask),
        None => damage.more = true,
    }
}

#[cfg(test)]
mod tests;
