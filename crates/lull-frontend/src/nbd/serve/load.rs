//! What one connection has taken of what others need, too. [SEC-4]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use super::Limits;

/// Requests and their memory, from the first byte of the payload or the question to the last of the answer's data.
#[derive(Debug, Default)]
pub(super) struct Load {
    in_flight: Cell<usize>,
    /// Answers with data that have not left.
    unsent: Cell<usize>,
    held: Cell<usize>,
    /// Whoever waits for less: the reader, later the end of the connection.
    waiting: RefCell<Option<Waker>>,
}

impl Load {
    pub(super) fn begin(&self, held: usize) {
        self.in_flight.update(|count| count + 1);
        self.held.update(|sum| sum + held);
    }

    /// It is answered without data.
    pub(super) fn end(&self, held: usize) {
        self.in_flight.update(|count| count - 1);
        self.held.update(|sum| sum - held);
        self.wake();
    }

    /// It is answered with this.
    pub(super) fn leaves<B>(self: &Rc<Self>, buffer: B, held: usize) -> Unsent<B> {
        self.in_flight.update(|count| count - 1);
        self.unsent.update(|count| count + 1);
        self.wake();
        Unsent { buffer, held, of: Rc::clone(self) }
    }

    /// Whether one more request of `length` bytes may be taken; one always may.
    pub(super) fn has_room(&self, length: usize, limits: &Limits) -> bool {
        let held = self.held.get();
        self.in_flight.get() + self.unsent.get() < limits.in_flight
            && (held == 0 || held + length <= limits.bytes)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    /// Has the task woken when it is less.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
    }

    fn wake(&self) {
        let waiting = self.waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// The data of an answer, which is held until it has left.
#[derive(Debug)]
pub(super) struct Unsent<B> {
    buffer: B,
    held: usize,
    of: Rc<Load>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Unsent<B> {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl<B> Drop for Unsent<B> {
    fn drop(&mut self) {
        self.of.unsent.update(|count| count - 1);
        self.of.held.update(|sum| sum - self.held);
        self.of.wake();
    }
}
