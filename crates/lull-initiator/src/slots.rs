//! The requests of consumers that are not answered: each one's memory and the duty to answer it.

use lull_block::{Buffer, IoStatus, Pool, Token};
use lull_frontend::nbd::{Errno, Reply};
use lull_proto::initiator::{Ask, Slot};
use lull_wire::{Digest, OpCode, StatusCode};

use crate::buffer::{Bytes, Shared};

/// One request.
#[derive(Debug)]
pub struct Entry {
    /// Tells one tenant of a slot from the next.
    pub tenant: u64,
    /// What is done.
    pub op: OpCode,
    /// What it carries.
    pub data: Data,
    /// The number under which it was sent last.
    pub number: Option<u64>,
    /// To whom the answer is owed.
    pub duty: Duty,
}

/// The duty to answer a request.
#[derive(Debug)]
pub enum Duty {
    /// To a consumer behind a front end.
    Consumer(Reply<Bytes>),
    /// To a target in this process, whose medium this is.
    Sharer(Token),
}

/// What a request carries.
#[derive(Debug)]
pub enum Data {
    /// Nothing.
    None,
    /// Memory to fill; away while a connection fills it.
    Fill(Option<Bytes>),
    /// Bytes to send, as often as it takes.
    Send(Shared, Digest),
}

impl Data {
    /// These bytes.
    pub fn send(bytes: Shared) -> Self {
        let digest = Digest::of(bytes.as_ref());
        Self::Send(bytes, digest)
    }

    /// What a request carries that brings no bytes.
    pub fn of(ask: &Ask, pool: &Pool) -> Self {
        match ask.op {
            // Where there is no memory its reply finds some.
            OpCode::Read => Self::Fill(pool.take(ask.length as usize).map(Bytes)),
            OpCode::Extents => Self::Fill(None),
            _ => Self::None,
        }
    }

    /// What was filled takes the place of what an earlier connection gave up in the middle; never the other way.
    fn give_back(&mut self, bytes: Bytes, filled: bool) {
        match self {
            Self::Fill(place) if filled || place.is_none() => *place = Some(bytes),
            Self::Fill(_) | Self::None | Self::Send(..) => {}
        }
    }
}

/// All of them. A slot is taken from submission to answer.
#[derive(Debug, Default)]
pub struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    tenants: u64,
}

impl Slots {
    /// Takes a request in.
    pub fn insert(&mut self, op: OpCode, buffer: Option<Bytes>, duty: Duty) -> Slot {
        let data = match (op, buffer) {
            (OpCode::Read | OpCode::Extents, buffer) => Data::Fill(buffer),
            (_, Some(bytes)) => Data::send(Shared::new(bytes)),
            (_, None) => Data::None,
        };
        self.place(op, data, duty)
    }

