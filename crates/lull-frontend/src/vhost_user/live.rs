//! One ring that is served: which of its requests are under way, and how they end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use super::chain::{Chain, Pieces};
use super::config::most;
use super::memory::{Fault, Memory};
use super::record::{Record, Track};
use super::request::{HEADER, SERIAL, Status, Verdict, judge};
use super::ring::{Layout, Ring};
use super::signal::Signal;
use crate::device::{Op, Outcome};
use crate::nbd::{Closer, Geometry, Halfway, Stage};

/// What all rings of a device share.
#[derive(Debug)]
pub struct Shared {
    /// The guest's memory as it is now.
    pub memory: RefCell<Rc<Memory>>,
    /// The device's, of which only the size changes.
    pub geometry: RefCell<Geometry>,
    /// Writes are to be durable before they are answered.
    pub durable: Cell<bool>,
    /// The name that the disk tells.
    pub serial: [u8; SERIAL],
    /// Requests of rings that have ended.
    pub past: Past,
    /// What changes the disk and was in flight is not asked again.
    pub asks_once: bool,
    /// Requests that nobody asks again.
    pub asked_once: AskedOnce,
    /// What closes all of them.
    pub closer: Closer,
}

/// Requests of guests that nobody asks again, since their monitors keep no record of them, or since they change a disk that others
/// change too [SAFE-11].
#[derive(Debug, Clone, Default)]
pub struct AskedOnce(Rc<Cell<usize>>);

impl AskedOnce {
    /// How many are taken and can still be answered.
    pub fn count(&self) -> usize {
        self.0.get()
    }

    fn one(&self) -> Unheard {
        self.0.update(|count| count + 1);
        Unheard(self.clone())
    }
}

/// One of them, until it is answered, its ring ends, or is broken in the middle of it: that one waits for a reset, whoever serves
/// it.
#[derive(Debug)]
struct Unheard(AskedOnce);

impl Drop for Unheard {
    fn drop(&mut self) {
        self.0.0.update(|count| count - 1);
    }
}

/// Requests that a device has, of rings that have ended: nobody hears their answers, but what they ask may still happen.
/// No ring begins before they are answered, so that nothing is overtaken by what was asked before it.
#[derive(Debug, Clone, Default)]
pub struct Past(Rc<(Cell<usize>, Notify)>);

impl Past {
    fn more(&self, count: usize) {
        self.0.0.set(self.0.0.get() + count);
    }

    fn one_less(&self) {
        self.0.0.set(self.0.0.get() - 1);
        self.0.1.notify_waiters();
    }

