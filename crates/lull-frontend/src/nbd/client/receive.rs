//! Replies, from the stream to those who wait for them.

use std::io;

use lull_transport::{Inlet, ReadHalf};

use super::pending::Shape;
use super::{RequestError, Shared};
use crate::nbd::Errno;
use crate::nbd::constants::chunk;
use crate::nbd::reply::{Chunk, Head};

/// The longest text of an error that is read; a server's longer one is a violation.
const MOST_TEXT: u32 = 64 << 10;

/// Why no more replies can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server closed it")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server sent {0:#010x} where a reply belongs")]
    Garbage(u32),
    #[error("the server sent a reply that makes no sense: {0}")]
    Nonsense(&'static str),
}

/// Reads replies until it cannot any more.
pub(super) async fn receive<B: AsRef<[u8]> + AsMut<[u8]>>(
    inlet: Inlet,
    r: ReadHalf,
    shared: &Shared<B>,
) -> Lost {
    let mut receiver = Receiver { inlet, r, shared };
    loop {
        if let Err(lost) = receiver.step().await {
            return lost;
        }
    }
}

struct Receiver<'a, B: AsRef<[u8]>> {
    inlet: Inlet,
    r: ReadHalf,
    shared: &'a Shared<B>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Receiver<'_, B> {
    async fn step(&mut self) -> Result<(), Lost> {
        match Head::decode(self.inlet.bytes()).map_err(Lost::Garbage)? {
            None => {
                if self.inlet.fill(&mut self.r).await? == 0 {
                    return Err(Lost::Closed);
                }
                Ok(())
            }
            Some((head, length)) => {
                self.inlet.consume(length);
                match head {
                    Head::Simple { cookie, error } => self.simple(cookie, error).await,
                    Head::Chunk(chunk) => self.chunk(chunk).await,
                }
            }
        }
    }

    async fn simple(&mut self, cookie: u64, error: Option<Errno>) -> Result<(), Lost> {
        let shape = self.shape(cookie)?;
        if let (Shape::Read { length, .. }, None) = (shape, error) {
            self.data(cookie, 0, length).await?;
        }
        self.finish(cookie, error);
        Ok(())
    }

    async fn chunk(&mut self, head: Chunk) -> Result<(), Lost> {
        let shape = self.shape(head.cookie)?;
        match (head.kind, shape) {
            (chunk::NONE, _) => {
                if head.length != 0 || head.flags & chunk::DONE == 0 {
                    return Err(Lost::Nonsense("a chunk without content that is not the end"));
                }
            }
            (chunk::OFFSET_DATA, Shape::Read { offset, length }) => {
                let at = u64::from_be_bytes(self.array(head.length).await?);
                let from = inside(offset, length, at, head.length - 8)?;
                self.data(head.cookie, from, head.length - 8).await?;
            }
            (chunk::OFFSET_HOLE, Shape::Read { offset, length }) => {
                if head.length != 12 {
                    return Err(Lost::Nonsense("a hole of the wrong form"));
                }
                let [o0, o1, o2, o3, o4, o5, o6, o7, size @ ..] = self.array::<12>(12).await?;
                let at = u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
                let size = u32::from_be_bytes(size);
                let from = inside(offset, length, at, size)?;
                self.hole(head.cookie, from, size);
            }
            (kind, _) if kind & chunk::ERROR_BIT != 0 => self.error(head).await?,
            _ => return Err(Lost::Nonsense("a chunk that does not belong to this request")),
        }
        if head.flags & chunk::DONE != 0 {
            self.done(head.cookie, shape)?;
        }
        Ok(())
    }

    /// Receives `size` bytes into the buffer of a read, from its byte `from` on.
    async fn data(&mut self, cookie: u64, from: u32, size: u32) -> Result<(), Lost> {
        let Some(mut lent) = Lent::take(self.shared, cookie) else {
            return Err(Lost::Nonsense("data for a request that has none"));
        };
        let (from, to) = (from as usize, from as usize + size as usize);
        self.inlet.read_exact_into(&mut self.r, &mut lent.bytes()[from..to]).await?;
        drop(lent);
        if let Some(waiting) = self.shared.pending.borrow_mut().waiting(cookie) {
            waiting.received += u64::from(size);
        }
        Ok(())
    }

    fn hole(&mut self, cookie: u64, from: u32, size: u32) {
        if let Some(waiting) = self.shared.pending.borrow_mut().waiting(cookie) {
            let (from, to) = (from as usize, from as usize + size as usize);
            if let Some(buffer) = &mut waiting.buffer {
                buffer.as_mut()[from..to].fill(0);
            }
            waiting.received += u64::from(size);
        }
    }

    async fn error(&mut self, head: Chunk) -> Result<(), Lost> {
        if head.length > MOST_TEXT {
            return Err(Lost::Nonsense("an error with too long a text"));
        }
        let [c0, c1, c2, c3, _, _] = self.array::<6>(head.length).await?;
        let mut text = vec![0; head.length as usize - 6];
        self.inlet.read_exact_into(&mut self.r, &mut text).await?;
        let code = u32::from_be_bytes([c0, c1, c2, c3]);
        let errno = Errno::from_code(code).ok_or(Lost::Nonsense("an error that is none"))?;
        if let Some(waiting) = self.shared.pending.borrow_mut().waiting(head.cookie) {
            waiting.error.get_or_insert(errno);
        }
        Ok(())
    }

    /// The first `N` bytes behind a chunk's head, which says that `length` bytes follow it.
    async fn array<const N: usize>(&mut self, length: u32) -> Result<[u8; N], Lost> {
        if (length as usize) < N {
            return Err(Lost::Nonsense("a chunk that is too short"));
        }
        let mut out = [0; N];
        self.inlet.read_exact_into(&mut self.r, &mut out).await?;
        Ok(out)
    }

    fn shape(&self, cookie: u64) -> Result<Shape, Lost> {
        let mut pending = self.shared.pending.borrow_mut();
        let waiting = pending.waiting(cookie);
        waiting.map(|w| w.kind).ok_or(Lost::Nonsense("it answers no request that waits"))
    }

    fn done(&self, cookie: u64, shape: Shape) -> Result<(), Lost> {
        let mut pending = self.shared.pending.borrow_mut();
        let (error, received) = match pending.waiting(cookie) {
            Some(waiting) => (waiting.error, waiting.received),
            None => (None, 0),
        };
        drop(pending);
        match shape {
            Shape::Read { length, .. } if error.is_none() && received != u64::from(length) => {
                Err(Lost::Nonsense("a read that is answered with other than what it asked for"))
            }
            _ => {
                self.finish(cookie, error);
                Ok(())
            }
        }
    }

    fn finish(&self, cookie: u64, error: Option<Errno>) {
        let result = error.map_or(Ok(()), |errno| Err(RequestError::Answered(errno)));
        let waker = self.shared.pending.borrow_mut().finish(cookie, result);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A read's memory while bytes arrive in it; it goes back to its request however that ends.
struct Lent<'a, B: AsRef<[u8]>> {
    shared: &'a Shared<B>,
    cookie: u64,
    buffer: Option<B>,
}

impl<'a, B: AsRef<[u8]> + AsMut<[u8]>> Lent<'a, B> {
    fn take(shared: &'a Shared<B>, cookie: u64) -> Option<Self> {
        let buffer = shared.pending.borrow_mut().waiting(cookie)?.buffer.take()?;
        Some(Lent { shared, cookie, buffer: Some(buffer) })
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.buffer.as_mut().map_or(&mut [], AsMut::as_mut)
    }
}

impl<B: AsRef<[u8]>> Drop for Lent<'_, B> {
    fn drop(&mut self) {
        if let Some(waiting) = self.shared.pending.borrow_mut().waiting(self.cookie) {
            waiting.buffer = self.buffer.take();
        }
    }
}

/// Where in a read of `length` bytes at `offset` the `size` bytes at `at` begin.
fn inside(offset: u64, length: u32, at: u64, size: u32) -> Result<u32, Lost> {
    let from = at.checked_sub(offset).filter(|from| *from <= u64::from(length));
    match from {
        Some(from) if size > 0 && from + u64::from(size) <= u64::from(length) => Ok(from as u32),
        _ => Err(Lost::Nonsense("data outside of what was asked for")),
    }
}
