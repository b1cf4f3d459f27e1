//! From one guest to another over vsock, by way of their host: vsock itself knows a guest and its host only.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A host that passes on what one of its guests dials at it to another one, as `socat` does between two addresses.
///
/// It has to know whether that one is there: where anything comes for a guest whose queues are not ready, one that
/// reboots for instance, the lab's carrier (`vhost-device-vsock` 0.3) ends the thread that serves it, without a word, and
/// nothing reaches or leaves this guest any more until its QEMU ends.
#[derive(Debug)]
pub struct Passage {
    open: Arc<AtomicBool>,
}

impl Passage {
    /// From the unix socket `near`, which one guest's dials reach, to `port` behind `far`, that of the other guest.
    pub(super) fn open(near: &Path, far: PathBuf, port: u32) -> Self {
        let listener = UnixListener::bind(near).expect("a socket of the passage");
        let open = Arc::new(AtomicBool::new(true));
        let is_open = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // Otherwise whoever dialled meets the end at once.
                if is_open.load(Ordering::SeqCst) {
                    let far = far.clone();
                    std::thread::spawn(move || pass(near, &far, port));
                }
            }
        });
        Self { open }
    }

    /// Lets nobody through any more; who is through stays.
    pub fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    /// Ends a [`Passage::shut`].
    pub fn reopen(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// Serves one connection. Errors are ends of it, like any other.
fn pass(near: UnixStream, far: &Path, port: u32) -> Option<()> {
    let mut far = UnixStream::connect(far).ok()?;
    far.write_all(format!("CONNECT {port}\n").as_bytes()).ok()?;
    // "OK" and a number, byte by byte: what comes behind it is the guest's.
    let mut byte = [0];
    while byte != *b"\n" {
        far.read_exact(&mut byte).ok()?;
    }
    let (near_too, far_too) = (near.try_clone().ok()?, far.try_clone().ok()?);
    std::thread::spawn(move || carry(near_too, far_too));
    carry(far, near);
    Some(())
}

/// Carries one direction; its end is that of both, since the carrier knows no other.
fn carry(mut from: UnixStream, mut to: UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = [from, to].map(|end| end.shutdown(Shutdown::Both));
}
