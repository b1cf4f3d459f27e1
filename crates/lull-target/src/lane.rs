//! Where one connection's requests run: closed at first, open from ATTACHED on, closed again before anything that must
//! not see them any more.

use crate::daemon::{Input, Life};
use crate::executor::{Executor, ended_by};
use crate::gauge::{Gauge, Watch};
use crate::local::Local;
use crate::sharers::{Calls, Sharing};
use lull_block::{Buffer, Completion, IoStatus, Op};
use lull_proto::initiator::WINDOW;
use lull_proto::ledger::Verdict;
use lull_proto::target::{Ended, ResourceIndex, Share};
use lull_transport::Outlet;
use lull_wire::extents::EXTENTS_PAYLOAD;
use lull_wire::frame::Digest;
use lull_wire::messages::{Ping, Reply, Request};
use lull_wire::{Incarnation, Message, OpCode, RequestFlags, RequestNumber, StatusCode};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What a reply needs to know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    number: RequestNumber,
    /// Its buffer is the answer.
    fills: bool,
    bytes: usize,
    /// The first byte of a change that others may lie over.
    shared: Option<u64>,
}

/// A change that waits for those of others.
struct Parked {
    op: Op,
    offset: u64,
    length: u32,
    buffer: Buffer,
}

/// What an open lane leads to.
pub struct Open {
    executor: Executor<Ticket>,
    local: Rc<Local>,
    resource: ResourceIndex,
    terms: Terms,
    max_length: u32,
    /// Other initiators write as well [SAFE-11].
    sharing: Option<Sharing>,
    parked: RefCell<BTreeMap<RequestNumber, Parked>>,
}

/// What a session was granted.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub read_only: bool,
    /// Of the protocol.
    pub version: u16,
    /// Of the resource; replies say it.
    pub incarnation: Incarnation,
    /// The number of that incarnation in this life of the process.
    pub life: u64,
    /// Other initiators write as well.
    pub share: Option<Share>,
    /// A round of keep-alive.
    pub keep_alive: Duration,
}

impl Open {
    fn life(&self) -> &Life {
        &self.local.shared[self.resource.0].life
    }

    /// [SAFE-4] A flush failed: nothing of this life is answered any more, by nobody.
    fn end(&self, why: Ended) {
        if self.life().end(self.terms.life) {
            self.local.tell(Input::LifeEnded { resource: self.resource, why });
        }
    }
}

enum State {
    NotYet,
    Open(Rc<Open>),
    /// Nothing new is taken; what is under way is still answered.
    Closing(Rc<Open>),
    Closed,
}

/// What to do with a request whose header came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Read its payload, if any, into a buffer of this length, and run it.
    Run(Op, u32),
    /// Pass over its payload and answer this.
    Refuse(StatusCode),
    /// Pass over its payload: it dies with its epoch [SAFE-5].
    Drop,
    /// The peer is at fault.
    Violation(BadRequest),
}

/// A request that an initiator must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BadRequest {
    #[error("a request came before ATTACHED")]
    TooEarly,
    #[error("more than {WINDOW} requests were outstanding")]
    TooMany,
    #[error("a request's payload is not what it says")]
    Payload,
    #[error("a request's number is outstanding already, or outside the window")]
    Number,
    #[error("a request has flags that the session's version does not have")]
    Newer,
}

/// The numbers that are outstanding: one bit each, found by the number's remainder, since all of them lie within one
/// window of the lowest.
struct Numbers {
    lowest: u64,
    outstanding: Box<[u64; WINDOW / 64]>,
}

impl Numbers {
    fn new(lowest: u64) -> Self {
        Self { lowest, outstanding: Box::new([0; WINDOW / 64]) }
    }

    /// Whether this request may have this number; if so, it is outstanding from now on.
    fn take(&mut self, number: RequestNumber, lowest: RequestNumber) -> bool {
        self.lowest = self.lowest.max(lowest.0);
        let (word, bit) = place(number);
        let inside = number.0 >= self.lowest && number.0 - self.lowest < WINDOW as u64;
        let free = self.outstanding[word] & bit == 0;
        if inside && free {
            self.outstanding[word] |= bit;
        }
        inside && free
    }

    fn give_back(&mut self, number: RequestNumber) {
        let (word, bit) = place(number);
        self.outstanding[word] &= !bit;
    }
}

fn place(number: RequestNumber) -> (usize, u64) {
    let at = number.0 as usize % WINDOW;
    (at / 64, 1 << (at % 64))
}

