//! Which slot a reply belongs to: the requests that are outstanding on one connection, by their numbers.

use lull_proto::initiator::Slot;
use lull_wire::OpCode;
use lull_wire::extents::may_be_list;

/// One request that was sent and not answered on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    number: u64,
    /// Whose it is; `None`: nobody waits for the answer any more.
    pub slot: Option<Slot>,
    /// What its reply carries if it is done.
    pub carries: Carries,
}

/// What the reply to a request that is done brings with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing.
    Nothing,
    /// Exactly so many bytes.
    Data(u32),
    /// A list of extents of a range of so many bytes.
    Extents(u32),
}

impl Carries {
    /// Of a request.
    pub fn of(op: OpCode, length: u32) -> Self {
        match op {
            OpCode::Read => Self::Data(length),
            OpCode::Extents => Self::Extents(length),
            OpCode::Write
            | OpCode::Flush
            | OpCode::Discard
            | OpCode::WriteZeroes
            | OpCode::ReadAhead
            | OpCode::Unknown(_) => Self::Nothing,
        }
    }

    /// Whether it may have so many bytes.
    pub fn fits(self, payload_bytes: u32) -> bool {
        match self {
            Self::Nothing => payload_bytes == 0,
            Self::Data(length) => payload_bytes == length,
            Self::Extents(_) => may_be_list(payload_bytes),
        }
    }
}

/// All of them. Numbers lie within one window of the machine, so that a table indexed by a number's low bits
/// stays as small as that window.
#[derive(Debug)]
pub struct Outstanding {
    table: Vec<Option<Sent>>,
}

/// How many places a new table has.
const FIRST: usize = 64;

impl Outstanding {
    /// None.
    pub fn new() -> Self {
        Self { table: vec![None; FIRST] }
    }

    /// Notes that request `number` was sent.
    pub fn sent(&mut self, number: u64, slot: Option<Slot>, carries: Carries) {
        while self.table[self.place(number)].is_some_and(|other| other.number != number) {
            self.grow();
        }
        let place = self.place(number);
        self.table[place] = Some(Sent { number, slot, carries });
    }

    /// Takes request `number` out, where it is outstanding.
    pub fn replied(&mut self, number: u64) -> Option<Sent> {
        let place = self.place(number);
        self.table[place].take_if(|sent| sent.number == number)
    }

    /// Nobody waits for the answer to `number`, sent for `slot`, any more; its reply still has to be read.
    pub fn orphan(&mut self, number: u64, slot: Slot) {
        let place = self.place(number);
        if let Some(sent) = &mut self.table[place]
            && sent.number == number
            && sent.slot == Some(slot)
        {
            sent.slot = None;
        }
    }

    fn place(&self, number: u64) -> usize {
        (number % self.table.len() as u64) as usize
    }

    fn grow(&mut self) {
        let larger = vec![None; self.table.len() * 2];
        let old = std::mem::replace(&mut self.table, larger);
        for sent in old.into_iter().flatten() {
            let place = self.place(sent.number);
            self.table[place] = Some(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_finds_its_slot_however_far_numbers_lie_apart() {
        let mut outstanding = Outstanding::new();
        let numbers: Vec<u64> = (1..=4096).filter(|n| n % 3 != 0).collect();
        for &number in &numbers {
            outstanding.sent(number, Some(Slot(number as u32)), Carries::Nothing);
        }
        for &number in numbers.iter().rev() {
            let sent = outstanding.replied(number).unwrap();
            assert_eq!(sent.slot, Some(Slot(number as u32)));
            assert_eq!(outstanding.replied(number), None, "answered once");
        }
        assert_eq!(outstanding.table.len(), 4096);
    }

    #[test]
    fn an_orphan_is_still_read() {
        let mut outstanding = Outstanding::new();
        outstanding.sent(7, Some(Slot(1)), Carries::Data(512));
        outstanding.orphan(7, Slot(1));
        outstanding.orphan(8, Slot(1));
        assert_eq!(
            outstanding.replied(7),
            Some(Sent { number: 7, slot: None, carries: Carries::Data(512) })
        );
    }
}
