//! A backend that lets another one fail and dawdle, for tests of those who use it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::volatile::Volatile;
use crate::{
    Backend, Completion, Completions, FaultySpec, Geometry, IoStatus, Op, OpenError, Request, Span,
    Waiting,
};

pub(crate) struct Faulty {
    faults: Arc<Faults>,
    inner: Arc<dyn Backend>,
    /// The way to the thread that delays; `None` without a delay.
    late: Option<mpsc::Sender<Late>>,
}

struct Faults {
    spec: FaultySpec,
    flushes: AtomicU64,
    /// Flushes that came, those that hang included.
    asked: AtomicU64,
    /// Loses what it was given when a flush fails, as a page cache does.
    volatile: Option<Arc<Volatile>>,
}

/// A request to be started later, and where its answer goes.
struct Late {
    request: Request,
    home: Completions,
}

impl Faulty {
    pub(crate) fn new(
        spec: FaultySpec,
        inner: Arc<dyn Backend>,
        volatile: Option<Arc<Volatile>>,
    ) -> Result<Self, OpenError> {
        let faults = Arc::new(Faults {
            spec,
            flushes: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            volatile,
        });
        let mut late = None;
        if !faults.spec.delay.is_zero() {
            let (sender, receiver) = mpsc::channel();
            let (faults, to) = (Arc::clone(&faults), Arc::clone(&inner));
            thread::Builder::new()
                .name("lull-faulty".into())
                .spawn(move || dawdle(&receiver, faults.spec.delay, &faults, &*to))
                .map_err(|source| OpenError::Io {
                    path: PathBuf::from(inner.describe()),
                    doing: "start a thread for",
                    source,
                })?;
            late = Some(sender);
        }
        Ok(Self { faults, inner, late })
    }
}

impl Faulty {
    /// Begins a request after a span, in a thread of its own: nothing else waits for it.
    fn hang(&self, span: Duration, request: Request, home: Completions) -> Option<Completion> {
        let (faults, inner) = (Arc::clone(&self.faults), Arc::clone(&self.inner));
        let begun = thread::Builder::new().name("lull-hanging".into()).spawn(move || {
            thread::sleep(span);
            if let Some(completion) = faults.start(request, &*inner) {
                home.push(completion);
            }
        });
        // A request that could not be moved there is gone with its token; nobody tests without threads.
        begun.map(|_| None).expect("a thread for a request that is to hang")
    }
}

/// Starts each request one to two delays after it came. It needs no clock: what arrives during
/// one sleep is started after the next.
fn dawdle(late: &mpsc::Receiver<Late>, delay: Duration, faults: &Faults, inner: &dyn Backend) {
    while let Ok(first) = late.recv() {
        let mut batch = vec![first];
        batch.extend(late.try_iter());
        thread::sleep(delay);
        for Late { request, home } in batch {
            if let Some(completion) = faults.start(request, inner) {
                home.push(completion);
            }
        }
    }
}

impl Faults {
    fn start(&self, request: Request, inner: &dyn Backend) -> Option<Completion> {
        match self.fault(&request) {
            Some(status) => Some(request.finish(Err(status))),
            None => inner.start(request),
        }
    }

    /// How long this request is to hang.
    fn hang(&self, request: &Request) -> Option<Duration> {
        let (number, span) = self.spec.hang_flush?;
        let flush = matches!(request.op, Op::Flush);
        (flush && self.asked.fetch_add(1, Ordering::Relaxed) + 1 == number).then_some(span)
    }

    fn fault(&self, request: &Request) -> Option<IoStatus> {
        let touches = |span: Option<Span>| {
            let Some(span) = span else { return false };
            let end = request.offset.saturating_add(request.length.into());
            request.offset < span.offset.saturating_add(span.length) && span.offset < end
        };
        match request.op {
            Op::Read => touches(self.spec.fail_reads).then_some(IoStatus::Io),
            Op::Extents | Op::ReadAhead => None,
            Op::Flush => {
                let number = self.flushes.fetch_add(1, Ordering::Relaxed) + 1;
                let fails = self.spec.fail_flush == Some(number)
                    || self.spec.fail_flush_after.is_some_and(|n| number > n);
                if let Some(volatile) = self.volatile.as_ref().filter(|_| fails) {
                    volatile.lose();
                }
                fails.then_some(IoStatus::WriteBackFailed)
            }
            Op::Write { .. } | Op::Discard | Op::WriteZeroes { .. } => {
                touches(self.spec.fail_writes).then_some(IoStatus::Io)
            }
        }
    }
}

impl Backend for Faulty {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn engine(&self) -> &'static str {
        "faulty"
    }

    fn describe(&self) -> String {
        format!("faulty:{}:{}", self.faults.spec, self.inner.describe())
    }

    fn start(&self, request: Request) -> Option<Completion> {
        if let (Some(span), Some(home)) = (self.faults.hang(&request), request.token.completions())
        {
            return self.hang(span, request, home);
        }
        let (Some(late), Some(home)) = (&self.late, request.token.completions()) else {
            return self.faults.start(request, &*self.inner);
        };
        match late.send(Late { request, home }) {
            Ok(()) => None,
            // Only if that thread has panicked.
            Err(mpsc::SendError(back)) => Some(back.request.finish(Err(IoStatus::Faulted))),
        }
    }

    fn waiting(&self) -> Option<Waiting> {
        self.inner.waiting()
    }

    fn start_write_back(&self) {
        self.inner.start_write_back();
    }

    fn renew(&self) {
        self.inner.renew();
    }

    fn give_back(&self, on: bool) {
        self.inner.give_back(on);
    }

    fn identity(&self) -> Option<[u8; 16]> {
        self.inner.identity()
    }

    fn device(&self) -> Option<String> {
        self.inner.device()
    }

    fn set_identity(&self, identity: [u8; 16]) -> io::Result<()> {
        self.inner.set_identity(identity)
    }
}