/// Bytes of requests that one connection may have under way, beside one request of any length; further ones are not
/// read meanwhile. The buffers are everybody's.
const UNDER_WAY_LIMIT: usize = 32 << 20;

/// The longest round in which this side says that it lives: an initiator may count shorter ones than it was told to.
const OFTEN: Duration = Duration::from_millis(250);

/// One connection's lane.
pub struct Lane {
    state: RefCell<State>,
    outlet: Outlet<Buffer>,
    header: RefCell<Vec<u8>>,
    watch: Arc<Watch>,
    gauge: Arc<Gauge>,
    /// Bytes of requests under way.
    bytes: Cell<usize>,
    freed: Notify,
    /// Made when the lane opens: an idle stranger costs nothing.
    numbers: RefCell<Option<Numbers>>,
}

impl Lane {
    pub fn new(outlet: Outlet<Buffer>, watch: Arc<Watch>, gauge: Arc<Gauge>) -> Self {
        Self {
            state: RefCell::new(State::NotYet),
            outlet,
            header: RefCell::default(),
            watch,
            gauge,
            bytes: Cell::new(0),
            freed: Notify::new(),
            numbers: RefCell::new(None),
        }
    }

    /// Opens the lane; gives back what completes later requests, to be run until it ends.
    pub fn open(&self, local: &Rc<Local>, resource: ResourceIndex, terms: Terms) -> Rc<Open> {
        let shared = &local.shared[resource.0];
        let max_length = shared.backend.geometry().max_length;
        let executor = Executor::new(shared);
        let local = Rc::clone(local);
        let sharing = terms.share.map(|share| Sharing::open(&local, resource, share));
        let lowest = sharing.as_ref().map_or(1, Sharing::lowest);
        let parked = RefCell::default();
        let open = Rc::new(Open { executor, local, resource, terms, max_length, sharing, parked });
        *self.state.borrow_mut() = State::Open(Rc::clone(&open));
        *self.numbers.borrow_mut() = Some(Numbers::new(lowest));
        open
    }

    /// Takes nothing more; says whether nothing is under way already.
    pub fn close(&self) -> bool {
        let mut state = self.state.borrow_mut();
        if let State::Open(open) = &*state {
            self.drop_parked(open);
        }
        let open = match &*state {
            State::Open(open) | State::Closing(open) if open.executor.in_flight() > 0 => {
                Some(Rc::clone(open))
            }
            State::Open(_) | State::Closing(_) | State::NotYet | State::Closed => None,
        };
        let drained = open.is_none();
        *state = open.map_or(State::Closed, State::Closing);
        drained
    }

    /// Whether a request of this length may be read now.
    pub fn has_room(&self, length: u32) -> bool {
        let under_way = self.bytes.get();
        under_way == 0 || under_way + length as usize <= UNDER_WAY_LIMIT
    }

    /// Waits until a request of this length may be read.
    pub async fn room(&self, length: u32) {
        loop {
            let freed = self.freed.notified();
            if self.has_room(length) {
                return;
            }
            freed.await;
        }
    }

    /// How often is looked whether the two still hear each other while its requests are not read on.
    pub fn round(&self) -> Duration {
        match &*self.state.borrow() {
            State::Open(open) => open.terms.keep_alive.min(OFTEN),
            State::NotYet | State::Closing(_) | State::Closed => Duration::MAX,
        }
    }

    /// Says in each round in which nothing else is said that this side lives, for as long as it is polled. It ends never.
    pub async fn say_alive(&self) -> Infallible {
        let (mut token, mut said) = (0, self.outlet.written());
        loop {
            tokio::time::sleep(self.round()).await;
            let before = std::mem::replace(&mut said, self.outlet.written());
            // [SEC-4] Whoever does not read what was said before hears nothing more.
            if said == before && self.outlet.queued() == 0 {
                token += 1;
                let mut frame = Vec::new();
                Message::from(Ping { token }).encode(Digest::NONE, &mut frame);
                self.outlet.push_bytes(&frame);
                said += frame.len() as u64;
            }
        }
    }

