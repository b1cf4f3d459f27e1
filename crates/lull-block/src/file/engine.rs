//! Which of a file's operations run on the caller's thread, which in its ring, which on a worker.
//!
//! | what | where |
//! | --- | --- |
//! | reads that the page cache can answer | caller (`RWF_NOWAIT`) |
//! | buffered writes, where the file system takes `RWF_NOWAIT` | caller |
//! | other page-aligned buffered writes, while the kernel throttles nobody | caller, see [`Gate`] |
//! | anything in a memory file system, but flushes and zeroes | caller |
//! | reads and writes with `direct=on`, other cached ones unless they are long, flushes | ring |
//! | everything else | worker |
//!
//! Without a ring its row is the worker's too.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::durable::{Durable, Entered};
use super::gate::Gate;
use super::medium::{Attempt, Medium};
use super::ring;
use crate::workers::{Answers, Lane, Outcome, Work, Workers};
use crate::{Backend, Completion, Geometry, IoStatus, Op, Request};

/// The longest read or write done on the caller's thread, in bytes. Longer ones are copies long
/// enough to be felt by the other sessions on that thread; a worker's wake-up does not matter then.
const INLINE_MAX: u32 = 512 << 10;

const PAGE: u64 = 4096;

/// An open file or block device.
pub(crate) struct FileBackend {
    home: Arc<Home>,
    path: PathBuf,
}

/// Who does what the caller's thread does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// The ring of the caller's thread, and workers for what a ring cannot do.
    Ring,
    /// Workers, as it was asked for.
    Threads,
    /// Workers, since the kernel permits this process no ring.
    NoRing,
}

/// What a job needs that is on its way, wherever that leads.
pub(super) struct Home {
    core: Arc<Core>,
    lane: Lane<Core>,
}

struct Core {
    medium: Medium,
    geometry: Geometry,
    in_memory: bool,
    engine: Engine,
    /// False once the file system has said that it cannot.
    nowait_reads: AtomicBool,
    nowait_writes: AtomicBool,
    gate: Gate,
    durable: Durable<Request>,
    writing_back: AtomicBool,
}

/// Work that is not done on the caller's thread.
pub(super) enum Job {
    /// Carry it out; a durable change then goes to the durable queue.
    Do(Request),
    /// A durable write that has claimed the one durable call.
    WriteThrough(Request),
    /// One sync for all of these, which has claimed the one durable call.
    Sync(Vec<Request>),
    WriteBack,
}

impl Job {
    /// The request whose buffer this fills or stores; `None` where it moves no data.
    pub(super) fn transfer(&self) -> Option<&Request> {
        match self {
            Self::Do(request) | Self::WriteThrough(request) => Some(request),
            Self::Sync(_) | Self::WriteBack => None,
        }
    }

    /// The same, to be changed.
    pub(super) fn transfer_mut(&mut self) -> Option<&mut Request> {
        match self {
            Self::Do(request) | Self::WriteThrough(request) => Some(request),
            Self::Sync(_) | Self::WriteBack => None,
        }
    }
}

impl FileBackend {
    pub(super) fn new(
        medium: Medium,
        geometry: Geometry,
        path: PathBuf,
        in_memory: bool,
        engine: Engine,
        workers: &Workers,
    ) -> Self {
        let cached = !medium.direct() && !in_memory;
        let core = Arc::new(Core {
            medium,
            geometry,
            in_memory,
            engine,
            nowait_reads: AtomicBool::new(cached),
            nowait_writes: AtomicBool::new(cached),
            gate: Gate::new(),
            durable: Durable::new(),
            writing_back: AtomicBool::new(false),
        });
        let lane = workers.lane(Arc::clone(&core));
        Self { home: Arc::new(Home { core, lane }), path }
    }

    /// Has the job done elsewhere.
    fn send(&self, job: Job) {
        let job = match self.home.core.fits_ring(&job) {
            true => ring::start(&self.home, job),
            false => Err(job),
        };
        if let Err(job) = job {
            self.home.by_worker(job);
        }
    }
}

impl Home {
    pub(super) fn medium(&self) -> &Medium {
        &self.core.medium
    }

    pub(super) fn by_worker(&self, job: Job) {
        self.lane.send(job);
    }

