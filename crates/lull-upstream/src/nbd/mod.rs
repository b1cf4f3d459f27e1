//! Any NBD server as a medium.
//!
//! ```text
//! any thread        a thread of its own
//! start() ─▶ inbox ─▶ link ─▶ connection ═══ server
//!                      │  ▲         │ lost
//! completions ◀────────┘  └─ held ◀─┘
//! ```
//!
//! The [`link`] takes requests in the order of their arrival and has any number of them outstanding, but never two
//! changes that overlap. When the connection is lost it keeps all that were not answered, dials, and sends them again in
//! that order. What may be told to be durable is decided in [`durable`].

mod dial;
mod durable;
mod export;
mod link;
mod memory;
mod ranges;

use crate::Notify;
use crate::health::Health;
use crate::inbox::{Inbox, Reader};
use link::Link;
use lull_block::{Backend, Completion, Geometry, IoStatus, RemoteSpec, Request, Waiting};
use lull_frontend::nbd::Uri;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// An export of an NBD server.
pub(crate) struct Nbd {
    uri: String,
    geometry: Geometry,
    inbox: Arc<Inbox>,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

impl Nbd {
    /// Connects, trying for as long as `patience` lasts. Blocks meanwhile.
    pub(crate) fn open(
        uri: Uri,
        spec: &RemoteSpec,
        patience: Duration,
        notify: Notify,
    ) -> Result<Self, String> {
        let name = uri.to_string();
        let inbox = Arc::new(Inbox::default());
        let health = Arc::new(Health::new(name.clone()));
        let asked =
            link::Asked { uri, read_only: spec.read_only, write_through: spec.write_through };
        let (tell, told) = mpsc::sync_channel(1);
        let (for_link, health_of_link) = (Arc::clone(&inbox), Arc::clone(&health));
        let run = move || {
            let opened = |result| {
                // Whoever opens waits for it.
                let _ = tell.send(result);
            };
            run(asked, patience, notify, for_link, health_of_link, opened);
        };
        let spawned = thread::Builder::new().name("lull-nbd".into()).spawn(run);
        let thread = spawned.map_err(|error| format!("{name}: its thread: {error}"))?;
        let opened = told.recv().unwrap_or_else(|_| Err("its thread ended".to_owned()));
        match opened {
            Ok(geometry) => Ok(Self { uri: name, geometry, inbox, health, thread: Some(thread) }),
            Err(why) => Err(format!("{name}: {why}")),
        }
    }
}

/// The thread's life.
fn run(
    asked: link::Asked,
    patience: Duration,
    notify: Notify,
    inbox: Arc<Inbox>,
    health: Arc<Health>,
    opened: impl FnOnce(Result<Geometry, String>),
) {
    let _reader = Reader(Arc::clone(&inbox));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return opened(Err(format!("its runtime: {error}"))),
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match Link::open(asked, patience, notify, inbox, health).await {
            Ok((link, conn)) => {
                opened(Ok(link.geometry()));
                Rc::new(link).live(conn).await;
            }
            Err(why) => opened(Err(why)),
        }
    });
    drop(local);
    // A name that is still being resolved is nobody's concern any more.
    runtime.shutdown_background();
}

impl Backend for Nbd {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn engine(&self) -> &'static str {
        "nbd"
    }

    fn describe(&self) -> String {
        self.uri.clone()
    }

    fn start(&self, request: Request) -> Option<Completion> {
        if let Err(status) = request.check(&self.geometry) {
            return Some(request.finish(Err(status)));
        }
        // Given back only if that thread has panicked.
        self.inbox.push(request).map(|back| back.finish(Err(IoStatus::Faulted)))
    }

    fn renew(&self) {
        self.inbox.renew();
    }

    fn give_back(&self, on: bool) {
        self.inbox.give_back(on);
    }

    fn waiting(&self) -> Option<Waiting> {
        self.health.waiting()
    }

    /// NBD has no word for it but a flush, which would consume an error.
    fn start_write_back(&self) {}

    /// [SAFE-8] An export has no lasting name of its own: its address stands for it, so that another address is noticed.
    /// What lies there may be exchanged unnoticed.
    fn identity(&self) -> Option<[u8; 16]> {
        Some(fnv(self.uri.as_bytes()).to_be_bytes())
    }

    fn set_identity(&self, _: [u8; 16]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// [SAFE-6] Nothing of it is left when it is gone: the connection is closed before this returns.
impl Drop for Nbd {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed.
            let _ = thread.join();
        }
    }
}

/// FNV-1a of 128 bits: it never changes, and nobody gains by a collision.
fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_an_address_never_changes() {
        // [SAFE-8] It is kept in state directories. The values are those of the algorithm's authors.
        assert_eq!(fnv(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        assert_ne!(fnv(b"nbd://localhost/a"), fnv(b"nbd://localhost/b"));
    }
}
