//! Whole faces on a disk in memory: one end of a socket is ours, the bytes come from the other.

use crate::bytes::Bytes;
use crate::nbd::{SIZE, geometry};
use lull_frontend::fuse::{self, Channel, Owner};
use lull_frontend::nbd::client::Connection;
use lull_frontend::nbd::{
    Closer, Device, Exports, Extent, Geometry, Limits, Op, OpenRefused, Reply, serve,
};
use lull_transport::Stream;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::task::{LocalSet, spawn_local};

/// A disk that answers at once.
pub(crate) struct Disk {
    bytes: RefCell<Vec<u8>>,
    lent: Rc<Cell<usize>>,
}

/// Memory of a request, which is counted.
pub(crate) struct Lent(Vec<u8>, Rc<Cell<usize>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Lent {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { bytes: RefCell::new(vec![0; SIZE as usize]), lent: Rc::default() }
    }
}

impl Disk {
    /// Buffers that are out.
    pub(crate) fn lent(&self) -> usize {
        self.lent.get()
    }
}

impl Device for Disk {
    type Buffer = Lent;

    fn geometry(&self) -> Geometry {
        geometry()
    }

    fn buffer(&self, length: u32) -> Option<Lent> {
        assert!(u64::from(length) <= 2 * SIZE, "[SEC-4] {length} bytes for one request");
        self.lent.set(self.lent.get() + 1);
        Some(Lent(vec![0; length as usize], Rc::clone(&self.lent)))
    }

    async fn buffer_freed(&self) {}

    fn submit(&self, op: Op, offset: u64, length: u64, buffer: Option<Lent>, reply: Reply<Lent>) {
        let end = offset.checked_add(length).filter(|end| *end <= SIZE);
        let (from, to) = (offset as usize, end.expect("a range inside the disk") as usize);
        assert!(offset.is_multiple_of(512) && length.is_multiple_of(512), "whole blocks");
        let mut bytes = self.bytes.borrow_mut();
        let answer = match (op, buffer) {
            (Op::Read, Some(mut buffer)) => {
                buffer.as_mut().copy_from_slice(&bytes[from..to]);
                Some(buffer)
            }
            (Op::Write { .. }, Some(buffer)) => {
                bytes[from..to].copy_from_slice(buffer.as_ref());
                None
            }
            (Op::WriteZeroes { .. } | Op::Discard, None) => {
                bytes[from..to].fill(0);
                None
            }
            (Op::Extents, Some(mut buffer)) => {
                let hole = from % 8192 == 0;
                let extent = Extent { length: length.min(4096), hole, zero: hole };
                buffer.0 = extent.encode().to_vec();
                Some(buffer)
            }
            (Op::Flush | Op::Cache, None) => None,
            (op, buffer) => panic!("{op:?} with a buffer: {}", buffer.is_some()),
        };
        drop(bytes);
        reply.done(Ok(answer));
    }
}

struct One(Rc<Disk>);

impl Exports for One {
    type Device = Disk;

    fn list(&self) -> Vec<String> {
        vec!["disk".into()]
    }

    async fn open(&self, name: &str) -> Result<Rc<Disk>, OpenRefused> {
        match name {
            "" | "disk" => Ok(Rc::clone(&self.0)),
            _ => Err(OpenRefused::Unknown("there is only `disk`".into())),
        }
    }
}

pub(crate) fn run(what: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, what);
}

/// All that a client says to our server.
pub fn nbd_serve(bytes: &[u8]) {
    run(async {
        let disk = Rc::new(Disk::new());
        let (ours, theirs) = Stream::pair().expect("a pair of sockets");
        let (mut r, mut w) = theirs.into_split();
        let hearing = spawn_local(async move { copy(&mut r, &mut sink()).await });
        let one = Rc::new(One(Rc::clone(&disk)));
        let serving = spawn_local(serve(ours, one, Limits::default(), Closer::new()));
        let _ = w.write_all(bytes).await;
        drop(w);
        let _ = serving.await.expect("a server that does not panic");
        let _ = hearing.await;
        assert_eq!(disk.lent.get(), 0, "buffers that nobody gave back");
    });
}

