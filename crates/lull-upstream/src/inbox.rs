//! Requests on their way to the thread that talks to a server.

use lull_block::{IoStatus, Request};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A queue into one thread. Bounded by the requests outstanding, each of which holds a buffer of a bounded pool or a
/// place in its session's window. A lock is held for a push or a swap.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    arrived: Notify,
    closing: Notify,
}

/// The thread's end of an inbox: when the thread is gone, however that came, nobody waits for it.
pub(crate) struct Reader(pub(crate) Arc<Inbox>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
        let left = mem::take(&mut self.0.lock().requests);
        left.into_iter().for_each(|request| request.answer(Err(IoStatus::Faulted)));
    }
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// What comes from here on begins anew after a failed write-back.
    renewed: bool,
    /// What cannot be passed on is given back.
    gives_back: bool,
    /// That has changed, and the thread does not know.
    turned: bool,
    closed: bool,
}

impl Inbox {
    /// Takes a request; gives it back where nobody is there any more.
    pub(crate) fn push(&self, request: Request) -> Option<Request> {
        let mut state = self.lock();
        if state.closed {
            return Some(request);
        }
        state.requests.push(request);
        let first = state.requests.len() == 1;
        drop(state);
        // Whoever takes, takes all.
        if first {
            self.arrived.notify_one();
        }
        None
    }

    /// What is pushed from here on begins anew after a failed write-back. Nothing else is outstanding.
    pub(crate) fn renew(&self) {
        self.lock().renewed = true;
    }

    /// Whether that was said since this was asked last.
    pub(crate) fn take_renewed(&self) -> bool {
        mem::take(&mut self.lock().renewed)
    }

    /// Whether what cannot be passed on is given back from here on, rather than held.
    pub(crate) fn give_back(&self, on: bool) {
        let mut state = self.lock();
        state.turned |= state.gives_back != on;
        state.gives_back = on;
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether it is.
    pub(crate) fn gives_back(&self) -> bool {
        self.lock().gives_back
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
        self.closing.notify_one();
    }

    /// Waits for requests and moves all of them into `into`, which is empty; there are none where something else is to
    /// be looked at. False where it is closed. May be dropped without loss.
    pub(crate) async fn take(&self, into: &mut Vec<Request>) -> bool {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return false;
                }
                if mem::take(&mut state.turned) || !state.requests.is_empty() {
                    // Both vectors keep their capacity.
                    mem::swap(&mut state.requests, into);
                    return true;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Waits until it is closed. For one waiter.
    pub(crate) async fn closed(&self) {
        while !self.lock().closed {
            self.closing.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
