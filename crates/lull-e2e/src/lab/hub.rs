//! The network between guests: what one sends is given to all others, or to the one that it is for.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};

/// Frames that wait for one guest; beyond it they are lost, as on any network.
const WAITING: usize = 1024;

/// The longest frame that QEMU gives, in bytes.
const LONGEST: usize = 128 * 1024;

type Mac = [u8; 6];

/// A switch whose cables can be pulled.
#[derive(Clone, Debug, Default)]
pub(super) struct Hub {
    ports: Arc<Mutex<Vec<Port>>>,
}

#[derive(Debug)]
struct Port {
    /// The way to the guest, while its QEMU runs.
    frames: Option<SyncSender<Vec<u8>>>,
    /// Sender addresses that were seen here.
    macs: BTreeSet<Mac>,
    unplugged: Arc<AtomicBool>,
}

/// A guest's place at the switch.
#[derive(Clone, Debug)]
pub(super) struct Cable {
    unplugged: Arc<AtomicBool>,
}

impl Cable {
    /// Pulls it: nothing passes any more, and nobody is told. Or puts it back.
    pub(super) fn unplug(&self, unplugged: bool) {
        self.unplugged.store(unplugged, Ordering::Relaxed);
    }
}

impl Hub {
    /// A place for one guest, whose QEMU connects to `socket`, again after each start.
    pub(super) fn port(&self, socket: &Path) -> Cable {
        let unplugged = Arc::new(AtomicBool::new(false));
        let number = {
            let mut ports = self.lock();
            ports.push(Port {
                frames: None,
                macs: BTreeSet::new(),
                unplugged: Arc::clone(&unplugged),
            });
            ports.len() - 1
        };
        let listener = UnixListener::bind(socket).expect("a socket of the hub");
        let hub = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                hub.connected(number, stream);
            }
        });
        Cable { unplugged }
    }

    /// Serves one life of a guest.
    fn connected(&self, number: usize, stream: UnixStream) {
        let (sender, receiver) = sync_channel(WAITING);
        let Ok(out) = stream.try_clone() else { return };
        std::thread::spawn(move || deliver(&receiver, out));
        self.lock()[number].frames = Some(sender);
        let hub = self.clone();
        std::thread::spawn(move || {
            hub.forward(number, stream);
        });
    }

    /// Takes what a guest sends until its QEMU ends.
    fn forward(&self, from: usize, mut stream: UnixStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let length = u32::from_be_bytes(length) as usize;
            let mut frame = vec![0; length];
            if length > LONGEST || stream.read_exact(&mut frame).is_err() {
                return;
            }
            self.spread(from, &frame);
        }
    }

    fn spread(&self, from: usize, frame: &[u8]) {
        let (Some(to), Some(by)) = (mac(frame, 0), mac(frame, 6)) else { return };
        let mut ports = self.lock();
        if ports[from].unplugged.load(Ordering::Relaxed) {
            return;
        }
        ports[from].macs.insert(by);
        let known = ports.iter().position(|port| port.macs.contains(&to));
        for (number, port) in ports.iter().enumerate() {
            let meant = known.is_none_or(|known| known == number);
            if number == from || !meant || port.unplugged.load(Ordering::Relaxed) {
                continue;
            }
            // Full or gone: lost.
            let _ = port.frames.as_ref().map(|frames| frames.try_send(frame.to_vec()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Port>> {
        self.ports.lock().expect("the hub's ports")
    }
}

fn mac(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}

/// Gives a guest what is meant for it.
fn deliver(frames: &Receiver<Vec<u8>>, mut out: UnixStream) {
    while let Ok(frame) = frames.recv() {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend(frame);
        if out.write_all(&bytes).is_err() {
            return;
        }
    }
}
