//! TCP ports that a target can have again after a restart, and no other test meanwhile.

use std::fs::File;
use std::net::TcpListener;

/// Below the kernel's own choice for outgoing connections, above what services are given.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that belongs to its holder: others of this harness keep off it until it is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: File,
}

impl Port {
    /// A port on which nobody listens now.
    pub(crate) fn reserve() -> Self {
        let dir = std::env::temp_dir().join("lull-e2e-ports");
        std::fs::create_dir_all(&dir).expect("a directory for the ports' locks");
        let start = (std::process::id() as u16).wrapping_mul(31) % COUNT;
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            let lock = File::create(dir.join(number.to_string())).expect("a port's lock");
            if lock.try_lock().is_err() || TcpListener::bind(("127.0.0.1", number)).is_err() {
                continue;
            }
            return Self { number, _lock: lock };
        }
        panic!("no free port from {FIRST} to {}", FIRST + COUNT);
    }
}
