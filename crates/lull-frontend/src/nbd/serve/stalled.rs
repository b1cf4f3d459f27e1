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

/// Ends with the reason where a client takes nothing of its replies, or sends nothing of a payload that it has begun,
/// for too long. One that has nothing to take and sends nothing may do so for ever.
pub(super) async fn stalled<B: AsRef<[u8]>>(shared: &Shared<B>, limits: &Limits) -> ServeEnd {
    if limits.stuck == Duration::MAX {
        return future::pending().await;
    }
    loop {
        // Either may have begun in the middle of the span: then it is looked at for one more.
        let (taken, sent) = (shared.outlet.progress(), shared.incoming.progress());
        tokio::time::sleep(limits.stuck).await;
        if taken.is_some() && taken == shared.outlet.progress() {
            return ServeEnd::Deaf(limits.stuck);
        }
        // No payload ends without a byte from the stream once one was waited for: it is the same one.
        if sent.is_some() && sent == shared.incoming.progress() {
            return ServeEnd::Halted(limits.stuck);
        }
    }
}