    /// What follows from how a job ended that a ring has done.
    pub(super) fn settle(&self, job: Job, result: Result<(), IoStatus>) -> Outcome<Job> {
        self.core.settle(job, result)
    }
}

impl Core {
    /// Tries to finish the request on the caller's thread. `None`: it needs a worker.
    fn inline(&self, request: &mut Request) -> Option<Result<(), IoStatus>> {
        let copied = match request.op {
            Op::Extents | Op::ReadAhead => 0,
            _ => request.length,
        };
        if self.medium.direct() || copied > INLINE_MAX {
            return None;
        }
        match request.op {
            Op::Read if self.in_memory => {
                Some(self.medium.read(request.offset, &mut request.buffer))
            }
            Op::Read => self.read_inline(request.offset, &mut request.buffer),
            Op::Write { .. } => self.write_inline(request.offset, &request.buffer),
            Op::Extents if self.in_memory => Some(self.extents(request)),
            // It is in memory already.
            Op::ReadAhead if self.in_memory => Some(Ok(())),
            Op::ReadAhead | Op::Extents | Op::Flush | Op::Discard | Op::WriteZeroes { .. } => None,
        }
    }

    fn read_inline(&self, offset: u64, into: &mut [u8]) -> Option<Result<(), IoStatus>> {
        if !self.nowait_reads.load(Ordering::Relaxed) {
            return None;
        }
        match self.medium.read_nowait(offset, into) {
            Attempt::Done => Some(Ok(())),
            Attempt::WouldBlock => None,
            Attempt::Unsupported => {
                self.nowait_reads.store(false, Ordering::Relaxed);
                None
            }
            // A worker's attempt tells a passing failure from a lasting one.
            Attempt::Failed(_) => None,
        }
    }

    fn write_inline(&self, offset: u64, from: &[u8]) -> Option<Result<(), IoStatus>> {
        if self.nowait_writes.load(Ordering::Relaxed) {
            match self.medium.write_nowait(offset, from) {
                Attempt::Done => return Some(Ok(())),
                Attempt::WouldBlock | Attempt::Failed(_) => return None,
                Attempt::Unsupported => self.nowait_writes.store(false, Ordering::Relaxed),
            }
        }
        let length = from.len() as u64;
        // Part of a page may have to be read first.
        let whole_pages = offset.is_multiple_of(PAGE) && length.is_multiple_of(PAGE);
        if self.in_memory || (whole_pages && self.gate.admits(length)) {
            return Some(self.medium.write(offset, from, false));
        }
        None
    }

    fn extents(&self, request: &mut Request) -> Result<(), IoStatus> {
        let range = request.offset..request.offset + u64::from(request.length);
        let list = self.medium.extents(range, &self.geometry, &mut request.buffer)?;
        request.buffer.truncate(list);
        Ok(())
    }

    /// After the one durable call: lets the next in, and tells everybody.
    fn after_durable(&self, result: Result<(), IoStatus>, served: Vec<Request>) -> Outcome<Job> {
        if result == Err(IoStatus::WriteBackFailed) {
            // [SAFE-4] From here on no other call begins: it would succeed about pages that are gone.
            let mut told = served;
            told.extend(self.durable.leave_failed());
            return Outcome { next: None, answers: Answers::Many(told, result) };
        }
        let waited = self.durable.leave();
        Outcome {
            next: (!waited.is_empty()).then_some(Job::Sync(waited)),
            answers: Answers::Many(served, result),
        }
    }

    fn perform(&self, request: &mut Request) -> Result<(), IoStatus> {
        let (offset, length) = (request.offset, u64::from(request.length));
        match request.op {
            Op::Read => self.medium.read(offset, &mut request.buffer),
            Op::Write { .. } => self.medium.write(offset, &request.buffer, false),
            Op::Extents => self.extents(request),
            Op::Flush => Ok(()),
            Op::Discard => self.medium.discard(offset, length),
            Op::WriteZeroes { keep_allocated, fast, .. } => {
                self.medium.write_zeroes(offset, length, keep_allocated, fast)
            }
            Op::ReadAhead => {
                self.medium.read_ahead(offset, length);
                Ok(())
            }
        }
    }
}

