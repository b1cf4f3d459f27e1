//! An NBD server on memory, and the field's tools.

#![allow(dead_code, missing_docs, reason = "each test binary uses its own part")]

pub mod raw;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::thread::JoinHandle;

use lull_frontend::nbd::{
    Closer, Device, Errno, Exports, Extent, Geometry, Limits, Op, OpenRefused, Reply, ServeEnd,
    serve,
};
use lull_transport::{Addr, Listener, Stream};
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

pub const MIB: u64 = 1 << 20;

/// Memory that is counted while it is out.
pub struct Lent {
    bytes: Vec<u8>,
    pool: Rc<Pool>,
}

#[derive(Default)]
struct Pool {
    out: Cell<usize>,
    most_out: Cell<usize>,
    freed: Notify,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Lent {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.out.set(self.pool.out.get() - 1);
        self.pool.freed.notify_one();
    }
}

/// When a device answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Within `submit`.
    AtOnce,
    /// From another task, the later before the earlier.
    LastFirst,
    /// Only when the test says so.
    Held,
}

/// An answer that is given later.
type Later = Box<dyn FnOnce()>;

/// A disk in memory.
pub struct Memory {
    pub geometry: Geometry,
    pub bytes: RefCell<Vec<u8>>,
    pub answers: Cell<Answers>,
    pub fail: Cell<Option<Errno>>,
    pub flushes: Cell<usize>,
    /// Every request that came, in order.
    pub ops: RefCell<Vec<Op>>,
    /// A size that is told while this is `Some`.
    pub size: Cell<Option<u64>>,
    /// What is answered to whoever asks for extents; where it is `None`, what the bytes tell.
    pub extents: RefCell<Option<Vec<Extent>>>,
    pub most_buffers: usize,
    /// What each of them takes of what others need, in bytes; less than its own length counts as that.
    pub footprint: usize,
    /// How many it says are waiting for a buffer.
    pub missed_by: Cell<usize>,
    pool: Rc<Pool>,
    waiting: Rc<RefCell<Vec<Later>>>,
}

impl Memory {
    pub fn new(size: u64) -> Memory {
        Memory {
            geometry: Geometry {
                size,
                block: 512,
                preferred: 4096,
                max_length: 32 << 20,
                read_only: false,
                discard: true,
                write_zeroes: true,
                fast_zeroes: true,
                cache: true,
                extents: true,
                multi_conn: true,
                description: "a disk in memory".into(),
            },
            bytes: RefCell::new(vec![0; size as usize]),
            answers: Cell::new(Answers::AtOnce),
            fail: Cell::new(None),
            flushes: Cell::new(0),
            ops: RefCell::default(),
            size: Cell::new(None),
            extents: RefCell::default(),
            most_buffers: 1024,
            footprint: 0,
            missed_by: Cell::new(usize::MAX),
            pool: Rc::default(),
            waiting: Rc::default(),
        }
    }

    /// Requests that are held.
    pub fn held(&self) -> usize {
        self.waiting.borrow().len()
    }

    pub fn buffers_out(&self) -> usize {
        self.pool.out.get()
    }

    pub fn most_buffers_out(&self) -> usize {
        self.pool.most_out.get()
    }

    /// Answers what is held.
    pub fn release(&self) {
        let waiting = self.waiting.take();
        waiting.into_iter().rev().for_each(|answer| answer());
    }

    /// Drops what is held, as only a broken device does.
    pub fn forget(&self) {
        self.waiting.take();
    }

    fn execute(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Lent>,
    ) -> Result<Option<Lent>, Errno> {
        self.ops.borrow_mut().push(op);
        if let Some(errno) = self.fail.get() {
            return Err(errno);
        }
        let range = offset as usize..offset as usize + length as usize;
        let mut bytes = self.bytes.borrow_mut();
        match (op, buffer) {
            (Op::Read, Some(mut buffer)) => {
                buffer.as_mut().copy_from_slice(&bytes[range]);
                return Ok(Some(buffer));
            }
            (Op::Write { .. }, Some(buffer)) => bytes[range].copy_from_slice(buffer.as_ref()),
            (Op::Discard | Op::WriteZeroes { .. }, None) => bytes[range].fill(0),
            (Op::Extents, Some(mut buffer)) => {
                let known = self.extents.borrow().clone();
                let list = known.unwrap_or_else(|| runs(&bytes[range]));
                let most = buffer.bytes.len() / Extent::BYTES;
                buffer.bytes = list.iter().take(most).flat_map(|extent| extent.encode()).collect();
                return Ok(Some(buffer));
            }
            (Op::Cache, None) => {}
            (Op::Flush, None) => self.flushes.set(self.flushes.get() + 1),
            (op, buffer) => panic!("{op:?} came with the wrong buffer: {}", buffer.is_some()),
        }
        Ok(None)
    }
}

/// Stretches of zeroes and of anything else, by sectors.
fn runs(bytes: &[u8]) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    for sector in bytes.chunks(512) {
        let zero = sector.iter().all(|byte| *byte == 0);
        match runs.last_mut() {
            Some(last) if last.zero == zero => last.length += sector.len() as u64,
            _ => runs.push(Extent { length: sector.len() as u64, hole: zero, zero }),
        }
    }
    runs
}

