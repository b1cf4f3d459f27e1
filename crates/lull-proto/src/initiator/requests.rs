//! What consumers asked for and was not answered yet: held, or sent and outstanding.

use super::{Action, Actions};
use crate::violation::Violation;
use crate::{ConnId, MonoTime};
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;
use lull_wire::messages::{Reply, Request};
use lull_wire::{OpCode, RequestFlags, RequestNumber, StatusCode};

/// The most numbers between the lowest unanswered request and the newest, both included [SAFE-11]. Beyond it new
/// requests are held.
pub const WINDOW: usize = 4096;

/// Where the daemon keeps a request's buffer and its consumer's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What a consumer asks for. Offset and length are inside the resource and aligned: the front end saw to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// What to do.
    pub op: OpCode,
    /// How to do it.
    pub flags: RequestFlags,
    /// The first byte.
    pub offset: u64,
    /// How many bytes; 0 for a flush.
    pub length: u32,
}

impl Ask {
    /// A flush.
    pub const FLUSH: Self =
        Self { op: OpCode::Flush, flags: RequestFlags::none(), offset: 0, length: 0 };

    fn changes(&self) -> bool {
        self.length > 0 && matches!(self.op, OpCode::Write | OpCode::Discard | OpCode::WriteZeroes)
    }

    fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    slot: Slot,
    ask: Ask,
    since: MonoTime,
}

/// One request that has a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    /// `None`: nobody waits for the answer (a flush of our own, or a consumer that was given an error).
    slot: Option<Slot>,
    ask: Ask,
    since: MonoTime,
    /// Sent on the present connection and outstanding there.
    live: bool,
    /// For a flush: the bytes of changes that were answered before it was sent.
    covers: u64,
}

/// All requests of one attachment that are not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Requests {
    /// Not sent yet, in the order in which they came.
    held: VecDeque<Held>,
    /// By number, from `lowest` on; answered ones are `None` until they are the first.
    window: VecDeque<Option<Sent>>,
    lowest: u64,
    live: u32,
    /// First byte → end of each change in the window. They never overlap [SAFE-3].
    changing: BTreeMap<u64, u64>,
    /// Bytes of changes answered so far that were not durable by themselves.
    answered: u64,
    /// How many of those a flush covers.
    flushed: u64,
}

impl Requests {
    pub fn new() -> Self {
        Self { lowest: 1, ..Self::default() }
    }

    pub fn hold(&mut self, now: MonoTime, slot: Slot, ask: Ask) {
        self.held.push_back(Held { slot, ask, since: now });
    }

    /// Sends what is held, in order, as far as it may go: a change that overlaps an outstanding one waits for it,
    /// and what came after waits behind it [SAFE-3].
    pub fn send_held(&mut self, conn: ConnId, actions: &mut Actions) {
        while let Some(first) = self.held.front() {
            if !self.has_room() || self.overlaps(&first.ask) {
                return;
            }
            let Some(Held { slot, ask, since }) = self.held.pop_front() else { return };
            self.send(conn, Some(slot), ask, since, actions);
        }
    }

    /// Whether one more number may be given.
    pub fn has_room(&self) -> bool {
        self.window.len() < WINDOW
    }

    /// Sends a flush that no consumer asked for.
    pub fn send_own_flush(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        self.send(conn, None, Ask::FLUSH, now, actions);
    }

    fn send(
        &mut self,
        conn: ConnId,
        slot: Option<Slot>,
        ask: Ask,
        since: MonoTime,
        actions: &mut Actions,
    ) {
        if ask.changes() {
            self.changing.insert(ask.offset, ask.end());
        }
        let number = self.lowest + self.window.len() as u64;
        self.window.push_back(Some(Sent { slot, ask, since, live: true, covers: self.answered }));
        self.live += 1;
        actions.push(self.transmit(conn, number, slot, ask));
    }

    /// Sends every outstanding request of `which` kind again that is not outstanding on this connection, in the
    /// order of their numbers.
    pub fn send_again(&mut self, conn: ConnId, which: Which, actions: &mut Actions) -> Again {
        let mut again = Again::default();
        for at in 0..self.window.len() {
            let Some(sent) = &mut self.window[at] else { continue };
            if sent.live || (which == Which::Changes && sent.ask.op == OpCode::Read) {
                continue;
            }
            sent.live = true;
            sent.covers = self.answered;
            let (slot, ask) = (sent.slot, sent.ask);
            self.live += 1;
            again.requests += 1;
            again.bytes += if ask.changes() { u64::from(ask.length) } else { 0 };
            actions.push(self.transmit(conn, self.lowest + at as u64, slot, ask));
        }
        again
    }

