//! Received bytes that nobody has consumed yet.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// What a new inlet asks of its first read, and keeps for a connection that only ever whispers.
const SMALL: usize = 4096;

/// What is asked of a read right after a large payload: the next header, and little of the payload
/// behind it, since every byte of that which lands here is copied once more.
const HEADER_ONLY: usize = 512;

/// From this size on a payload that did not fit into the buffered bytes counts as large.
const LARGE: usize = 16 * 1024;

/// Up to so many bytes of an incomplete frame are moved to memory of their own when nothing follows
/// them; a larger piece keeps the buffer that it lies in.
const REST: usize = 1024;

/// How many buffers a thread keeps for whichever of its inlets has something to read next. One is
/// enough while frames come whole; more are for those that wait for the rest of one.
const SPARE: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The receiving buffer of one connection. It has memory only while there are bytes in it: an inlet
/// that waits for bytes has lent its memory to the others of its thread. It never holds more than
/// its capacity.
#[derive(Debug)]
pub struct Inlet {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    capacity: usize,
    /// How many bytes the next read asks for.
    window: usize,
}

impl Inlet {
    /// An empty inlet that holds at most `capacity` bytes (at least 4 KiB). No frame that is parsed
    /// in place may be longer than that.
    pub fn with_capacity(capacity: usize) -> Inlet {
        Inlet { buf: Vec::new(), start: 0, end: 0, capacity: capacity.max(SMALL), window: SMALL }
    }

    /// An inlet that has received these bytes, and holds as many more.
    pub fn holding(capacity: usize, bytes: &[u8]) -> Inlet {
        let inlet = Inlet::with_capacity(capacity);
        Inlet {
            buf: bytes.to_vec(),
            end: bytes.len(),
            capacity: inlet.capacity + bytes.len(),
            ..inlet
        }
    }

