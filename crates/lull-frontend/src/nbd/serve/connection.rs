//! Transmission: one reader and one writer in one task, and what they share with the replies.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use lull_transport::{Inlet, Outlet, ReadHalf, WriteHalf};

use super::receive::receive;
use super::{Agreed, Closer, Limits, ServeEnd};
use crate::nbd::Device;

/// What replies need of their connection, and the reader of the replies.
#[derive(Debug)]
pub(super) struct Shared<B: AsRef<[u8]>> {
    pub(super) outlet: Outlet<B>,
    in_flight: Cell<usize>,
    held: Cell<usize>,
    /// Whoever waits for fewer requests in flight: the reader, later the end of the connection.
    waiting: RefCell<Option<Waker>>,
}

impl<B: AsRef<[u8]>> Shared<B> {
    pub(super) fn begin(&self, held: usize) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.held.set(self.held.get() + held);
    }

    pub(super) fn end(&self, held: usize) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.held.set(self.held.get() - held);
        let waiting = self.waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Waits until one more request of `length` bytes may be taken.
    pub(super) async fn room(&self, length: usize, limits: &Limits) {
        poll_fn(|cx| {
            let held = self.held.get() + self.outlet.queued();
            if self.in_flight.get() < limits.in_flight
                && (held == 0 || held + length <= limits.bytes)
            {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            // What is answered and not sent counts as well; a broken outlet ends the reader.
            let most_queued = limits.bytes.saturating_sub(self.held.get() + length).max(1);
            let _ = self.outlet.poll_below(most_queued, cx);
            Poll::Pending
        })
        .await;
    }

    fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        if self.in_flight.get() == 0 {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Runs a connection from its first request until everything of it has ended.
pub(super) async fn transmit<D: Device>(
    inlet: Inlet,
    r: ReadHalf,
    mut w: WriteHalf,
    mut agreed: Agreed<D>,
    limits: &Limits,
    closer: &Closer,
) -> Result<(), ServeEnd> {
    let shared = Rc::new(Shared {
        outlet: Outlet::new(),
        in_flight: Cell::new(0),
        held: Cell::new(0),
        waiting: RefCell::new(None),
    });
    let outlet = shared.outlet.clone();
    let _cut = AbortOnDrop(&outlet);
    let mut pump = pin!(outlet.pump(&mut w));

    // The reader goes first: what it answers in one turn is written behind it in one go.
    let mut end = tokio::select! {
        biased;
        () = closer.closed() => Ok(()),
        end = receive(inlet, r, &mut agreed, &shared, limits) => end,
        broken = pump.as_mut() => broken.map_err(ServeEnd::Lost),
    };

    // Answers still leave while the rest is waited for, unless the stream is already broken.
    let mut writing = outlet.is_open();
    poll_fn(|cx| {
        if writing && let Poll::Ready(broken) = pump.as_mut().poll(cx) {
            writing = false;
            if let (Err(error), Ok(())) = (broken, &end) {
                end = Err(ServeEnd::Lost(error));
            }
        }
        shared.poll_idle(cx)
    })
    .await;

    if writing && !matches!(end, Err(ServeEnd::Lost(_))) {
        outlet.finish();
        match tokio::time::timeout(limits.linger, pump).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => end = end.and(Err(ServeEnd::Lost(error))),
            Err(_) => end = end.and(Err(ServeEnd::Stuck(limits.linger))),
        }
    }
    end
}

struct AbortOnDrop<'a, B: AsRef<[u8]>>(&'a Outlet<B>);

impl<B: AsRef<[u8]>> Drop for AbortOnDrop<'_, B> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