impl Core {
    /// Whether a ring does the job at least as well as a worker.
    fn fits_ring(&self, job: &Job) -> bool {
        if self.engine != Engine::Ring || (self.in_memory && !self.medium.direct()) {
            return false;
        }
        match job {
            // A long copy from or to the page cache would be made on the event loop's thread.
            Job::Do(one) | Job::WriteThrough(one) => {
                matches!(one.op, Op::Read | Op::Write { .. })
                    && (self.medium.direct() || one.length <= INLINE_MAX)
            }
            Job::Sync(_) => true,
            Job::WriteBack => false,
        }
    }

    /// What follows from how a job ended.
    fn settle(&self, job: Job, result: Result<(), IoStatus>) -> Outcome<Job> {
        match (job, result) {
            (Job::Do(request), Ok(())) if needs_sync(request.op) => {
                match self.durable.enter(request) {
                    Entered::Alone(one) => {
                        Outcome { next: Some(Job::Sync(vec![one])), answers: Answers::None }
                    }
                    Entered::Waits => Outcome { next: None, answers: Answers::None },
                    Entered::Failed(one) => {
                        let answers = Answers::One(one, Err(IoStatus::Faulted));
                        Outcome { next: None, answers }
                    }
                }
            }
            (Job::Do(request), result) => {
                Outcome { next: None, answers: Answers::One(request, result) }
            }
            (Job::WriteThrough(request), result) => self.after_durable(result, vec![request]),
            (Job::Sync(all), result) => self.after_durable(result, all),
            (Job::WriteBack, _) => Outcome { next: None, answers: Answers::None },
        }
    }
}

impl Work for Core {
    type Job = Job;

    fn run(&self, mut job: Job) -> Outcome<Job> {
        let result = match &mut job {
            Job::Do(request) => self.perform(request),
            Job::WriteThrough(request) => self.medium.write(request.offset, &request.buffer, true),
            Job::Sync(_) => self.medium.sync(),
            Job::WriteBack => {
                // Cleared first: what is written from here on may need another round.
                self.writing_back.store(false, Ordering::Release);
                self.medium.start_write_back();
                Ok(())
            }
        };
        self.settle(job, result)
    }
}

/// Whether the request is answered only after a sync that follows it.
fn needs_sync(op: Op) -> bool {
    match op {
        Op::Flush => true,
        Op::Write { fua } | Op::WriteZeroes { fua, .. } => fua,
        Op::Read | Op::ReadAhead | Op::Discard | Op::Extents => false,
    }
}

impl Backend for FileBackend {
    fn geometry(&self) -> Geometry {
        self.home.core.geometry
    }

