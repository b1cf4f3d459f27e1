//! Closing a connection from outside.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A handle that closes one connection, or all those that it is given to. Nothing is said to the
/// client: requests under way are answered, then the stream ends as it would for a lost server.
#[derive(Debug, Clone, Default)]
pub struct Closer(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Closer {
    /// A handle that has not been used.
    pub fn new() -> Closer {
        Closer::default()
    }

    /// Closes: nothing more is read.
    pub fn close(&self) {
        self.0.closed.set(true);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Whether it was used.
    pub fn is_closed(&self) -> bool {
        self.0.closed.get()
    }

    /// Ends once [`Closer::close`] was called.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            if self.0.closed.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
