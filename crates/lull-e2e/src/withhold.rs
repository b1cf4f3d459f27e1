//! A proxy that keeps a target's RESUME back for as long as it is told to: the target is there and does not say
//! "go ahead".

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lull_wire::{FrameHeader, Kind, Sender};

/// A proxy on unix sockets. Everything passes at once but RESUME while it is closed.
#[derive(Debug)]
pub struct Withhold {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gate: Mutex<Gate>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    /// What was kept back, and to whom it goes.
    kept: Vec<(UnixStream, Vec<u8>)>,
}

impl Withhold {
    /// An open proxy at `path` before the target that listens at `upstream` (`unix:/path`).
    pub fn start(path: PathBuf, upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("unix:").expect("a target on a unix socket");
        let upstream = PathBuf::from(upstream);
        let listener = UnixListener::bind(&path).expect("the proxy's socket");
        let shared = Arc::new(Shared { gate: Mutex::default(), ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // Where the target is not there, its client is to see that.
                if let Ok(target) = UnixStream::connect(&upstream) {
                    let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
                    let (client_in, target_out) = (clone(&client), clone(&target));
                    std::thread::spawn(move || pass_all(client_in, target_out));
                    let shared = Arc::clone(&accepting);
                    std::thread::spawn(move || pass_most(&shared, target, client));
                }
            }
        });
        Self { path, shared }
    }

    /// Its address, in the form of the command line.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// From now on RESUME is kept back.
    pub fn close(&self) {
        self.shared.gate.lock().expect("the gate").closed = true;
    }

    /// What was kept back goes on its way, and RESUME passes from now on.
    pub fn open(&self) {
        let mut gate = self.shared.gate.lock().expect("the gate");
        gate.closed = false;
        for (mut to, message) in gate.kept.drain(..) {
            // That connection may have ended meanwhile.
            let _ = to.write_all(&message);
        }
    }

    /// Whether a RESUME is kept back now.
    pub fn keeps_any(&self) -> bool {
        !self.shared.gate.lock().expect("the gate").kept.is_empty()
    }
}

impl Drop for Withhold {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which looks at the flag. It may be gone.
        let _ = UnixStream::connect(Path::new(&self.path));
    }
}

fn pass_all(mut from: UnixStream, mut to: UnixStream) {
    // Either side's end is the end of both.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

fn pass_most(shared: &Shared, mut from: UnixStream, mut to: UnixStream) {
    let mut held = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        held.extend_from_slice(&chunk[..count]);
        while let Some(length) = whole(&held) {
            let message: Vec<u8> = held.drain(..length.0).collect();
            let mut gate = shared.gate.lock().expect("the gate");
            if gate.closed && length.1 == Kind::Resume {
                gate.kept.push((to.try_clone().expect("a descriptor"), message));
            } else if to.write_all(&message).is_err() {
                let _ = from.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Length and kind of the first message, if all of it is here.
fn whole(held: &[u8]) -> Option<(usize, Kind)> {
    let header = FrameHeader::read(held, Sender::Target).expect("a message of ours")?;
    let length = header.length() + header.payload.length as usize;
    (held.len() >= length).then_some((length, header.kind))
}