    fn transmit(&self, conn: ConnId, number: u64, slot: Option<Slot>, ask: Ask) -> Action {
        let Ask { op, flags, offset, length } = ask;
        let (number, lowest) = (RequestNumber(number), RequestNumber(self.lowest));
        Action::Transmit {
            conn,
            slot,
            request: Request { number, lowest, offset, length, op, flags },
        }
    }

    /// Takes a reply: answers its consumer, or keeps the request where it was not executed.
    pub fn replied(&mut self, reply: &Reply, actions: &mut Actions) -> Result<(), Violation> {
        let unknown = Violation::UnknownRequest(reply.number);
        let at = reply.number.0.checked_sub(self.lowest).ok_or(unknown)?;
        let place =
            usize::try_from(at).ok().and_then(|at| self.window.get_mut(at)).ok_or(unknown)?;
        let sent = place.as_mut().filter(|sent| sent.live).ok_or(unknown)?;
        self.live -= 1;
        if reply.status == StatusCode::NotExecuted && sent.slot.is_some() {
            sent.live = false;
            return Ok(());
        }
        let done = reply.status == StatusCode::Done;
        if sent.ask.changes() {
            self.changing.remove(&sent.ask.offset);
            if done && !sent.ask.flags.has(RequestFlags::FUA) {
                self.answered += u64::from(sent.ask.length);
            }
        }
        if sent.ask.op == OpCode::Flush && done {
            self.flushed = self.flushed.max(sent.covers);
        }
        if let Some(slot) = sent.slot {
            actions.push(Action::Answer { slot, status: reply.status });
        }
        *place = None;
        self.forget_answered();
        Ok(())
    }

    fn forget_answered(&mut self) {
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.lowest += 1;
        }
    }

    /// The connection is gone: nothing is outstanding on it any more. A flush of our own dies with it.
    pub fn lost(&mut self) {
        for place in &mut self.window {
            match place {
                Some(sent) if sent.slot.is_none() => {
                    self.changing.remove(&sent.ask.offset);
                    *place = None;
                }
                Some(sent) => sent.live = false,
                None => {}
            }
        }
        self.live = 0;
        self.forget_answered();
    }

    /// Answers everything with an error. What is outstanding may still be executed: its answer goes nowhere.
    pub fn fail_all(&mut self, actions: &mut Actions) {
        for place in &mut self.window {
            let Some(sent) = place else { continue };
            if let Some(slot) = sent.slot.take() {
                actions.push(Action::Answer { slot, status: StatusCode::Io });
            }
            if !sent.live {
                self.changing.remove(&sent.ask.offset);
                *place = None;
            }
        }
        self.forget_answered();
        for held in self.held.drain(..) {
            actions.push(Action::Answer { slot: held.slot, status: StatusCode::Io });
        }
    }

    fn overlaps(&self, ask: &Ask) -> bool {
        ask.changes()
            && self
                .changing
                .range(..ask.end())
                .next_back()
                .is_some_and(|(_, end)| *end > ask.offset)
    }

    pub fn has_unanswered_changes(&self) -> bool {
        self.window.iter().flatten().any(|sent| sent.ask.op != OpCode::Read)
    }

    /// Requests outstanding on the present connection.
    pub fn in_flight(&self) -> u32 {
        self.live
    }

    /// Requests that have a number and are not outstanding: they are sent again.
    pub fn kept(&self) -> u32 {
        self.window.iter().flatten().filter(|sent| !sent.live).count() as u32
    }

    pub fn held(&self) -> u32 {
        self.held.len() as u32
    }

    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.window.is_empty()
    }

    pub fn lowest(&self) -> RequestNumber {
        RequestNumber(self.lowest)
    }

    /// Bytes of changes that were answered and that no flush covers.
    pub fn unflushed(&self) -> u64 {
        self.answered - self.flushed
    }

    /// The age of the oldest request that is outstanding.
    pub fn oldest(&self, now: MonoTime) -> Duration {
        let sent = self.window.iter().flatten().map(|sent| sent.since);
        sent.min().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The age of the oldest request of a consumer, held or sent: at RESUME, the longest stall.
    pub fn longest_wait(&self, now: MonoTime) -> Duration {
        let held = self.held.front().map_or(Duration::ZERO, |held| now.since(held.since));
        held.max(self.oldest(now))
    }
}

/// Which requests to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Changes and flushes, before READY.
    Changes,
    /// Reads as well, after RESUME.
    All,
}

/// What was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Again {
    /// Requests.
    pub requests: u64,
    /// Bytes of changes.
    pub bytes: u64,
}
