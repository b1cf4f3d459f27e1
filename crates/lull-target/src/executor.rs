//! Requests under way at one backend for one connection, each with what its answer needs.

use crate::daemon::Shared;
use crate::toll::Toll;
use lull_block::{Backend, Buffer, Completion, Completions, IoStatus, Op, Request};
use lull_proto::target::Ended;
use std::cell::RefCell;
use std::sync::Arc;

/// Starts requests and brings each one's ticket back with its completion.
pub struct Executor<T> {
    backend: Arc<dyn Backend>,
    toll: Arc<Toll>,
    completions: Completions,
    waiting: RefCell<Waiting<T>>,
}

/// Places that are kept while nothing is under way; what had more gives all of them back then.
const KEPT: usize = 64;

/// Why a request that was answered so ends its resource's life [SAFE-4]; `None`: it does not. What a lost connection may have
/// taken along is no failure of the medium.
pub fn ended_by(result: Result<(), IoStatus>) -> Option<Ended> {
    match result {
        Err(IoStatus::WriteBackFailed | IoStatus::Faulted) => Some(Ended::WriteBack),
        Err(IoStatus::Forgotten) => Some(Ended::Forgotten),
        _ => None,
    }
}

/// A slab: places are found again by their number, which is the request's tag.
struct Waiting<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Executor<T> {
    pub fn new(shared: &Shared) -> Self {
        let waiting = RefCell::new(Waiting { places: Vec::new(), free: Vec::new() });
        let (backend, toll) = (Arc::clone(&shared.backend), Arc::clone(&shared.toll));
        Self { backend, toll, completions: Completions::new(), waiting }
    }

    /// Requests that have not come back.
    pub fn in_flight(&self) -> usize {
        let waiting = self.waiting.borrow();
        waiting.places.len() - waiting.free.len()
    }

    /// Starts a request. `Some`: it is done already, which is the usual case for what is in memory.
    pub fn start(
        &self,
        op: Op,
        offset: u64,
        length: u32,
        buffer: Buffer,
        ticket: T,
    ) -> Option<(T, Completion)> {
        self.toll.starts(op);
        let tag = self.waiting.borrow_mut().put(ticket);
        let token = self.completions.token(u64::from(tag));
        let done = self.backend.start(Request { op, offset, length, buffer, token })?;
        Some((self.ticket(&done)?, done))
    }

    /// Waits for requests that were not done at once, and takes all that are.
    pub async fn next(&self, into: &mut Vec<Completion>) {
        self.completions.ready().await;
        self.completions.drain(into);
    }

    /// The ticket of a completion, once.
    pub fn ticket(&self, done: &Completion) -> Option<T> {
        if self.toll.ended(done) {
            let medium = self.backend.describe();
            tracing::warn!(
                "{medium} is full: writes to it are answered with \"no space left\"; make room, or let \
                 the users of it free some"
            );
        }
        self.waiting.borrow_mut().take(done)
    }
}

impl<T> Waiting<T> {
    fn put(&mut self, ticket: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self.places[place as usize] = Some(ticket);
            return place;
        }
        self.places.push(Some(ticket));
        (self.places.len() - 1) as u32
    }

    fn take(&mut self, done: &Completion) -> Option<T> {
        let place = usize::try_from(done.tag).ok()?;
        let ticket = self.places.get_mut(place)?.take()?;
        self.free.push(place as u32);
        if self.free.len() == self.places.len() && self.places.len() > KEPT {
            *self = Self { places: Vec::new(), free: Vec::new() };
        }
        Some(ticket)
    }
}
