//! A way between initiators and a target that lets so many bytes through in a second, or none.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Bytes that pass at once.
const PIECE: usize = 16 * 1024;

/// A way on unix sockets; connections through it end when it is dropped.
#[derive(Debug)]
pub struct Narrow {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: PathBuf,
    /// How long a piece takes, in each direction of each connection.
    each: Duration,
    blocked: Mutex<bool>,
    opened: Condvar,
    passed: AtomicU64,
    connections: Mutex<Vec<UnixStream>>,
    ended: AtomicBool,
}

impl Narrow {
    /// A way at `path` to the target that listens at `upstream` (`unix:/path`), as wide as so many bytes in a second.
    pub fn start(path: PathBuf, upstream: &str, bytes_per_second: u32) -> Self {
        let upstream = upstream.strip_prefix("unix:").expect("a target on a unix socket");
        let listener = UnixListener::bind(&path).expect("the way's socket");
        let shared = Arc::new(Shared {
            upstream: PathBuf::from(upstream),
            each: Duration::from_secs(1) * PIECE as u32 / bytes_per_second,
            blocked: Mutex::default(),
            opened: Condvar::new(),
            passed: AtomicU64::new(0),
            connections: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(target) = UnixStream::connect(&accepting.upstream) {
                    connect(&accepting, &client, &target);
                }
            }
        });
        Self { path, shared }
    }

    /// Its address, in the form of the command line.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// How many connections have gone this way.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().expect("connections").len() / 2
    }

    /// How many bytes have passed, of all connections in both directions.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }

    /// Whether nothing passes from now on; nobody hears of that.
    pub fn block(&self, blocked: bool) {
        *self.shared.blocked.lock().expect("whether it is blocked") = blocked;
        self.shared.opened.notify_all();
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which looks at the flag. It may be gone.
        let _ = UnixStream::connect(&self.path);
        for connection in self.shared.connections.lock().expect("connections").iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.block(false);
    }
}

fn connect(shared: &Arc<Shared>, client: &UnixStream, target: &UnixStream) {
    let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
    let mut connections = shared.connections.lock().expect("connections");
    connections.extend([clone(client), clone(target)]);
    for (from, to) in [(client, target), (target, client)] {
        let (shared, from, to) = (Arc::clone(shared), clone(from), clone(to));
        std::thread::spawn(move || pump(&shared, from, to));
    }
}

/// Passes on what one side sends until it ends.
fn pump(shared: &Shared, mut from: UnixStream, mut to: UnixStream) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        std::thread::sleep(shared.each * count as u32 / PIECE as u32);
        let blocked = shared.blocked.lock().expect("whether it is blocked");
        drop(shared.opened.wait_while(blocked, |blocked| *blocked).expect("whether it is blocked"));
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        shared.passed.fetch_add(count as u64, Ordering::SeqCst);
    }
    // The other direction goes on until its own end.
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}