    /// What to do with this request, which comes with a payload of this length.
    pub fn admit(&self, request: &Request, payload: u32) -> Admission {
        let open = match &*self.state.borrow() {
            State::Open(open) => Rc::clone(open),
            State::NotYet => return Admission::Violation(BadRequest::TooEarly),
            State::Closing(_) | State::Closed => return Admission::Drop,
        };
        // [SEC-4] An honest initiator's window is no larger [SAFE-11].
        if open.executor.in_flight() >= WINDOW {
            return Admission::Violation(BadRequest::TooMany);
        }
        let mut numbers = self.numbers.borrow_mut();
        if !numbers.as_mut().is_some_and(|numbers| numbers.take(request.number, request.lowest)) {
            return Admission::Violation(BadRequest::Number);
        }
        drop(numbers);
        // [CONN-8] What only a later version has: a bit is as wrong as any that means nothing, an op as unknown as any.
        if request.since() > open.terms.version {
            return Admission::Violation(BadRequest::Newer);
        }
        if request.op.since() > open.terms.version {
            return Admission::Refuse(StatusCode::NotSupported);
        }
        if let Some(sharing) = &open.sharing {
            sharing.confirm(&open.local, open.resource, request.lowest);
        }
        // [SAFE-11] What a sharer is answered is durable, whatever it asks for: a repeat is answered from its outcome.
        let fua = request.flags.has(RequestFlags::FUA) || open.sharing.is_some();
        let op = match request.op {
            OpCode::Read => Op::Read,
            OpCode::Write => Op::Write { fua },
            OpCode::Flush => Op::Flush,
            OpCode::Discard => Op::Discard,
            OpCode::WriteZeroes => Op::WriteZeroes {
                fua,
                keep_allocated: request.flags.has(RequestFlags::KEEP_ALLOCATED),
                fast: request.flags.has(RequestFlags::FAST),
            },
            OpCode::Extents => Op::Extents,
            OpCode::ReadAhead => Op::ReadAhead,
            OpCode::Unknown(_) => return Admission::Refuse(StatusCode::NotSupported),
        };
        let expected = if matches!(op, Op::Write { .. }) { request.length } else { 0 };
        if payload != expected {
            return Admission::Violation(BadRequest::Payload);
        }
        if open.terms.read_only && op.is_change() {
            return Admission::Refuse(StatusCode::ReadOnly);
        }
        let moves = matches!(op, Op::Read | Op::Write { .. });
        if moves && !(1..=open.max_length).contains(&request.length) {
            return Admission::Refuse(StatusCode::Invalid);
        }
        let buffer = match op {
            Op::Read | Op::Write { .. } => request.length,
            Op::Extents => EXTENTS_PAYLOAD,
            Op::ReadAhead | Op::Flush | Op::Discard | Op::WriteZeroes { .. } => 0,
        };
        Admission::Run(op, buffer)
    }

    /// Runs an admitted request, unless the lane was closed meanwhile.
    pub fn run(&self, op: Op, request: &Request, buffer: Buffer) {
        let open = match &*self.state.borrow() {
            State::Open(open) => Rc::clone(open),
            State::NotYet | State::Closing(_) | State::Closed => return,
        };
        self.bytes.set(self.bytes.get() + buffer.len());
        let &Request { number, offset, length, .. } = request;
        let parked = Parked { op, offset, length, buffer };
        match &open.sharing {
            Some(sharing) if op.is_change() => {
                match sharing.admit(&open.local, open.resource, number, (offset, length)) {
                    Verdict::Run => self.start(&open, number, parked, true),
                    Verdict::Wait => {
                        open.parked.borrow_mut().insert(number, parked);
                    }
                    // [SAFE-11] It was executed, and may lie under another sharer's by now; or lies over one that may be
                    // executed still.
                    Verdict::Repeat(status) => {
                        self.free(parked.buffer.len());
                        drop(parked);
                        self.refuse(number, status);
                    }
                }
            }
            Some(_) | None => self.start(&open, number, parked, false),
        }
    }

    fn start(&self, open: &Rc<Open>, number: RequestNumber, parked: Parked, shared: bool) {
        let Parked { op, offset, length, buffer } = parked;
        let fills = matches!(op, Op::Read | Op::Extents);
        let shared = shared.then_some(offset);
        let ticket = Ticket { number, fills, bytes: buffer.len(), shared };
        if let Some((ticket, done)) = open.executor.start(op, offset, length, buffer, ticket) {
            self.answer(open, ticket, done);
        } else {
            self.gauge.set_in_flight(open.executor.in_flight());
        }
    }

