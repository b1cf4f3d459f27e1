//! A receiving half that can be felt.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Calls `feel` with their number whenever bytes come from `r`: of a long payload too, long before whoever reads has all of it.
#[derive(Debug)]
pub struct Felt<R, F> {
    r: R,
    feel: F,
}

impl<R, F: Fn(usize)> Felt<R, F> {
    /// Feels `r`.
    pub fn new(r: R, feel: F) -> Self {
        Self { r, feel }
    }
}

impl<R: AsyncRead + Unpin, F: Fn(usize) + Unpin> AsyncRead for Felt<R, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { r, feel } = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(r).poll_read(cx, buf);
        match buf.filled().len() - before {
            0 => {}
            bytes => feel(bytes),
        }
        read
    }
}