    fn engine(&self) -> &'static str {
        let core = &self.home.core;
        match (core.medium.direct(), core.in_memory, core.engine) {
            (true, _, Engine::Ring) => "io_uring, direct",
            (true, _, Engine::Threads) => "threads, direct",
            (true, _, Engine::NoRing) => "threads, direct (io_uring is not permitted here)",
            (false, true, _) => "memory file system",
            (false, false, Engine::Ring) => "page cache, io_uring behind",
            (false, false, Engine::Threads) => "page cache, threads behind",
            (false, false, Engine::NoRing) => {
                "page cache, threads behind (io_uring is not permitted here)"
            }
        }
    }

    fn describe(&self) -> String {
        format!("file:{}", crate::spec::escaped(&self.path))
    }

    fn start(&self, mut request: Request) -> Option<Completion> {
        if let Err(status) = request.check(&self.home.core.geometry) {
            return Some(request.finish(Err(status)));
        }
        // [SAFE-4] After a failed write-back nothing is durable until the file is opened again. What
        // is not asked to be durable goes on.
        if needs_sync(request.op) && self.home.core.durable.has_failed() {
            return Some(request.finish(Err(IoStatus::Faulted)));
        }
        // [SAFE-4] a lone durable write is one call; where another durable call runs already, it
        // is written like any other and shares the next sync.
        if request.op == (Op::Write { fua: true }) && self.home.core.durable.claim() {
            self.send(Job::WriteThrough(request));
            return None;
        }
        if request.op != Op::Flush {
            match self.home.core.inline(&mut request) {
                None => {
                    self.send(Job::Do(request));
                    return None;
                }
                Some(Ok(())) if needs_sync(request.op) => {}
                Some(result) => return Some(request.finish(result)),
            }
        }
        match self.home.core.durable.enter(request) {
            Entered::Alone(one) => self.send(Job::Sync(vec![one])),
            Entered::Waits => {}
            Entered::Failed(one) => return Some(one.finish(Err(IoStatus::Faulted))),
        }
        None
    }

    fn renew(&self) {
        self.home.core.durable.renew();
    }

    fn start_write_back(&self) {
        if self.home.core.medium.direct() || self.home.core.geometry.read_only {
            return;
        }
        if !self.home.core.writing_back.swap(true, Ordering::AcqRel) {
            self.send(Job::WriteBack);
        }
    }

    fn identity(&self) -> Option<[u8; 16]> {
        self.home.core.medium.identity()
    }

    fn device(&self) -> Option<String> {
        self.home.core.medium.device()
    }

    fn set_identity(&self, identity: [u8; 16]) -> io::Result<()> {
        if self.home.core.geometry.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.home.core.medium.set_identity(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::inspect::{self, Kind};
    use crate::{Buffer, Completions, IoLoop};

    /// Starts it and waits for its answer.
    async fn run(backend: &FileBackend, op: Op, length: u32) -> Result<(), IoStatus> {
        let completions = Completions::new();
        let pool = crate::Pool::with_classes(&[(4096, 1)]).unwrap();
        let buffer = if length > 0 { pool.take(4096).unwrap() } else { Buffer::empty() };
        let token = completions.token(1);
        let request = Request { op, offset: 0, length, buffer, token };
        if let Some(done) = backend.start(request) {
            return done.result;
        }
        completions.ready().await;
        let mut done = Vec::new();
        completions.drain(&mut done);
        done.pop().unwrap().result
    }

    /// [SAFE-4] The kernel reports lost pages once: no later call may answer for them.
    async fn nothing_is_durable_after_a_failure(engine: Engine) {
        // A socket: the kernel syncs none.
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let medium = Medium::new(socket.into(), Kind::Regular, false);
        let geometry = inspect::geometry(1 << 20, 512, false);
        let workers = Workers::new(2).unwrap();
        let backend = FileBackend::new(medium, geometry, "disk".into(), false, engine, &workers);
        assert_eq!(run(&backend, Op::Flush, 0).await, Err(IoStatus::WriteBackFailed));
        for (op, length) in [
            (Op::Flush, 0),
            (Op::Write { fua: true }, 4096),
            (Op::WriteZeroes { fua: true, keep_allocated: false, fast: false }, 4096),
            (Op::Flush, 0),
        ] {
            assert_eq!(run(&backend, op, length).await, Err(IoStatus::Faulted), "{op:?}");
        }
    }

    /// [SAFE-4] Of two calls that can consume a write-back error the other one would succeed about what is gone.
    #[test]
    fn a_durable_write_waits_while_another_durable_call_runs() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let medium = Medium::new(file.into(), Kind::Regular, false);
        let geometry = inspect::geometry(1 << 20, 512, false);
        let workers = Workers::new(1).unwrap();
        let backend =
            FileBackend::new(medium, geometry, "disk".into(), true, Engine::Threads, &workers);
        let completions = Completions::new();
        let mut buffer = crate::Pool::with_classes(&[(4096, 1)]).unwrap().take(4096).unwrap();
        buffer.fill(1);
        let token = completions.token(1);
        let request =
            Request { op: Op::Write { fua: true }, offset: 0, length: 4096, buffer, token };
        assert!(backend.home.core.durable.claim(), "one runs");
        assert!(backend.start(request).is_none());
        let mut waits = backend.home.core.durable.leave();
        assert_eq!(waits.len(), 1, "it shares the next one");
        assert_eq!(waits.remove(0).finish(Ok(())).result, Ok(()));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn after_a_failed_write_back_nothing_is_durable_until_the_file_is_opened_again() {
        nothing_is_durable_after_a_failure(Engine::Threads).await;
        let ring = IoLoop::start().expect("this test needs io_uring, which is not permitted here");
        tokio::select! {
            never = ring.run() => match never {},
            () = nothing_is_durable_after_a_failure(Engine::Ring) => {}
        }
    }
}
