//! Requests that wait for their answers.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::RequestError;
use crate::nbd::Errno;

/// What a request keeps until it is answered.
#[derive(Debug)]
pub(super) enum Kind<B> {
    /// Nothing.
    Plain,
    /// The memory to fill and the range that it stands for.
    Read { offset: u64, length: u32, buffer: B },
}

/// All requests of one connection, by the cookies that were sent.
#[derive(Debug)]
pub(super) struct Pending<B> {
    slots: Vec<Slot<B>>,
    free: Vec<u32>,
    dead: Option<Rc<str>>,
}

#[derive(Debug)]
struct Slot<B> {
    /// Tells a late answer from one to the slot's next user.
    generation: u32,
    state: State<B>,
}

#[derive(Debug)]
enum State<B> {
    Free,
    Waiting(Waiting<B>),
    Done(Result<(), RequestError>, Option<B>),
}

/// A request without its whole answer.
#[derive(Debug)]
pub(super) struct Waiting<B> {
    pub(super) kind: Shape,
    /// Out while bytes are received into it.
    pub(super) buffer: Option<B>,
    /// Bytes of a read that have come.
    pub(super) received: u64,
    pub(super) error: Option<Errno>,
    waker: Option<Waker>,
    abandoned: bool,
}

/// What may come as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Plain,
    Read { offset: u64, length: u32 },
}

impl<B> Pending<B> {
    pub(super) fn new() -> Self {
        Pending { slots: Vec::new(), free: Vec::new(), dead: None }
    }

    pub(super) fn dead(&self) -> Option<Rc<str>> {
        self.dead.clone()
    }

    /// Enters a request and returns its cookie.
    pub(super) fn begin(&mut self, kind: Kind<B>) -> Result<u64, RequestError> {
        if let Some(why) = &self.dead {
            return Err(RequestError::Lost(Rc::clone(why)));
        }
        let (kind, buffer) = match kind {
            Kind::Plain => (Shape::Plain, None),
            Kind::Read { offset, length, buffer } => (Shape::Read { offset, length }, Some(buffer)),
        };
        let state = State::Waiting(Waiting {
            kind,
            buffer,
            received: 0,
            error: None,
            waker: None,
            abandoned: false,
        });
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, state: State::Free });
                (self.slots.len() - 1) as u32
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = state;
        Ok(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// The request that waits under `cookie`.
    pub(super) fn waiting(&mut self, cookie: u64) -> Option<&mut Waiting<B>> {
        match &mut self.slot(cookie)?.state {
            State::Waiting(waiting) => Some(waiting),
            State::Free | State::Done(..) => None,
        }
    }

    /// Enters the answer; returns whom to wake.
    pub(super) fn finish(
        &mut self,
        cookie: u64,
        result: Result<(), RequestError>,
    ) -> Option<Waker> {
        let slot = self.slot(cookie)?;
        let State::Waiting(waiting) = &mut slot.state else {
            return None;
        };
        let waker = waiting.waker.take();
        if waiting.abandoned {
            self.release(cookie);
        } else {
            slot.state = State::Done(result, waiting.buffer.take());
        }
        waker
    }

    /// Takes nothing more, because the connection is about to end for this reason.
    pub(super) fn doom(&mut self, why: &str) {
        self.dead.get_or_insert_with(|| why.into());
    }

    /// Fails whatever waits and all that comes later; returns whom to wake. The first reason stays.
    pub(super) fn die(&mut self, why: Rc<str>) -> Vec<Waker> {
        let why = self.dead.get_or_insert(why).clone();
        let cookies: Vec<u64> = (0u64..)
            .zip(&self.slots)
            .map(|(index, slot)| u64::from(slot.generation) << 32 | index)
            .collect();
        cookies
            .into_iter()
            .filter_map(|cookie| self.finish(cookie, Err(RequestError::Lost(Rc::clone(&why)))))
            .collect()
    }

    fn slot(&mut self, cookie: u64) -> Option<&mut Slot<B>> {
        let slot = self.slots.get_mut(cookie as u32 as usize)?;
        (u64::from(slot.generation) == cookie >> 32).then_some(slot)
    }

    fn release(&mut self, cookie: u64) {
        if let Some(slot) = self.slot(cookie) {
            slot.state = State::Free;
            self.free.push(cookie as u32);
        }
    }
}

/// Waits for one answer, with which a read's memory comes back. Dropped before that, the answer goes nowhere.
pub(super) struct Answer<'a, B> {
    pending: &'a RefCell<Pending<B>>,
    cookie: Option<u64>,
}

impl<'a, B> Answer<'a, B> {
    pub(super) fn new(pending: &'a RefCell<Pending<B>>, cookie: u64) -> Self {
        Answer { pending, cookie: Some(cookie) }
    }
}

impl<B> Future for Answer<'_, B> {
    type Output = (Result<(), RequestError>, Option<B>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(cookie) = self.cookie else {
            unreachable!("polled after its answer");
        };
        let mut pending = self.pending.borrow_mut();
        let Some(slot) = pending.slot(cookie) else {
            unreachable!("a slot belongs to its request until that is gone");
        };
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Done(result, buffer) => {
                pending.release(cookie);
                drop(pending);
                self.cookie = None;
                Poll::Ready((result, buffer))
            }
            State::Waiting(mut waiting) => {
                waiting.waker = Some(cx.waker().clone());
                slot.state = State::Waiting(waiting);
                Poll::Pending
            }
            State::Free => unreachable!("a slot is freed by its request"),
        }
    }
}

impl<B> Drop for Answer<'_, B> {
    fn drop(&mut self) {
        let Some(cookie) = self.cookie else {
            return;
        };
        let mut pending = self.pending.borrow_mut();
        match pending.slot(cookie).map(|slot| &mut slot.state) {
            // The memory stays, since bytes may be on their way into it.
            Some(State::Waiting(waiting)) => waiting.abandoned = true,
            Some(State::Done(..)) => pending.release(cookie),
            Some(State::Free) | None => {}
        }
    }
}