    /// Starts what waited for changes of others, or gives it back, unless the lane was closed meanwhile.
    fn go_on(&self, open: &Rc<Open>, sharing: &Sharing) {
        let Calls { ready, back } = sharing.bell().take();
        // What a closing lane dropped is not there.
        let unpark = |number: &RequestNumber| open.parked.borrow_mut().remove(number);
        for number in ready {
            if let Some(parked) = unpark(&number) {
                self.start(open, number, parked, true);
            }
        }
        for number in back {
            if let Some(parked) = unpark(&number) {
                self.free(parked.buffer.len());
                self.refuse(number, StatusCode::NotExecuted);
            }
        }
    }

    /// What waits for changes of others dies with its epoch [SAFE-5].
    fn drop_parked(&self, open: &Open) {
        let Some(sharing) = &open.sharing else { return };
        let parked = open.parked.take();
        parked.values().for_each(|one| self.free(one.buffer.len()));
        let waited = parked.iter().map(|(number, one)| (*number, one.offset));
        sharing.close(&open.local, open.resource, waited);
    }

    fn free(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        self.freed.notify_waiters();
    }

    /// Answers an admitted request without running it.
    pub fn refuse(&self, number: RequestNumber, status: StatusCode) {
        let incarnation = match &*self.state.borrow() {
            State::Open(open) => open.terms.incarnation,
            State::NotYet | State::Closing(_) | State::Closed => return,
        };
        self.send(&Reply { number, status, incarnation }, Buffer::empty());
    }

    /// Answers what was not done at once, for as long as the lane is open or something is under way. Returns when
    /// a closed lane is drained.
    pub async fn complete(&self, open: Rc<Open>) {
        let mut done = Vec::new();
        loop {
            match &open.sharing {
                None => open.executor.next(&mut done).await,
                Some(sharing) => {
                    tokio::select! {
                        () = open.executor.next(&mut done) => {}
                        () = sharing.bell().rung() => {}
                    }
                    self.go_on(&open, sharing);
                }
            }
            for completion in done.drain(..) {
                if let Some(ticket) = open.executor.ticket(&completion) {
                    self.answer(&open, ticket, completion);
                }
            }
            self.gauge.set_in_flight(open.executor.in_flight());
            let mut state = self.state.borrow_mut();
            if matches!(&*state, State::Closing(open) if open.executor.in_flight() == 0) {
                *state = State::Closed;
                return;
            }
        }
    }

    fn answer(&self, open: &Open, ticket: Ticket, done: Completion) {
        self.free(ticket.bytes);
        if let Some(why) = ended_by(done.result) {
            open.end(why);
        }
        let lasts = open.life().lasts(open.terms.life);
        let status = done.result.map_or_else(status_code, |()| StatusCode::Done);
        if let (Some(sharing), Some(offset)) = (&open.sharing, ticket.shared) {
            // [CHAIN-1] What is given back promises nothing about the medium, which the ledger remembers.
            let outcome = lasts.then_some(status);
            sharing.done(&open.local, open.resource, ticket.number, offset, outcome);
            self.gauge.get_on();
        }
        // [SAFE-1] [SAFE-4] What a read found may be older than what was acknowledged, once it is gone.
        if !lasts {
            return;
        }
        let reply = Reply { number: ticket.number, status, incarnation: open.terms.incarnation };
        let carries = ticket.fills && status == StatusCode::Done;
        self.send(&reply, if carries { done.buffer } else { Buffer::empty() });
    }

    fn send(&self, reply: &Reply, payload: Buffer) {
        let mut header = self.header.borrow_mut();
        header.clear();
        if let Some(numbers) = &mut *self.numbers.borrow_mut() {
            numbers.give_back(reply.number);
        }
        reply.encode(Digest::of(&payload), &mut header);
        self.outlet.push_frame(&header, payload);
        self.watch.answered();
    }
}

/// What a failure is called on the wire.
fn status_code(status: IoStatus) -> StatusCode {
    match status {
        IoStatus::Io
        | IoStatus::WriteBackFailed
        | IoStatus::Forgotten
        | IoStatus::NoMemory
        | IoStatus::Faulted => StatusCode::Io,
        IoStatus::NotExecuted => StatusCode::NotExecuted,
        IoStatus::NoSpace => StatusCode::NoSpace,
        IoStatus::ReadOnly => StatusCode::ReadOnly,
        IoStatus::OutOfRange => StatusCode::OutOfRange,
        IoStatus::Invalid => StatusCode::Invalid,
        IoStatus::NotSupported => StatusCode::NotSupported,
    }
}

#[cfg(test)]
mod tests;
