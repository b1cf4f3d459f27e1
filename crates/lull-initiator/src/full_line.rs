//! Connections of the kernel's NBD over which nothing can be sent yet. What waits to be sent has no timer in the kernel, which
//! says nothing about it in its log; of what was sent and is not answered it says so once a second, request by request.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use lull_frontend::nbd::kernel::{Held, NbdDevice, NbdDeviceError};
use lull_transport::Stream;
use rustix::net::SendFlags;
use tokio::io::AsyncReadExt as _;

/// A connection that is full to the brim.
#[derive(Debug)]
pub struct FullLine {
    stream: Stream,
    /// Bytes of nothing in it.
    bytes: usize,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The device.
    #[error(transparent)]
    Device(#[from] NbdDeviceError),
    /// The system.
    #[error("no pair of sockets for the kernel's NBD: {0}")]
    Sockets(#[from] io::Error),
}

impl FullLine {
    /// Gives the kernel one in place of a connection that has ended: what was in flight there comes again, behind what waits.
    /// It may take seconds, and is over when this is dropped.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn give(held: &Held) -> Result<Self, LineError> {
        let (stream, bytes) = reconnect(held.device(), held.name(), fill).await?;
        Ok(Self { stream, bytes })
    }

    /// Makes room on it. `None`: it is not wanted any more, as `is_over` says, or the kernel has ended it.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn emptied(self, is_over: impl Fn() -> bool) -> io::Result<Option<Stream>> {
        let Self { mut stream, bytes: mut left } = self;
        let mut nothing = vec![0; 16 << 10];
        while left > 0 {
            let most = left.min(nothing.len());
            let Stream::Unix(socket) = &mut stream else { return Ok(None) };
            match socket.read(&mut nothing[..most]).await? {
                0 => return Ok(None),
                _ if is_over() => return Ok(None),
                read => left -= read,
            }
        }
        Ok(Some(stream))
    }
}

/// Gives the kernel an empty connection in place of one that has ended, as [`FullLine::give`] does a full one; our end of it.
///
/// # Errors
/// What stands in the way.
pub async fn new_line(held: &Held) -> Result<Stream, LineError> {
    Ok(reconnect(held.device(), held.name(), |_| Ok(0)).await?.0)
}

/// `begin`: what the kernel's end sends before it is the kernel's, in bytes.
async fn reconnect(
    device: &NbdDevice,
    name: &str,
    begin: impl Fn(&UnixStream) -> io::Result<usize> + Send + 'static,
) -> Result<(Stream, usize), LineError> {
    let (device, name) = (device.clone(), name.to_owned());
    // Whoever does not wait for this any more has the device to let go of, and would be cut off over tries that nobody wants.
    let wanted = Arc::new(());
    let still_wanted = Arc::downgrade(&wanted);
    let reconnecting = tokio::task::spawn_blocking(move || {
        let mut begun = 0;
        let ours = device.reconnect(&name, || {
            if still_wanted.strong_count() == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let (ours, theirs) = UnixStream::pair()?;
            begun = begin(&theirs)?;
            Ok((ours, theirs))
        })?;
        Ok::<_, NbdDeviceError>((ours, begun))
    });
    let reconnected = reconnecting.await;
    drop(wanted);
    let (ours, begun) = reconnected.map_err(io::Error::other)??;
    Ok((stream(ours)?, begun))
}

/// Our end of a pair, for this runtime.
///
/// # Errors
/// What the system says.
pub fn stream(socket: UnixStream) -> io::Result<Stream> {
    socket.set_nonblocking(true)?;
    Ok(Stream::Unix(tokio::net::UnixStream::from_std(socket)?))
}

/// Sends until nothing more can be sent; how many bytes those were.
fn fill(socket: &UnixStream) -> io::Result<usize> {
    let nothing = [0; 4096];
    let mut sent = 0;
    loop {
        match rustix::net::send(socket, &nothing, SendFlags::DONTWAIT) {
            Ok(length) => sent += length,
            Err(rustix::io::Errno::AGAIN) => return Ok(sent),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use tokio::task::spawn_blocking;

    /// [CONN-5] Tries that nobody waits for would outlast the daemon that ends, which has the device to let go of.
    #[test]
    fn nothing_is_tried_any_more_for_whoever_does_not_wait() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
        let (go_on, waits) = mpsc::channel::<()>();
        let tried = Arc::new(AtomicBool::new(false));
        runtime.block_on(async {
            let before = spawn_blocking(move || waits.recv());
            {
                let tries = Arc::clone(&tried);
                let begin = move |_: &UnixStream| {
                    tries.store(true, Ordering::SeqCst);
                    Ok(0)
                };
                let device = NbdDevice::new(Path::new("/dev/nbd0")).unwrap();
                let mut trying = pin!(reconnect(&device, "nobody's", begin));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(trying.as_mut().poll(&mut cx).is_pending());
            }
            go_on.send(()).unwrap();
            before.await.unwrap().unwrap();
            spawn_blocking(|| {}).await.unwrap();
        });
        assert!(!tried.load(Ordering::SeqCst));
    }

    async fn full() -> (FullLine, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bytes = fill(&theirs).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (FullLine { stream: stream(ours).unwrap(), bytes }, theirs)
    }

    #[tokio::test]
    async fn nothing_can_be_sent_over_a_full_line_before_it_was_emptied_and_then_that_comes_first()
    {
        let (line, mut kernel) = full().await;
        let sent = io::Write::write(&mut kernel, b"asked");
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let Some(Stream::Unix(mut ours)) = line.emptied(|| false).await.unwrap() else {
            panic!("the kernel has not ended it")
        };
        io::Write::write_all(&mut kernel, b"asked").unwrap();
        let mut asked = [0; 5];
        ours.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"asked");
    }

    #[tokio::test]
    async fn a_line_that_nobody_wants_any_more_is_none() {
        let (line, _kernel) = full().await;
        assert!(line.emptied(|| true).await.unwrap().is_none());
    }
}
