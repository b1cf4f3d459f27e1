//! Tokens, which make sure that every request is answered once, and the queue of the answers.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::Notify;

use crate::{Buffer, IoStatus};

/// The end of one request.
#[derive(Debug)]
pub struct Completion {
    /// The number that the request's [`Token`] was made with.
    pub tag: u64,
    /// Whether the request was carried out, entirely.
    pub result: Result<(), IoStatus>,
    /// The request's buffer. Its content is defined only after a read that succeeded.
    pub buffer: Buffer,
}

/// Answers that arrive from any thread and wait for the one event loop that drains them.
///
/// Bounded by the requests outstanding: each has room for one answer.
#[derive(Clone, Default)]
pub struct Completions(Arc<Queue>);

#[derive(Default)]
struct Queue {
    done: Mutex<Vec<Completion>>,
    arrived: Notify,
}

impl Completions {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token for one request, whose answer will carry `tag` and arrive here.
    pub fn token(&self, tag: u64) -> Token {
        Token { tag, home: Some(self.clone()) }
    }

    /// Moves everything that has arrived to the end of `into`, without waiting.
    pub fn drain(&self, into: &mut Vec<Completion>) {
        let mut done = self.lock();
        if into.is_empty() {
            // Both vectors keep their capacity: no allocation in the steady state.
            mem::swap(&mut *done, into);
        } else {
            into.append(&mut done);
        }
    }

    /// Returns when something is there to be drained. May be dropped at any point without loss;
    /// meant for one waiter at a time.
    pub async fn ready(&self) {
        while self.lock().is_empty() {
            self.0.arrived.notified().await;
        }
    }

    pub(crate) fn push(&self, completion: Completion) {
        let first = {
            let mut done = self.lock();
            done.push(completion);
            done.len() == 1
        };
        // Whoever drains takes all, so only the first arrival has somebody to wake.
        if first {
            self.0.arrived.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Completion>> {
        self.0.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Completions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions").field("waiting", &self.lock().len()).finish()
    }
}

/// The duty to answer one request, exactly once.
///
/// A request that nobody answers hangs its consumer for ever and without a trace, so losing a
/// token is a bug: one that is dropped unanswered panics (unless the thread is already panicking).
#[must_use = "a token must be answered"]
pub struct Token {
    tag: u64,
    home: Option<Completions>,
}

impl Token {
    /// The number that names the request to whoever made the token.
    #[must_use]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Sends the answer to the queue that the token came from.
    pub fn answer(mut self, result: Result<(), IoStatus>, buffer: Buffer) {
        let tag = self.tag;
        if let Some(home) = self.home.take() {
            home.push(Completion { tag, result, buffer });
        }
    }

    /// Turns the token into its answer, to be returned at once instead of queued.
    #[must_use]
    pub fn into_completion(mut self, result: Result<(), IoStatus>, buffer: Buffer) -> Completion {
        self.home = None;
        Completion { tag: self.tag, result, buffer }
    }

    /// Gives the request up: nobody will be told how it ended.
    pub fn abandon(mut self) {
        self.home = None;
    }

    /// The queue that the answer is to arrive at.
    pub(crate) fn completions(&self) -> Option<Completions> {
        self.home.clone()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.home.is_some() && !thread::panicking() {
            panic!("the token of request {} was dropped unanswered", self.tag);
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("tag", &self.tag).finish()
    }
}
