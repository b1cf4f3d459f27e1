//! What leaves on one connection, gathered.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::WriteHalf;

/// The most slices that the kernel takes in one `writev` (`IOV_MAX`).
const MOST_SLICES: usize = 1024;

/// Memory that an outlet with nothing in it keeps, twice: headers, and pieces of headers and payloads.
const KEPT_BYTES: usize = 4096;
const KEPT_PIECES: usize = 64;

/// The outgoing side of one connection: a handle for whoever answers, and [`Outlet::pump`] for the
/// one task that writes. All of them live on one thread.
///
/// After the pump has ended, for whatever reason, what is pushed goes nowhere.
#[derive(Debug)]
pub struct Outlet<B>(Rc<RefCell<Inner<B>>>);

impl<B> Clone for Outlet<B> {
    fn clone(&self) -> Self {
        Outlet(Rc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Inner<B> {
    pending: Batch<B>,
    /// Bytes of the batch that is being written and not written yet.
    writing: usize,
    /// The copies in that batch, which are kept until all of it is written.
    writing_copied: usize,
    /// The payloads in that batch that are not written to their ends yet.
    writing_payloads: usize,
    /// Bytes that were written, of all time.
    written: u64,
    state: State,
    pump: Option<Waker>,
    below: Vec<(usize, Waker)>,
    /// What was not written when it was stopped.
    rest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Finishing,
    /// What is not written is for another process to write.
    Stopped,
    Closed,
}

/// Pieces in their order; the small ones are ranges of one growing buffer that is reused.
#[derive(Debug)]
struct Batch<B> {
    copied: Vec<u8>,
    pieces: VecDeque<Piece<B>>,
    bytes: usize,
    payloads: usize,
}

#[derive(Debug)]
enum Piece<B> {
    Copied { from: usize, to: usize },
    Payload { buffer: B, from: usize },
}

impl<B: AsRef<[u8]>> Default for Outlet<B> {
    fn default() -> Self {
        Outlet::new()
    }
}

impl<B: AsRef<[u8]>> Outlet<B> {
    /// An outlet with nothing in it.
    pub fn new() -> Self {
        Outlet(Rc::new(RefCell::new(Inner {
            pending: Batch::new(),
            writing: 0,
            writing_copied: 0,
            writing_payloads: 0,
            written: 0,
            state: State::Open,
            pump: None,
            below: Vec::new(),
            rest: Vec::new(),
        })))
    }

    /// Queues a copy of `bytes`.
    pub fn push_bytes(&self, bytes: &[u8]) {
        self.push(bytes, None);
    }

    /// Queues a copy of `header` and, right behind it, `payload` itself, which is dropped once it
    /// is written or can no longer be.
    pub fn push_frame(&self, header: &[u8], payload: B) {
        self.push(header, Some(payload));
    }

    fn push(&self, header: &[u8], payload: Option<B>) {
        let mut inner = self.0.borrow_mut();
        if inner.state != State::Open {
            drop(inner); // dropping a payload may run its owner's code, which may push again
            return;
        }
        inner.pending.push(header, payload);
        let waker = inner.pump.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Bytes that were pushed and not written yet.
    pub fn queued(&self) -> usize {
        self.0.borrow().queued()
    }

    /// Bytes of memory that copies of what was pushed take until they have left.
    pub fn copied(&self) -> usize {
        let inner = self.0.borrow();
        inner.pending.copied.len() + inner.writing_copied
    }

    /// Whether there are payloads of what was pushed that were not written to their ends: each is kept for its last byte.
    pub fn has_payloads(&self) -> bool {
        let inner = self.0.borrow();
        inner.pending.payloads + inner.writing_payloads > 0
    }

    /// How many bytes were written, of all time.
    pub fn written(&self) -> u64 {
        self.0.borrow().written
    }

    /// The same; `None` while none are queued.
    pub fn progress(&self) -> Option<u64> {
        (self.queued() > 0).then_some(self.written())
    }

    /// Whether what is pushed still has a chance to be written.
    pub fn is_open(&self) -> bool {
        self.0.borrow().state == State::Open
    }

    /// Waits until fewer than `n` bytes are queued, or the outlet is closed.
    pub async fn below(&self, n: usize) {
        poll_fn(|cx| self.poll_below(n, cx)).await;
    }

    /// The same as a poll, for a loop that waits for several things.
    pub fn poll_below(&self, n: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        if inner.state == State::Closed || inner.queued() < n {
            return Poll::Ready(());
        }
        inner.below.retain(|(_, waker)| !waker.will_wake(cx.waker()));
        inner.below.push((n, cx.waker().clone()));
        Poll::Pending
    }

    /// Takes nothing more; the pump writes what is queued, ends the outgoing direction, and returns.
    pub fn finish(&self) {
        let mut inner = self.0.borrow_mut();
        if inner.state == State::Open {
            inner.state = State::Finishing;
        }
        let waker = inner.pump.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Takes nothing more and writes nothing more: the pump returns, and what it has not written is to be had from
    /// [`Outlet::take_rest`]. The stream stays as it is.
    pub fn stop(&self) {
        let mut inner = self.0.borrow_mut();
        if inner.state != State::Closed {
            inner.state = State::Stopped;
        }
        let waker = inner.pump.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// What an outlet that was stopped has not written, once.
    pub fn take_rest(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().rest)
    }

    /// Throws away what is queued and ends the pump with `ConnectionAborted`.
    pub fn abort(&self) {
        let mut inner = self.0.borrow_mut();
        inner.state = State::Closed;
        let dropped = std::mem::replace(&mut inner.pending, Batch::new());
        let wakers = inner.all_wakers();
        drop(inner);
        drop(dropped);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The connection's writer: whenever something is queued, writes all of it with as few
    /// `writev` as possible. Ends with the first error, or after [`Outlet::finish`]. There is one
    /// pump per outlet; when it ends or is dropped, the outlet is closed.
    pub async fn pump(&self, w: &mut WriteHalf) -> io::Result<()> {
        self.pump_into(w).await
    }

    async fn pump_into(&self, w: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let _closing = CloseOnDrop(self);
        let mut batch = Batch::new();
        while self.next_batch(&mut batch).await? {
            while !batch.pieces.is_empty() {
                let written = poll_fn(|cx| self.poll_write(&batch, w, cx)).await?;
                let Some(written) = written else {
                    self.keep_rest(&batch);
                    return Ok(());
                };
                batch.advance(written);
                self.wrote(written, batch.payloads);
            }
            batch.rewind();
            self.0.borrow_mut().writing_copied = 0;
        }
        if self.0.borrow().state == State::Stopped {
            self.keep_rest(&batch);
            return Ok(());
        }
        w.shutdown().await
    }

    fn keep_rest(&self, batch: &Batch<B>) {
        let mut inner = self.0.borrow_mut();
        let rest = [batch.unwritten(), inner.pending.unwritten()].concat();
        inner.rest = rest;
    }

    /// Swaps what is queued into the empty `batch`; false once everything is written for good.
    async fn next_batch(&self, batch: &mut Batch<B>) -> io::Result<bool> {
        poll_fn(|cx| {
            let mut inner = self.0.borrow_mut();
            if inner.state == State::Closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if inner.state == State::Stopped {
                return Poll::Ready(Ok(false));
            }
            if !inner.pending.pieces.is_empty() {
                std::mem::swap(batch, &mut inner.pending);
                inner.writing = batch.bytes;
                inner.writing_copied = batch.copied.len();
                inner.writing_payloads = batch.payloads;
                return Poll::Ready(Ok(true));
            }
            if inner.state == State::Finishing {
                return Poll::Ready(Ok(false));
            }
            inner.sleep(cx);
            Poll::Pending
        })
        .await
    }

    /// How many bytes were written; `None`: it was stopped.
    fn poll_write(
        &self,
        batch: &Batch<B>,
        w: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        match self.0.borrow().state {
            State::Closed => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            State::Stopped => return Poll::Ready(Ok(None)),
            State::Open | State::Finishing => {}
        }
        let written = match batch.only_slice() {
            Some(slice) => Pin::new(w).poll_write(cx, slice),
            None => Pin::new(w).poll_write_vectored(cx, &batch.slices()),
        };
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(other) => Poll::Ready(other.map(Some)),
            Poll::Pending => {
                // Only `abort` and `stop` need it: a push does not make the socket writable.
                self.0.borrow_mut().sleep(cx);
                Poll::Pending
            }
        }
    }

    /// So many bytes were written, and so many payloads of their batch are left.
    fn wrote(&self, n: usize, payloads: usize) {
        let mut inner = self.0.borrow_mut();
        inner.writing -= n;
        inner.writing_payloads = payloads;
        inner.written += n as u64;
        if inner.below.is_empty() {
            return;
        }
        let queued = inner.queued();
        let waiters = std::mem::take(&mut inner.below);
        let (ready, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|w| queued < w.0);
        inner.below = waiting;
        drop(inner);
        ready.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl<B> Inner<B> {
    fn queued(&self) -> usize {
        self.pending.bytes + self.writing
    }

    fn sleep(&mut self, cx: &Context<'_>) {
        match &self.pump {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.pump = Some(cx.waker().clone()),
        }
    }

    fn all_wakers(&mut self) -> Vec<Waker> {
        let below = std::mem::take(&mut self.below);
        below.into_iter().map(|(_, waker)| waker).chain(self.pump.take()).collect()
    }
}

impl<B> Batch<B> {
    fn new() -> Self {
        Batch { copied: Vec::new(), pieces: VecDeque::new(), bytes: 0, payloads: 0 }
    }
}

impl<B: AsRef<[u8]>> Batch<B> {
    fn push(&mut self, header: &[u8], payload: Option<B>) {
        if !header.is_empty() {
            let from = self.copied.len();
            self.copied.extend_from_slice(header);
            let end = self.copied.len();
            match self.pieces.back_mut() {
                Some(Piece::Copied { to, .. }) => *to = end,
                _ => self.pieces.push_back(Piece::Copied { from, to: end }),
            }
            self.bytes += header.len();
        }
        if let Some(buffer) = payload
            && !buffer.as_ref().is_empty()
        {
            self.bytes += buffer.as_ref().len();
            self.payloads += 1;
            self.pieces.push_back(Piece::Payload { buffer, from: 0 });
        }
    }

    /// All of it, copied.
    fn unwritten(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| self.slice(piece)).copied().collect()
    }

    fn slice<'a>(&'a self, piece: &'a Piece<B>) -> &'a [u8] {
        match piece {
            Piece::Copied { from, to } => &self.copied[*from..*to],
            Piece::Payload { buffer, from } => &buffer.as_ref()[*from..],
        }
    }

    fn only_slice(&self) -> Option<&[u8]> {
        (self.pieces.len() == 1).then(|| self.slice(&self.pieces[0]))
    }

    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len().min(MOST_SLICES));
        slices.extend(
            self.pieces.iter().take(MOST_SLICES).map(|piece| IoSlice::new(self.slice(piece))),
        );
        slices
    }

    /// Drops the pieces that `n` written bytes complete and shortens the one in which they end.
    fn advance(&mut self, mut n: usize) {
        self.bytes -= n;
        while n > 0 {
            let Some(front) = self.pieces.front() else {
                unreachable!("the kernel wrote more than it was given");
            };
            let length = self.slice(front).len();
            if n >= length {
                let whole = self.pieces.pop_front();
                self.payloads -= usize::from(matches!(whole, Some(Piece::Payload { .. })));
                n -= length;
                continue;
            }
            match self.pieces.front_mut() {
                Some(Piece::Copied { from, .. } | Piece::Payload { from, .. }) => *from += n,
                None => {}
            }
            n = 0;
        }
    }

    /// Makes the memory of a written batch ready for the next one. What a connection with some dozens of requests in
    /// flight needs stays; more is taken anew by each batch that needs it, so that a crowd that was busy once does not
    /// keep it.
    fn rewind(&mut self) {
        self.copied.clear();
        self.copied.shrink_to(KEPT_BYTES);
        self.pieces.shrink_to(KEPT_PIECES);
    }
}

struct CloseOnDrop<'a, B: AsRef<[u8]>>(&'a Outlet<B>);

impl<B: AsRef<[u8]>> Drop for CloseOnDrop<'_, B> {
    fn drop(&mut self) {
        self.0.abort();
        let mut inner = self.0.0.borrow_mut();
        (inner.writing, inner.writing_payloads) = (0, 0);
    }
}
