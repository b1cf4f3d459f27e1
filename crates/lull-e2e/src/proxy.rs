//! A proxy between initiators and a target that knows where one message ends and the next begins, and cuts or stops a
//! connection there, once, when it is told to.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use lull_wire::{FrameHeader, Kind, Sender};

use crate::wait::{PROMPT, wait_until};
pub use stop::Mark;
use stop::{ClientEnd, Ending, Stops};

mod stop;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// Where in a message a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Half of it has been passed on.
    Within,
    /// All of it has been passed on.
    After,
}

/// A message, counted within its kind from the PAUSE on after which the proxy was told to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth {
    /// Its kind, of which only one side sends it where that matters.
    pub kind: Kind,
    /// Which of its kind, from 1.
    pub number: u32,
}

/// One loss of a connection.
pub type Cut = (Nth, Place);

/// What passes, and what is to be done about it.
#[derive(Debug, Default)]
struct Watch {
    /// The proxy was told to look.
    looks: bool,
    /// What is to be cut and has not been.
    cuts: Vec<Cut>,
    /// A PAUSE has passed since the proxy was told to look.
    paused: bool,
    /// Each message since, in the order in which they passed.
    seen: Vec<Nth>,
}

/// A proxy on unix sockets; connections through it end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: PathBuf,
    watch: Mutex<Watch>,
    stops: Stops,
    connections: Mutex<Vec<UnixStream>>,
    ended: AtomicBool,
}

impl Proxy {
    /// A proxy at `path` before the target that listens at `upstream` (`unix:/path`).
    pub fn start(path: PathBuf, upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("unix:").expect("a target on a unix socket");
        let listener = UnixListener::bind(&path).expect("the proxy's socket");
        let shared = Arc::new(Shared {
            upstream: PathBuf::from(upstream),
            watch: Mutex::default(),
            stops: Stops::default(),
            connections: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                // Where the target is not there, its client is to see that.
                if let Ok(target) = UnixStream::connect(&accepting.upstream) {
                    connect(&accepting, client, target);
                }
            }
        });
        Self { path, shared }
    }

    /// Its address, in the form of the command line.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Looks anew at what passes from the next PAUSE on, and cuts there, each once.
    pub fn arm(&self, cuts: &[Cut]) {
        *self.shared.watch.lock().expect("watch") =
            Watch { looks: true, cuts: cuts.to_vec(), ..Watch::default() };
    }

    /// Counts messages from now on, and stops at this one.
    pub fn stop_at(&self, mark: Mark) {
        self.shared.stops.at(mark);
    }

    /// Waits until it has come; what else its sender sends on that connection waits in the proxy from then on.
    #[track_caller]
    pub fn wait_stopped(&self) {
        wait_until("the message at which the proxy stops", PROMPT, || self.shared.stops.is_here());
    }

    /// What was stopped goes on; returns when what was held back has been passed on. Whether anybody was there to take it.
    pub fn go_on(&self) -> bool {
        self.shared.stops.end(false)
    }

    /// The initiator's side of the stopped connection is lost; the target hears nothing of that until [`Self::go_on`].
    #[track_caller]
    pub fn lose_stopped(&self) {
        self.shared.stops.lose_client();
    }

    /// Cuts every connection that there is now, the stopped one too.
    pub fn cut_all(&self) {
        for connection in self.shared.connections.lock().expect("connections").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.shared.stops.end(true);
    }

    /// Whether all cuts have happened.
    pub fn has_cut(&self) -> bool {
        self.shared.watch.lock().expect("watch").cuts.is_empty()
    }

    /// What has passed since the PAUSE, both directions together.
    pub fn seen(&self) -> Vec<Nth> {
        self.shared.watch.lock().expect("watch").seen.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which looks at the flag. It may be gone.
        let _ = UnixStream::connect(Path::new(&self.path));
        self.cut_all();
    }
}

fn connect(shared: &Arc<Shared>, client: UnixStream, target: UnixStream) {
    let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
    let mut connections = shared.connections.lock().expect("connections");
    connections.extend([clone(&client), clone(&target)]);
    let end = ClientEnd { stream: Arc::new(clone(&client)), lost: Arc::default() };
    for (from, to, sender) in
        [(clone(&client), clone(&target), Sender::Initiator), (target, client, Sender::Target)]
    {
        let (shared, end) = (Arc::clone(shared), end.clone());
        std::thread::spawn(move || pump(&shared, from, to, sender, &end));
    }
}

/// What is done with bytes that have come.
enum Then {
    /// So many are passed on.
    Pass(usize),
    /// So many, and the connection is cut.
    Cut(usize),
    /// So many, and the rest waits.
    Stop(usize),
}

/// Passes on what one side sends until it ends or is cut.
fn pump(
    shared: &Shared,
    mut from: UnixStream,
    mut to: UnixStream,
    sender: Sender,
    client: &ClientEnd,
) {
    let mut held = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let Ok(count @ 1..) = from.read(&mut chunk) else {
            // The other direction goes on until its own end, as it would without a proxy.
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        held.extend_from_slice(&chunk[..count]);
        let mut ending: Option<Ending<'_>> = None;
        loop {
            let then = look(shared, &held, sender);
            let (Then::Pass(passing) | Then::Cut(passing) | Then::Stop(passing)) = then;
            let failed = to.write_all(&held[..passing]).is_err();
            // What the target says to one whose loss it is not to hear of goes nowhere.
            let unheard = sender == Sender::Target && client.lost.load(Ordering::SeqCst);
            if (failed && !unheard) || matches!(then, Then::Cut(_)) {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            held.drain(..passing);
            if let Some(ending) = ending.take() {
                ending.taken();
            }
            let Then::Stop(_) = then else { break };
            ending = shared.stops.wait(client);
            if ending.is_none() {
                return;
            }
        }
    }
}

/// How many of these bytes may pass, and what then. Only whole messages pass.
fn look(shared: &Shared, held: &[u8], sender: Sender) -> Then {
    let mut watch = shared.watch.lock().expect("watch");
    let mut at = 0;
    while let Some(header) = FrameHeader::read(&held[at..], sender).expect("a message of ours") {
        let length = header.length() + header.payload.length as usize;
        if held.len() - at < length {
            break;
        }
        if let Some(passes) = shared.stops.meets(header.kind, &held[at..at + header.length()]) {
            return Then::Stop(if passes { at + length } else { at });
        }
        match watch.passes(header.kind) {
            Some(Place::Within) => return Then::Cut(at + length / 2),
            Some(Place::After) => return Then::Cut(at + length),
            None => at += length,
        }
    }
    Then::Pass(at)
}

impl Watch {
    /// Notes a message; where it is to be cut.
    fn passes(&mut self, kind: Kind) -> Option<Place> {
        self.paused |= self.looks && kind == Kind::Pause;
        if !self.paused {
            return None;
        }
        let earlier = self.seen.iter().filter(|nth| nth.kind == kind).count();
        let nth = Nth { kind, number: earlier as u32 + 1 };
        self.seen.push(nth);
        let at = self.cuts.iter().position(|(cut, _)| *cut == nth)?;
        Some(self.cuts.swap_remove(at).1)
    }
}