    /// The same for one that another process had taken in, with what it carries.
    pub fn place(&mut self, op: OpCode, data: Data, duty: Duty) -> Slot {
        self.tenants += 1;
        let entry = Entry { tenant: self.tenants, op, data, number: None, duty };
        match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = Some(entry);
                Slot(at)
            }
            None => {
                self.entries.push(Some(entry));
                Slot((self.entries.len() - 1) as u32)
            }
        }
    }

    /// The request in `slot`.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Takes memory out to be filled.
    pub fn lend(&mut self, slot: Slot) -> Option<(u64, Option<Bytes>)> {
        let entry = self.get_mut(slot)?;
        match &mut entry.data {
            Data::Fill(bytes) => Some((entry.tenant, bytes.take())),
            Data::None | Data::Send(..) => None,
        }
    }

    /// Puts it back, where the slot still has the same tenant.
    pub fn give_back(&mut self, slot: Slot, tenant: u64, bytes: Bytes, filled: bool) {
        if let Some(entry) = self.get_mut(slot).filter(|entry| entry.tenant == tenant) {
            entry.data.give_back(bytes, filled);
        }
    }

    /// Answers the consumer and frees the slot [CONN-3]; the number under which it was sent last.
    pub fn answer(&mut self, slot: Slot, status: StatusCode) -> Option<u64> {
        let entry = self.entries.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot.0);
        match entry.duty {
            Duty::Consumer(reply) => reply.done(outcome(entry.op, status, entry.data)),
            Duty::Sharer(token) => {
                let (result, buffer) = result(status, entry.data);
                token.answer(result, buffer);
            }
        }
        entry.number
    }

    /// Takes all of them out, unanswered, for another process to answer.
    pub fn take_all(&mut self) -> Vec<(Slot, Entry)> {
        self.free.clear();
        let all = self.entries.drain(..).enumerate();
        all.filter_map(|(at, entry)| Some((Slot(at as u32), entry?))).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

/// Where a daemon is taken down with requests in its slots, their consumers are cut off rather than left waiting.
impl Drop for Slots {
    fn drop(&mut self) {
        for entry in self.entries.drain(..).flatten() {
            match entry.duty {
                Duty::Consumer(reply) => reply.abandon(),
                Duty::Sharer(token) => token.abandon(),
            }
        }
    }
}

/// How a consumer's request ended, as a front end has it.
fn outcome(op: OpCode, status: StatusCode, data: Data) -> Result<Option<Bytes>, Errno> {
    match (errno(status), data) {
        // [CONN-7] An empty list: nothing is known, so all of it counts as data.
        (Some(Errno::NotSupported), _) if op == OpCode::Extents => Ok(Some(Bytes(Buffer::empty()))),
        (Some(errno), _) => Err(errno),
        (None, Data::Fill(Some(bytes))) => Ok(Some(bytes)),
        // Only a bug of ours lets a read be done without its memory; its consumer is told the truth.
        (None, Data::Fill(None)) => Err(Errno::Io),
        (None, Data::None | Data::Send(..)) => Ok(None),
    }
}

/// How a sharer's request ended, as a backend has it.
fn result(status: StatusCode, data: Data) -> (Result<(), IoStatus>, Buffer) {
    match (status, data) {
        // [CONN-7] A list for which there was no memory: only that is ever empty.
        (StatusCode::Done, Data::Fill(Some(bytes))) if bytes.0.is_empty() => {
            (Err(IoStatus::NotSupported), Buffer::empty())
        }
        (StatusCode::Done, Data::Fill(Some(bytes))) => (Ok(()), bytes.0),
        (StatusCode::Done, Data::Fill(None)) => (Err(IoStatus::Io), Buffer::empty()),
        (StatusCode::Done, Data::None | Data::Send(..)) => (Ok(()), Buffer::empty()),
        (status, _) => (Err(io_status(status)), Buffer::empty()),
    }
}

/// What a sharer is told of a failure.
fn io_status(status: StatusCode) -> IoStatus {
    match status {
        StatusCode::NotExecuted => IoStatus::NotExecuted,
        StatusCode::NoSpace => IoStatus::NoSpace,
        StatusCode::ReadOnly => IoStatus::ReadOnly,
        StatusCode::OutOfRange => IoStatus::OutOfRange,
        StatusCode::Invalid => IoStatus::Invalid,
        StatusCode::NotSupported => IoStatus::NotSupported,
        StatusCode::Done | StatusCode::Io | StatusCode::Unknown(_) => IoStatus::Io,
    }
}

/// What a consumer is told. Never that the server shuts down: NBD clients hand that on as an error for good, and
/// no restart is one.
fn errno(status: StatusCode) -> Option<Errno> {
    match status {
        StatusCode::Done => None,
        StatusCode::Io | StatusCode::NotExecuted | StatusCode::Unknown(_) => Some(Errno::Io),
        StatusCode::NoSpace => Some(Errno::NoSpace),
        StatusCode::ReadOnly => Some(Errno::Perm),
        StatusCode::OutOfRange | StatusCode::Invalid => Some(Errno::Inval),
        StatusCode::NotSupported => Some(Errno::NotSupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_block::Pool;

    /// [CONN-3] A read is answered with what its own connection brought.
    #[test]
    fn a_buffer_given_up_in_the_middle_never_takes_the_place_of_a_filled_one() {
        let pool = Pool::with_classes(&[(4096, 2)]).unwrap();
        let bytes = |byte: u8| {
            let mut buffer = pool.take(4096).unwrap();
            buffer.fill(byte);
            Bytes(buffer)
        };
        let holds = |data: &Data, byte| match data {
            Data::Fill(Some(bytes)) => bytes.as_ref().iter().all(|found| *found == byte),
            Data::Fill(None) | Data::None | Data::Send(..) => false,
        };
        let mut data = Data::Fill(None);
        data.give_back(bytes(1), false);
        assert!(holds(&data, 1), "memory is kept for the next connection");
        data.give_back(bytes(2), true);
        assert!(holds(&data, 2), "filled: it counts");
        data.give_back(bytes(3), false);
        assert!(holds(&data, 2), "given up late");
    }
}