/// All that a server says to our client, behind a handshake in which its first byte chooses.
pub fn nbd_use(bytes: &[u8]) {
    let Some((choice, said)) = bytes.split_first() else { return };
    let simple = choice & 1 == 0;
    run(async {
        let (ours, theirs) = Stream::pair().expect("a pair of sockets");
        let (mut r, mut w) = theirs.into_split();
        let said = said.to_vec();
        let server = spawn_local(async move {
            let mut all = Vec::new();
            if simple {
                all.extend(b"NBDMAGICIHAVEOPT\0\x02");
                all.extend(SIZE.to_be_bytes());
                all.extend([0, 0xff]);
            }
            all.extend(&said);
            let _ = w.write_all(&all).await;
            drop(w);
            let mut heard = Vec::new();
            let _ = r.read_to_end(&mut heard).await;
        });
        if let Ok(connection) = Connection::over(ours, "disk").await {
            let all = [connection.clone(), connection.clone(), connection.clone()];
            let [read, write, zero] = all;
            let asked = [
                spawn_local(async move { drop(read.read(0, vec![0; 512]).await) }),
                spawn_local(async move { drop(write.write(512, vec![7; 512], false).await) }),
                spawn_local(async move { drop(zero.write_zeroes(0, 512, false, true).await) }),
            ];
            let _ = connection.flush().await;
            for asked in asked {
                asked.await.expect("a client that does not panic");
            }
            drop(connection);
        }
        let _ = server.await;
    });
}

/// The kernel's messages to a mounted file: each is two bytes of its length and itself.
pub fn fuse(bytes: &[u8]) {
    run(async {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets");
        let disk = Rc::new(Disk::new());
        let mut from = Bytes::new(bytes);
        // As many as the socket takes while nobody reads it.
        for _ in 0..64 {
            if from.is_over() {
                break;
            }
            let length = usize::from(u16::from_le_bytes(from.array()));
            let message = from.take(length);
            // An empty one is the end.
            if message.is_empty()
                || rustix::net::send(&theirs, message, SendFlags::DONTWAIT).is_err()
            {
                break;
            }
        }
        let owner = Owner { uid: 0, gid: 0, mode: 0o600 };
        let channel = Rc::new(Channel::new(ours, owner).expect("a channel"));
        let closer = Closer::new();
        let serving = spawn_local(fuse::serve(channel, Rc::clone(&disk), closer.clone()));
        let mut answer = vec![0; 2 * SIZE as usize];
        for turn in 0u64.. {
            // The last message is answered last; again, since an answer that finds no room is lost.
            if turn.is_multiple_of(256) {
                let _ = rustix::net::send(&theirs, &farewell(), SendFlags::DONTWAIT);
            }
            let heard = rustix::net::recv(&theirs, &mut *answer, RecvFlags::DONTWAIT);
            let last = heard.is_ok_and(|_| answer[8..16] == LAST.to_ne_bytes());
            if last || serving.is_finished() {
                break;
            }
            tokio::task::yield_now().await;
        }
        closer.close();
        let _ = serving.await.expect("a file that does not panic");
        assert_eq!(disk.lent.get(), 0, "buffers that nobody gave back");
    });
}

/// What no other message is called.
const LAST: u64 = 0x6c61_7374_6c61_7374;

/// DESTROY, which is answered and changes nothing.
fn farewell() -> [u8; 40] {
    let mut message = [0; 40];
    message[..4].copy_from_slice(&40u32.to_ne_bytes());
    message[4..8].copy_from_slice(&38u32.to_ne_bytes());
    message[8..16].copy_from_slice(&LAST.to_ne_bytes());
    message
}