impl Device for Memory {
    type Buffer = Lent;

    fn geometry(&self) -> Geometry {
        let size = self.size.get().unwrap_or(self.geometry.size);
        Geometry { size, ..self.geometry.clone() }
    }

    fn buffer(&self, length: u32) -> Option<Lent> {
        let out = self.pool.out.get() + 1;
        if out > self.most_buffers {
            return None;
        }
        self.pool.out.set(out);
        self.pool.most_out.set(self.pool.most_out.get().max(out));
        Some(Lent { bytes: vec![0; length as usize], pool: Rc::clone(&self.pool) })
    }

    fn footprint(&self, buffer: &Lent) -> usize {
        self.footprint.max(buffer.bytes.len())
    }

    fn buffer_freed(&self) -> impl Future<Output = ()> {
        self.pool.freed.notified()
    }

    fn waiting(&self) -> usize {
        self.missed_by.get()
    }

    fn submit(&self, op: Op, offset: u64, length: u64, buffer: Option<Lent>, reply: Reply<Lent>) {
        let outcome = self.execute(op, offset, length, buffer);
        match self.answers.get() {
            Answers::AtOnce => reply.done(outcome),
            Answers::Held => self.waiting.borrow_mut().push(Box::new(move || reply.done(outcome))),
            Answers::LastFirst => {
                self.waiting.borrow_mut().push(Box::new(move || reply.done(outcome)));
                let waiting = Rc::clone(&self.waiting);
                tokio::task::spawn_local(async move {
                    tokio::task::yield_now().await;
                    let answer = waiting.borrow_mut().pop();
                    answer.into_iter().for_each(|answer| answer());
                });
            }
        }
    }
}

/// Disks by their names; the first is the default.
pub struct Disks(pub Vec<(String, Rc<Memory>)>);

impl Disks {
    pub fn one(disk: Memory) -> (Rc<Disks>, Rc<Memory>) {
        let disk = Rc::new(disk);
        (Rc::new(Disks(vec![("disk".into(), Rc::clone(&disk))])), disk)
    }
}

impl Exports for Disks {
    type Device = Memory;

    fn list(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    async fn open(&self, name: &str) -> Result<Rc<Memory>, OpenRefused> {
        if name == "guarded" {
            return Err(OpenRefused::Policy("`guarded` is not for you: ask its owner".into()));
        }
        let found = self.0.iter().find(|(known, _)| known == name || name.is_empty());
        let unknown = || OpenRefused::Unknown(format!("no export `{name}`: there is `disk`"));
        found.map(|(_, disk)| Rc::clone(disk)).ok_or_else(unknown)
    }
}

/// Serves one end of a pair and returns the other.
pub fn served(exports: &Rc<Disks>) -> (Stream, Served) {
    served_with(exports, Limits::default())
}

pub fn served_with(exports: &Rc<Disks>, limits: Limits) -> (Stream, Served) {
    let (ours, theirs) = Stream::pair().unwrap();
    let closer = Closer::new();
    let task = tokio::task::spawn_local(serve(theirs, Rc::clone(exports), limits, closer.clone()));
    (ours, Served { closer, task })
}

pub struct Served {
    pub closer: Closer,
    pub task: tokio::task::JoinHandle<Result<(), ServeEnd>>,
}

/// Runs a test on one thread, as the daemons do.
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// A server for other processes, in a thread of its own until dropped.
pub struct Server {
    pub addr: Addr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a disk of `size` bytes, 8 KiB of 0x5a at its start.
    pub fn start(addr: &str, size: u64, answers: Answers) -> Server {
        let addr: Addr = addr.parse().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            local(async move {
                let listener = Listener::bind(&addr).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let disk = Memory::new(size);
                disk.answers.set(answers);
                disk.bytes.borrow_mut()[..8192].fill(0x5a);
                let (exports, _) = Disks::one(disk);
                let accepting = async {
                    loop {
                        let stream = listener.accept().await.unwrap();
                        let serving =
                            serve(stream, Rc::clone(&exports), Limits::default(), Closer::new());
                        tokio::task::spawn_local(serving);
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = accepting => {}
                }
            });
        });
        Server { addr: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// The disk's URI for other tools.
    pub fn uri(&self) -> String {
        let addr = self.addr.clone();
        lull_frontend::nbd::Uri { addr, export: "disk".into() }.to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(JoinHandle::join);
        if let (Some(Err(_)), false) = (ended, std::thread::panicking()) {
            panic!("the server panicked");
        }
    }
}

/// Runs a tool that must be there and must succeed; returns what it printed.
pub fn tool(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}\n{said}\n{complained}",
        output.status
    );
    said
}

pub fn run(name: &str, arguments: &[&str]) -> Output {
    // A tool that hangs is a failure, not a test without end.
    let command = Command::new("timeout").args(["60", name]).args(arguments).output().unwrap();
    assert_ne!(command.status.code(), Some(127), "{name} must be installed for this test");
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file of `size` bytes that no two blocks of are alike.
pub fn patterned(directory: &Path, name: &str, size: u64) -> PathBuf {
    let path = directory.join(name);
    let bytes: Vec<u8> =
        (0..size / 8).flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    path
}
