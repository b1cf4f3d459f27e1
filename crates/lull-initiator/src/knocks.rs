//! Where targets knock that have started [CONN-1]: a hint that proves nothing [SEC-3], from whoever it comes.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use lull_transport::{Addr, BindError, Inlet, Listener, Stream};
use lull_wire::messages::{Address, Knock};
use lull_wire::{FrameHeader, HEADER_LENGTH, Kind, Sender};
use tokio::sync::mpsc;

use crate::daemon::News;

/// How long nobody is heard after each; who comes sooner waits.
const EVERY: Duration = Duration::from_millis(100);
/// How long whoever connected may take to say it.
const LIMIT: Duration = Duration::from_secs(1);
/// Room for the one frame.
const INLET: usize = 4096;

/// A place to be knocked at.
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    /// What targets are told.
    pub address: Address,
}

impl Door {
    /// Listens there, on the socket of the process before where there is one. A port that the kernel chose is what targets are told.
    ///
    /// # Errors
    /// Whatever keeps it from listening.
    pub async fn open(callback: &Addr, inherited: Option<OwnedFd>) -> Result<Self, BindError> {
        let listener = match inherited {
            Some(fd) => Listener::from_fd(callback, fd)?,
            None => Listener::bind(callback).await?,
        };
        let told = match callback {
            Addr::Tcp { port: 0, .. } => listener.local_addr(),
            // A target has another working directory.
            Addr::Unix(path) => std::path::absolute(path).map(Addr::Unix),
            Addr::Tcp { .. } | Addr::Vsock { .. } => Ok(callback.clone()),
        };
        let address = told.and_then(|told| {
            let too_long =
                || std::io::Error::other("it is longer than the 256 bytes of a callback");
            Address::new(&told.to_string()).ok_or_else(too_long)
        });
        match address {
            Ok(address) => Ok(Self { address, listener }),
            Err(source) => {
                // Nobody is to knock there. What is in the way is said, and not that this is as well.
                let _ = listener.remove_file();
                Err(BindError::Io { addr: callback.clone(), source })
            }
        }
    }

    /// Tells of each knock, for as long as it is polled and somebody hears it.
    pub async fn listen(&self, news: &mpsc::UnboundedSender<News>) {
        loop {
            // Another life of this process may listen on the same socket.
            let came = tokio::select! {
                biased;
                () = news.closed() => return,
                came = self.listener.accept() => came,
            };
            if let Ok(stream) = came
                && let Ok(Some(knock)) = tokio::time::timeout(LIMIT, heard(stream)).await
            {
                tracing::debug!("{} knocks", knock.node);
                // The daemon is gone when nobody hears it.
                let _ = news.send(News::Knocked { node: knock.node });
            }
            // [SEC-4] It bounds what anybody can make of this, an accept that fails too.
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Its socket, for a successor.
    ///
    /// # Errors
    /// The system has no descriptor.
    pub fn to_owned_fd(&self) -> std::io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Leaves nothing behind.
    pub fn close(&self) {
        if let Err(error) = self.listener.remove_file() {
            tracing::warn!("{}: {error}", self.address);
        }
    }
}

/// The one frame of a connection, if it is a knock.
async fn heard(stream: Stream) -> Option<Knock> {
    let (mut r, _w) = stream.into_split();
    let mut inlet = Inlet::with_capacity(INLET);
    loop {
        match FrameHeader::read(inlet.bytes(), Sender::Target).ok()? {
            Some(header) if header.kind != Kind::Knock => return None,
            Some(header) if inlet.bytes().len() >= header.length() => {
                let body = &inlet.bytes()[HEADER_LENGTH..header.length()];
                header.check_body(body).ok()?;
                return Knock::decode(body).ok();
            }
            Some(_) | None => {
                if inlet.fill(&mut r).await.ok()? == 0 {
                    return None;
                }
            }
        }
    }
}
