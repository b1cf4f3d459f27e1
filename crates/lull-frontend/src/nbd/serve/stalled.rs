//! Clients that stop in the middle of something for which memory is kept. [SEC-4]

use std::cell::Cell;
use std::future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lull_transport::ReadHalf;
use tokio::io::{AsyncRead, ReadBuf};

use super::connection::Shared;
use super::{Limits, ServeEnd};
use crate::device::Device;

/// The payload that is being received, as it looks from beside.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    awaited: Cell<bool>,
    /// Bytes of payloads that were read from the stream, of all time.
    came: Cell<u64>,
}

impl Incoming {
    /// A payload is awaited from `r` for as long as this lives.
    pub(super) fn payload<'a>(&'a self, r: &'a mut ReadHalf) -> Payload<'a> {
        self.awaited.set(true);
        Payload { r, of: self }
    }

    /// How many bytes of it and of all before it had to be waited for; `None` while none is awaited.
    fn progress(&self) -> Option<u64> {
        self.awaited.get().then(|| self.came.get())
    }
}

/// Where its bytes come from.
pub(super) struct Payload<'a> {
    r: &'a mut ReadHalf,
    of: &'a Incoming,
}

impl AsyncRead for Payload<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Payload { r, of } = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut **r).poll_read(cx, buf);
        of.came.update(|came| came + (buf.filled().len() - before) as u64);
        read
    }
}

impl Drop for Payload<'_> {
    fn drop(&mut self) {
        self.of.awaited.set(false);
    }
}

/// Whether a connection waits for memory itself.
#[derive(Debug, Default)]
pub(super) struct Wanting(Cell<bool>);

impl Wanting {
    /// It does until this has ended, or is dropped.
    pub(super) async fn until<T>(&self, there: impl Future<Output = T>) -> T {
        struct Over<'a>(&'a Cell<bool>);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        self.0.set(true);
        let _over = Over(&self.0);
        there.await
    }
}

/// Ends with the reason where a client takes nothing of its replies, or sends nothing of a payload that it has begun,
/// for too long, and somebody else waits for memory. One that has nothing to take and sends nothing may do so for ever. Another
/// connection is somebody else, be it the same client's: nothing says that for sure. A process may have opened connections
/// for others, who would then wait without end for each other's.
pub(super) async fn stalled<D: Device>(
    shared: &Shared<D::Buffer>,
    device: &D,
    limits: &Limits,
) -> ServeEnd {
    if limits.stuck == Duration::MAX {
        return future::pending().await;
    }
    loop {
        // Either may have begun in the middle of the span: then it is looked at for one more.
        let (taken, sent) = (shared.outlet.progress(), shared.incoming.progress());
        tokio::time::sleep(limits.stuck).await;
        if device.waiting() <= usize::from(shared.wanting.0.get()) {
            continue;
        }
        if taken.is_some() && taken == shared.outlet.progress() {
            return ServeEnd::Deaf(limits.stuck);
        }
        // No payload ends without a byte from the stream once one was waited for: it is the same one.
        if sent.is_some() && sent == shared.incoming.progress() {
            return ServeEnd::Halted(limits.stuck);
        }
    }
}
