//! A server of ours that can be killed, started again and asked what it saw.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use lull_frontend::nbd::{
    Closer, Device, Errno, Exports, Geometry, Limits, Op, OpenRefused, Reply, serve,
};
use lull_transport::{Addr, Listener};
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

/// How long a test waits for what must come.
const PROMPT: Duration = Duration::from_secs(20);

/// A disk that outlives its servers.
#[derive(Clone)]
pub struct Disk(Arc<(Mutex<State>, Condvar)>);

pub struct State {
    pub bytes: Vec<u8>,
    pub size: u64,
    /// Requests are carried out and not answered.
    pub hold: bool,
    /// Every request is answered with this.
    pub fail: Option<Errno>,
    /// What came, in order, since it was last looked at.
    pub seen: Vec<(Op, u64)>,
    /// Connections that use it.
    pub users: usize,
}

impl Disk {
    pub fn new(size: u64) -> Self {
        let (bytes, seen) = (vec![0; size as usize], Vec::new());
        let state = State { bytes, size, hold: false, fail: None, seen, users: 0 };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    /// Changes something, and tells those who wait.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.0.1.notify_all();
        result
    }

    /// Waits until the disk is so.
    pub fn wait(&self, what: &str, mut so: impl FnMut(&mut State) -> bool) {
        let waited = self.0.1.wait_timeout_while(self.state(), PROMPT, |state| !so(state)).unwrap();
        assert!(!waited.1.timed_out(), "{what}: {:?}", waited.0.seen);
    }

    /// Waits until so many requests have come since the last look, and takes them.
    pub fn wait_seen(&self, count: usize) -> Vec<(Op, u64)> {
        self.wait(&format!("{count} requests come"), |state| state.seen.len() >= count);
        std::mem::take(&mut self.state().seen)
    }
}

struct Open(Disk);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.with(|state| state.users -= 1);
    }
}

impl Device for Open {
    type Buffer = Vec<u8>;

    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.0.state().size,
            block: 512,
            preferred: 4096,
            max_length: 1 << 20,
            read_only: false,
            discard: true,
            write_zeroes: true,
            fast_zeroes: false,
            cache: false,
            extents: false,
            multi_conn: false,
            description: String::new(),
        }
    }

    fn buffer(&self, length: u32) -> Option<Vec<u8>> {
        Some(vec![0; length as usize])
    }

    fn buffer_freed(&self) -> impl Future<Output = ()> {
        std::future::pending()
    }

    fn submit(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<Vec<u8>>,
        reply: Reply<Vec<u8>>,
    ) {
        let held = self.0.with(|state| {
            state.seen.push((op, offset));
            let range = offset as usize..offset as usize + length as usize;
            let mut back = None;
            match (op, buffer) {
                (Op::Read, Some(mut buffer)) => {
                    buffer.copy_from_slice(&state.bytes[range]);
                    back = Some(buffer);
                }
                (Op::Write { .. }, Some(buffer)) => state.bytes[range].copy_from_slice(&buffer),
                (Op::Discard | Op::WriteZeroes { .. }, _) => state.bytes[range].fill(0),
                _ => {}
            }
            (state.hold, state.fail.map_or(Ok(back), Err))
        });
        match held {
            (false, result) => reply.done(result),
            (true, result) => REPLIES.with_borrow_mut(|replies| replies.push((reply, result))),
        }
    }
}

type Answer = (Reply<Vec<u8>>, Result<Option<Vec<u8>>, Errno>);

thread_local! {
    /// What is not answered, on the server's thread.
    static REPLIES: RefCell<Vec<Answer>> = const { RefCell::new(Vec::new()) };
}

struct Shelf(Disk);

impl Exports for Shelf {
    type Device = Open;

    fn list(&self) -> Vec<String> {
        vec!["disk".into()]
    }

    async fn open(&self, name: &str) -> Result<Rc<Open>, OpenRefused> {
        if name != "disk" {
            return Err(OpenRefused::Unknown(format!("no export `{name}`")));
        }
        self.0.with(|state| state.users += 1);
        Ok(Rc::new(Open(self.0.clone())))
    }
}

/// A server of one disk, `disk`, which runs until it is dropped.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    release: Arc<Notify>,
    disk: Disk,
    thread: Option<JoinHandle<()>>,
    pub uri: String,
}

impl Server {
    /// Starts it at a socket of this path.
    pub fn start(path: &Path, disk: &Disk) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let (release, for_thread) = (Arc::new(Notify::new()), disk.clone());
        let (addr, released) = (Addr::Unix(path.to_owned()), Arc::clone(&release));
        // What a killed predecessor left.
        let _ = std::fs::remove_file(path);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = Listener::bind(&addr).await.unwrap();
                tell.send(()).unwrap();
                tokio::select! {
                    _ = stopped => {}
                    () = accept(&listener, for_thread) => {}
                    () = answer_released(&released) => {}
                }
                // As when it is killed: nothing is answered any more.
                REPLIES.take().into_iter().for_each(|(reply, _)| reply.abandon());
            });
        });
        told.recv().unwrap();
        let uri = format!("nbd+unix:///disk?socket={}", path.display());
        Self { stop: Some(stop), release, disk: disk.clone(), thread: Some(thread), uri }
    }

    /// Answers what is held, and holds nothing more.
    pub fn release(&self) {
        self.disk.state().hold = false;
        self.release.notify_one();
    }

    /// Ends it as a crash does: every connection is cut.
    pub fn kill(self) {}
}

async fn accept(listener: &Listener, disk: Disk) {
    let shelf = Rc::new(Shelf(disk));
    loop {
        let stream = listener.accept().await.unwrap();
        tokio::task::spawn_local(serve(
            stream,
            Rc::clone(&shelf),
            Limits::default(),
            Closer::new(),
        ));
    }
}

async fn answer_released(release: &Notify) {
    loop {
        release.notified().await;
        REPLIES.take().into_iter().for_each(|(reply, result)| reply.done(result));
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

thread_local! {
    static RUNNING: RefCell<Vec<Server>> = const { RefCell::new(Vec::new()) };
}

/// A server that ends with the calling thread; its disk has a megabyte.
pub fn for_this_thread(at: &Path) -> String {
    let server = Server::start(&at.join("ours"), &Disk::new(1 << 20));
    let uri = server.uri.clone();
    RUNNING.with_borrow_mut(|running| running.push(server));
    uri
}