    async fn over(&self) {
        loop {
            let changed = self.0.1.notified();
            if self.0.0.get() == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// A ring, from its start to its stop.
#[derive(Debug)]
pub struct Live {
    shared: Rc<Shared>,
    state: RefCell<State>,
    /// Requests that a device has.
    submitted: Cell<usize>,
    /// Slots that are taken.
    under_way: Cell<usize>,
    ended: Cell<bool>,
    /// Nothing new is taken, whatever the closer says.
    halted: Cell<bool>,
    /// There is something to do for the one who takes requests.
    pub work: Notify,
    /// There is something of which the guest does not know.
    pub news: Notify,
    idle: Notify,
}

#[derive(Debug)]
struct State {
    ring: Option<Ring>,
    track: Option<Track>,
    slots: Vec<Option<Slot>>,
    /// Kept for their memory.
    spare: Vec<Pieces>,
    chain: Chain,
    /// Heads that were in flight when an earlier life ended, in their order.
    again: VecDeque<u16>,
    /// Heads of which another part is to be asked for.
    parts: VecDeque<u16>,
    fault: Option<Fault>,
}

/// A request under way.
#[derive(Debug)]
struct Slot {
    op: Op,
    offset: u64,
    length: u64,
    /// How much of it is done, and how much is asked for now.
    done: u64,
    part: u64,
    /// Where its data is in the guest's memory, as far as that is needed again.
    data: Option<Pieces>,
    /// The address of its status.
    status: u64,
    /// Where it is asked for in several parts.
    _halfway: Option<Halfway>,
    /// Where nobody asks it again.
    unheard: Option<Unheard>,
}

/// Something to ask a device.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Whose.
    pub head: u16,
    /// What.
    pub op: Op,
    /// From where on.
    pub offset: u64,
    /// How much.
    pub length: u64,
}

impl Job {
    /// Whether it takes memory.
    pub fn has_data(&self) -> bool {
        matches!(self.op, Op::Read | Op::Write { .. })
    }
}

impl Live {
    /// A ring that has not begun.
    pub fn new(shared: &Rc<Shared>) -> Rc<Live> {
        let state = State {
            ring: None,
            track: None,
            slots: Vec::new(),
            spare: Vec::new(),
            chain: Chain::default(),
            again: VecDeque::new(),
            parts: VecDeque::new(),
            fault: None,
        };
        Rc::new(Live {
            shared: Rc::clone(shared),
            state: RefCell::new(state),
            submitted: Cell::default(),
            under_way: Cell::default(),
            ended: Cell::default(),
            halted: Cell::default(),
            work: Notify::new(),
            news: Notify::new(),
            idle: Notify::new(),
        })
    }

    /// Begins at `next`, or where the record says; how many requests of an earlier life are asked again. What earlier rings
    /// have asked is over by then. Where all is closed it does not begin any more.
    ///
    /// # Errors
    /// The ring is not in the guest's memory.
    pub async fn begin(
        &self,
        layout: Layout,
        event_index: bool,
        next: u16,
        record: Option<(Rc<Record>, u16)>,
    ) -> Result<usize, Fault> {
        self.shared.past.over().await;
        if self.shared.closer.is_closed() {
            return Ok(0);
        }
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        let used = Ring::used_index(&layout, &memory)?;
        state.slots.resize_with(layout.size.into(), || None);
        state.track = record.and_then(|(record, queue)| Track::new(&record, queue, layout.size));
        let next = match &mut state.track {
            Some(track) => {
                state.again = track.recover(used).into();
                used.wrapping_add(state.again.len() as u16)
            }
            None => next,
        };
        state.ring = Some(Ring::begin(layout, &memory, event_index, next)?);
        Ok(state.again.len())
    }

    fn memory(&self) -> Rc<Memory> {
        Rc::clone(&self.shared.memory.borrow())
    }

    /// Until it is dropped, more is to be asked for what was taken.
    pub fn halfway(&self) -> Halfway {
        self.shared.closer.halfway()
    }

    /// Whether nothing is taken for now. What closes all rings counts at once: whoever leaves fails what is taken after that.
    fn rests(&self) -> bool {
        self.halted.get() || self.shared.closer.stage() != Stage::Open
    }

    /// Ends when something may be taken again that rests now because of what closes all rings.
    pub async fn turned(&self) {
        match self.shared.closer.stage() {
            Stage::Open => std::future::pending().await,
            stage => self.shared.closer.when(|now| now != stage).await,
        }
    }

    /// Takes the next request, or goes on with one; `None` while there is none.
    pub fn next(&self) -> Option<Step> {
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        if state.fault.is_some() {
            return None;
        }
        self.step(state, &memory).unwrap_or_else(|fault| {
            self.is_broken(state, fault);
            None
        })
    }

    fn step(&self, state: &mut State, memory: &Memory) -> Result<Option<Step>, Fault> {
        let most = u64::from(most(&self.shared.geometry.borrow()));
        if let Some(head) = state.parts.pop_front() {
            return Ok(state.slots[usize::from(head)]
                .as_mut()
                .map(|slot| Step::Ask(slot.ask(head, most))));
        }
        if self.rests() {
            return Ok(None);
        }
        let Some(ring) = &mut state.ring else { return Ok(None) };
        let again = state.again.pop_front();
        let head = match again {
            Some(head) => head,
            None => {
                let Some(head) = ring.take(memory)? else { return Ok(None) };
                if state.slots[usize::from(head)].is_some() {
                    return Err(Fault::Ring("a descriptor that is in use already"));
                }
                if let Some(track) = &mut state.track {
                    track.begin(head);
                }
                head
            }
        };
        state.chain.walk(memory, ring.layout(), head)?;
        let verdict =
            judge(&state.chain, memory, &self.shared.geometry.borrow(), self.shared.durable.get())?;
        let place = state.chain.answer.place(state.chain.answer.len() - 1);
        let status = place.ok_or(Fault::Ring("a request without a place for its status"))?;
        match verdict {
            Verdict::Answer(outcome) => self.finish(state, memory, head, status, outcome, 0)?,
            Verdict::Name => {
                let room = (state.chain.answer.len() - 1).min(SERIAL as u64) as usize;
                state.chain.answer.write(memory, 0, &self.shared.serial[..room])?;
                self.finish(state, memory, head, status, Status::Ok, room as u32)?;
            }
            // Whether it was done nobody knows, and somebody may have changed the same since.
            Verdict::Do { op, .. }
                if again.is_some() && self.shared.asks_once && op.is_change() =>
            {
                self.finish(state, memory, head, status, Status::Failed, 0)?;
            }
            Verdict::Do { op, offset, length } => {
                let mut spare = || state.spare.pop().unwrap_or_default();
                let data = match op {
                    Op::Read => Some(std::mem::replace(&mut state.chain.answer, spare())),
                    Op::Write { .. } => Some(std::mem::replace(&mut state.chain.said, spare())),
                    _ => None,
                };
                let several = data.is_some() && length > most;
                let _halfway = several.then(|| self.halfway());
                let is_lost = state.track.is_none() || self.shared.asks_once && op.is_change();
                let unheard = is_lost.then(|| self.shared.asked_once.one());
                let (done, part) = (0, 0);
                let slot = Slot { op, offset, length, done, part, data, status, _halfway, unheard };
                self.under_way.set(self.under_way.get() + 1);
                let slot = state.slots[usize::from(head)].insert(slot);
                return Ok(Some(Step::Ask(slot.ask(head, most))));
            }
        }
        Ok(Some(Step::Done))
    }

    /// Copies what a write brings. One copy: what is sent may have to be kept and sent again long after the guest has
    /// been told that it is written, and the guest may change its memory at any time.
    ///
    /// # Errors
    /// It is not in the guest's memory.
    pub fn fill(&self, head: u16, buffer: &mut [u8]) -> Result<(), Fault> {
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        let Some(slot) = &mut state.slots[usize::from(head)] else {
            unreachable!("a job's slot is taken until it is answered")
        };
        let Some(data) = &slot.data else { unreachable!("a write has data") };
        data.read(&memory, HEADER as u64 + slot.done, buffer)?;
        // What is copied is not looked at again.
        if slot.done + slot.part == slot.length {
            state.spare.extend(slot.data.take());
        }
        Ok(())
    }

    /// A device has answered.
    pub fn answered<B: AsRef<[u8]>>(&self, head: u16, outcome: Outcome<B>) {
        if self.ended.get() {
            return;
        }
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        let Some(slot) = &mut state.slots[usize::from(head)] else {
            unreachable!("a request's slot is taken until it is answered")
        };
        let done = match (slot.op, outcome) {
            (_, Err(_)) => Err(Status::Failed),
            (Op::Read, Ok(buffer)) => {
                let bytes = buffer.as_ref().map_or(&[][..], AsRef::as_ref);
                assert!(
                    bytes.len() as u64 == slot.part,
                    "a read must be answered with the bytes it asked for"
                );
                // One copy again: the guest's memory may be gone when an answer comes.
                let data = slot.data.as_ref().map(|data| data.write(&memory, slot.done, bytes));
                data.map_or(Ok(()), |copied| copied.map_err(|_| Status::Failed))
            }
            (_, Ok(_)) => Ok(()),
        };
        slot.done += slot.part;
        if done.is_ok() && slot.done < slot.length {
            state.parts.push_back(head);
            self.drop_parts(state);
            return self.work.notify_one();
        }
        let Some(slot) = self.take(state, head) else { return };
        let written = if slot.op == Op::Read && done.is_ok() { slot.length as u32 } else { 0 };
        let status = done.err().unwrap_or(Status::Ok);
        state.spare.extend(slot.data);
        if let Err(fault) = self.finish(state, &memory, head, slot.status, status, written) {
            self.is_broken(state, fault);
        }
    }

    /// A slot is free again.
    fn take(&self, state: &mut State, head: u16) -> Option<Slot> {
        let slot = state.slots[usize::from(head)].take()?;
        self.under_way.set(self.under_way.get() - 1);
        if self.under_way.get() == 0 || slot.unheard.is_some() {
            self.idle.notify_waiters();
        }
        Some(slot)
    }

    /// It is served no more.
    pub fn broken(&self, fault: Fault) {
        self.is_broken(&mut self.state.borrow_mut(), fault);
    }

    /// Nothing is taken from it any more. What a device has is answered still.
    fn is_broken(&self, state: &mut State, fault: Fault) {
        state.fault.get_or_insert(fault);
        self.drop_parts(state);
        self.work.notify_one();
    }

    /// Of a ring that is broken nobody asks for further parts.
    fn drop_parts(&self, state: &mut State) {
        if state.fault.is_some() {
            while let Some(head) = state.parts.pop_front() {
                self.take(state, head);
            }
        }
    }

    fn finish(
        &self,
        state: &mut State,
        memory: &Memory,
        head: u16,
        place: u64,
        status: Status,
        written: u32,
    ) -> Result<(), Fault> {
        memory.write(place, &[status.byte()])?;
        if let Some(ring) = &mut state.ring {
            ring.put(memory, head, written + 1)?;
        }
        if let Some(track) = &mut state.track {
            track.end(head);
        }
        self.news.notify_one();
        Ok(())
    }

    /// Lets the guest know of all that has ended since the last time, in one go.
    pub fn publish(&self, signal: &Signal) {
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        let Some(ring) = &mut state.ring else { return };
        let count = ring.untold();
        if count == 0 || self.ended.get() {
            return;
        }
        let called = ring.publish(&memory).and_then(|used| {
            if let Some(track) = &mut state.track {
                track.told(count, used);
            }
            ring.wants_call(&memory)
        });
        match called {
            Ok(true) => signal.call(),
            Ok(false) => {}
            Err(fault) => self.is_broken(state, fault),
        }
    }

    /// Whether nothing is there to be taken; from now on the guest kicks when there is.
    pub fn is_asleep(&self) -> bool {
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        if self.rests() || state.fault.is_some() {
            return true;
        }
        let Some(ring) = &mut state.ring else { return true };
        ring.arm(&memory).unwrap_or_else(|fault| {
            self.is_broken(state, fault);
            true
        })
    }

    /// Takes nothing new, or again.
    pub fn halt(&self, on: bool) {
        self.halted.set(on);
        self.work.notify_one();
    }

    /// Ends when nothing that was taken can still be answered: nobody waits for what its guest broke.
    pub async fn idle(&self) {
        loop {
            let changed = self.idle.notified();
            if self.under_way.get() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Ends when nothing is left that nobody asks again.
    pub async fn heard(&self) {
        loop {
            let changed = self.idle.notified();
            if self.asked_once() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Answers with an error what a device has not answered and nobody asks again, in a ring that ends now; how many those were.
    pub fn give_up(&self) -> usize {
        let memory = self.memory();
        let state = &mut *self.state.borrow_mut();
        let mut given_up = 0;
        for head in 0..state.slots.len() as u16 {
            let slot = &state.slots[usize::from(head)];
            if slot.as_ref().is_some_and(|slot| slot.unheard.is_some())
                && let Some(slot) = self.take(state, head)
            {
                given_up += 1;
                let ended = self.finish(state, &memory, head, slot.status, Status::Failed, 0);
                if let Err(fault) = ended {
                    state.fault.get_or_insert(fault);
                }
            }
        }
        given_up
    }

    /// How many are in flight that nobody asks again.
    pub fn asked_once(&self) -> usize {
        self.state.borrow().slots.iter().flatten().filter(|slot| slot.unheard.is_some()).count()
    }

    /// Why it is served no more.
    pub fn fault(&self) -> Option<Fault> {
        self.state.borrow().fault.clone()
    }

    /// The index of the next head; `None` before it has begun.
    pub fn at(&self) -> Option<u16> {
        self.state.borrow().ring.as_ref().map(Ring::next)
    }

    /// From here on the guest's memory is left alone.
    pub fn end(&self) {
        if !self.ended.replace(true) {
            self.shared.past.more(self.submitted.get());
            let state = &mut *self.state.borrow_mut();
            state.parts.clear();
            state.slots.clear();
        }
    }
}

/// What a request that was taken comes to at first.
#[derive(Debug)]
pub enum Step {
    /// This is to be asked of a device.
    Ask(Job),
    /// It was answered at once.
    Done,
}

impl Slot {
    fn ask(&mut self, head: u16, most: u64) -> Job {
        let rest = self.length - self.done;
        let data = matches!(self.op, Op::Read | Op::Write { .. });
        self.part = if data { rest.min(most) } else { rest };
        Job { head, op: self.op, offset: self.offset + self.done, length: self.part }
    }
}

/// What is owed to a guest for one request.
#[derive(Debug)]
pub(crate) struct Duty {
    live: Rc<Live>,
    head: u16,
}

impl Duty {
    pub(super) fn new(live: &Rc<Live>, head: u16) -> Duty {
        live.submitted.set(live.submitted.get() + 1);
        Duty { live: Rc::clone(live), head }
    }

    fn over(&self) {
        self.live.submitted.set(self.live.submitted.get() - 1);
        if self.live.ended.get() {
            self.live.shared.past.one_less();
        }
    }

    pub(crate) fn done<B: AsRef<[u8]>>(self, outcome: Outcome<B>) {
        self.live.answered(self.head, outcome);
        self.over();
    }

    /// Says nothing: where there is a record it is still in flight there, and the next life of this process asks it again.
    pub(crate) fn abandon(self) {
        self.over();
    }

    pub(crate) fn is_heard(&self) -> bool {
        !self.live.ended.get()
    }
}