    /// The bytes that were received and not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Forgets the first `n` of [`Inlet::bytes`]. Panics where there are fewer.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.end - self.start, "consumed more than was received");
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Reads once, appending to [`Inlet::bytes`]; returns how many bytes came, 0 at the end of the
    /// stream. An inlet that is full without a consumed byte gives `InvalidData`: what is being
    /// parsed is larger than it may be. Cancel-safe.
    pub async fn fill(&mut self, r: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(&mut *r, cx)).await
    }

    fn poll_fill(
        &mut self,
        r: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room()?;
        // Borrowed memory may be longer than this inlet's share.
        let asked = self.window.min(self.buf.len().min(self.capacity) - self.end);
        let mut into = ReadBuf::new(&mut self.buf[self.end..self.end + asked]);
        let read = Pin::new(r).poll_read(cx, &mut into);
        let got = into.filled().len();
        match read {
            Poll::Pending => {
                self.lend();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                self.end += got;
                if got == asked {
                    self.window = (self.window * 4).clamp(SMALL, self.capacity);
                }
                Poll::Ready(Ok(got))
            }
        }
    }

    /// Gives the memory to the thread while there is nothing to do with it.
    fn lend(&mut self) {
        let rest = self.bytes();
        if rest.len() > REST || self.buf.len() <= REST {
            return;
        }
        let rest = rest.to_vec();
        (self.start, self.end) = (0, rest.len());
        let lent = std::mem::replace(&mut self.buf, rest);
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE {
                spares.push(lent);
            }
        });
    }

    /// Fills all of `dest`: first from the buffered bytes, then straight from the stream. The end
    /// of the stream before that is `UnexpectedEof`. Not cancel-safe.
    pub async fn read_exact_into(
        &mut self,
        r: &mut (impl AsyncRead + Unpin),
        dest: &mut [u8],
    ) -> io::Result<()> {
        self.read_into(r, dest, &mut 0).await
    }

    /// The same, cancel-safe: `got` says how many bytes of `dest` are filled, now and when it is dropped, and it goes on
    /// from there.
    pub async fn read_into(
        &mut self,
        r: &mut (impl AsyncRead + Unpin),
        dest: &mut [u8],
        got: &mut usize,
    ) -> io::Result<()> {
        *got += self.take_into(&mut dest[*got..]);
        if *got < dest.len() && dest.len() >= LARGE {
            self.window = HEADER_ONLY;
        }
        while *got < dest.len() {
            let mut rest = ReadBuf::new(&mut dest[*got..]);
            poll_fn(|cx| Pin::new(&mut *r).poll_read(cx, &mut rest)).await?;
            let more = rest.filled().len();
            if more == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *got += more;
        }
        Ok(())
    }

    /// Moves as many buffered bytes as there are, and at most all of `dest`, to the front of
    /// `dest`; returns how many.
    pub fn take_into(&mut self, dest: &mut [u8]) -> usize {
        let n = dest.len().min(self.end - self.start);
        dest[..n].copy_from_slice(&self.buf[self.start..self.start + n]);
        self.consume(n);
        n
    }

    /// Moves what is left in an inlet that has lent its memory into memory that the thread has to spare.
    fn borrow(&mut self) {
        if self.buf.len() > REST {
            return;
        }
        if let Some(mut spare) = SPARES.with_borrow_mut(Vec::pop) {
            spare[..self.end].copy_from_slice(&self.buf[..self.end]);
            self.buf = spare;
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.start > 0 && self.buf.len() - self.end < self.window {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let wanted = (self.end + self.window).min(self.capacity);
        if self.buf.len() < wanted {
            self.borrow();
        }
        if self.buf.len() < wanted {
            self.buf.resize(wanted, 0);
        }
        if self.end == self.capacity {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame larger than the receive buffer",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drain(inlet: &mut Inlet, mut wire: &[u8]) -> Vec<u8> {
        let mut seen = Vec::new();
        while inlet.fill(&mut wire).await.unwrap() > 0 {
            let n = inlet.bytes().len().div_ceil(2);
            seen.extend_from_slice(&inlet.bytes()[..n]);
            inlet.consume(n);
        }
        seen.extend_from_slice(inlet.bytes());
        seen
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_come_out_in_order_and_the_buffer_stays_within_its_capacity() {
        let wire: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        let mut inlet = Inlet::with_capacity(64 * 1024);
        assert_eq!(drain(&mut inlet, &wire).await, wire);
        assert!(inlet.buf.len() <= 64 * 1024);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_large_payload_takes_the_buffered_bytes_first_and_the_rest_directly() {
        let wire: Vec<u8> = (0..100_000u32).map(|i| (i / 3) as u8).collect();
        let mut inlet = Inlet::with_capacity(64 * 1024);
        let mut r = &wire[..];
        inlet.fill(&mut r).await.unwrap();
        inlet.consume(10);
        let mut payload = vec![0; 90_000];
        inlet.read_exact_into(&mut r, &mut payload).await.unwrap();
        assert_eq!(payload, wire[10..90_010]);
        assert!(inlet.bytes().is_empty());
        inlet.fill(&mut r).await.unwrap();
        assert_eq!(inlet.bytes(), &wire[90_010..90_010 + HEADER_ONLY]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_inlet_that_waits_holds_no_more_than_what_has_come() {
        use tokio::io::AsyncWriteExt;
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let mut inlets = [Inlet::with_capacity(64 * 1024), Inlet::with_capacity(8 * 1024)];
        for (sent, inlet) in [(20_000, 0), (5, 1), (3, 0)] {
            let inlet = &mut inlets[inlet];
            let before = inlet.bytes().len();
            far.write_all(&vec![7; sent]).await.unwrap();
            while inlet.bytes().len() < before + sent {
                inlet.fill(&mut near).await.unwrap();
            }
            inlet.consume(inlet.bytes().len() - 2);
            let waits = poll_fn(|cx| Poll::Ready(inlet.poll_fill(&mut near, cx).is_pending()));
            assert!(waits.await, "nothing more has come");
            assert_eq!((inlet.bytes(), inlet.buf.len()), (&[7, 7][..], 2));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_that_ends_within_a_payload_says_so() {
        let mut inlet = Inlet::with_capacity(0);
        let mut r: &[u8] = &[1, 2, 3];
        let error = inlet.read_exact_into(&mut r, &mut [0; 4]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_inlet_refuses_instead_of_growing() {
        let wire = vec![7; 10_000];
        let mut r = &wire[..];
        let mut inlet = Inlet::with_capacity(SMALL);
        assert_eq!(inlet.fill(&mut r).await.unwrap(), SMALL);
        assert_eq!(inlet.fill(&mut r).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
