//! Backends as their users see them: the same bodies on every one.

mod bench;
mod engines;
mod event_loop;
mod extents;
mod faults;
mod files;
mod model;
mod pool;
mod specs;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lull_block::{
    Backend, BackendSpec, Buffer, Completion, Completions, Context, Extent, IoStatus, Op,
    OpenError, Pool, Request, Workers, open,
};

/// A backend under test, and all that it takes to use it.
struct Bench {
    backend: Arc<dyn Backend>,
    pool: Pool,
    completions: Completions,
}

fn context() -> Context {
    Context { workers: Workers::new(4).unwrap(), lock_wait: Duration::ZERO }
}

fn open_text(text: &str) -> Result<Arc<dyn Backend>, OpenError> {
    open(&text.parse().unwrap(), &context())
}

/// Every kind of backend with room for a megabyte, in `at`.
fn every_backend(at: &Path) -> Vec<String> {
    let at = at.display();
    [
        "mem:1M".into(),
        format!("file:{at}/cached,size=1M"),
        format!("file:{at}/cached-threads,size=1M,engine=threads"),
        format!("file:{at}/direct,size=1M,direct=on"),
        format!("file:{at}/direct-threads,size=1M,direct=on,engine=threads"),
        format!("faulty:delay=50us:file:{at}/late,size=1M"),
        format!("faulty:volatile:file:{at}/volatile,size=1M"),
        "faulty::mem:1M".into(),
    ]
    .into()
}

impl Bench {
    fn open(text: &str) -> Self {
        Self::of(open_text(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    fn of(backend: Arc<dyn Backend>) -> Self {
        event_loop::have();
        Self {
            backend,
            pool: Pool::with_classes(&[(4096, 64), (64 << 10, 16), (1 << 20, 4)]).unwrap(),
            completions: Completions::new(),
        }
    }

    fn buffer(&self, len: usize) -> Buffer {
        let mut buffer = self.pool.take(len).expect("the pool is large enough");
        // What must not be seen by any reader.
        buffer.fill(0xee);
        buffer
    }

    fn request(&self, op: Op, offset: u64, length: u32, tag: u64) -> Request {
        let buffer = match op {
            Op::Read | Op::Write { .. } => self.buffer(length as usize),
            _ => Buffer::empty(),
        };
        Request { op, offset, length, buffer, token: self.completions.token(tag) }
    }

    /// Starts the request and waits for its answer.
    fn run(&self, request: Request) -> Completion {
        let tag = request.token.tag();
        let done = match self.backend.start(request) {
            Some(done) => done,
            None => self.wait(1).pop().unwrap(),
        };
        assert_eq!(done.tag, tag);
        done
    }

    /// Waits for `count` answers that did not come at once.
    fn wait(&self, count: usize) -> Vec<Completion> {
        let mut done = Vec::new();
        while done.len() < count {
            event_loop::until(self.completions.ready());
            self.completions.drain(&mut done);
        }
        done
    }

    fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, IoStatus> {
        let done = self.run(self.request(Op::Read, offset, length, 1));
        done.result.map(|()| done.buffer.to_vec())
    }

    fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<(), IoStatus> {
        let length = data.len() as u32;
        let mut request = self.request(Op::Write { fua }, offset, length, 2);
        request.buffer.copy_from_slice(data);
        self.run(request).result
    }

    /// The range's extents, at most `most` of them.
    fn extents(&self, offset: u64, length: u32, most: usize) -> Result<Vec<Extent>, IoStatus> {
        let buffer = self.buffer(most * Extent::BYTES);
        let token = self.completions.token(4);
        let done = self.run(Request { op: Op::Extents, offset, length, buffer, token });
        done.result.map(|()| Extent::list(&done.buffer).collect())
    }

    fn plain(&self, op: Op, offset: u64, length: u32) -> Result<(), IoStatus> {
        self.run(self.request(op, offset, length, 3)).result
    }

    fn zero(&self, offset: u64, length: u32, keep_allocated: bool) -> Result<(), IoStatus> {
        let op = Op::WriteZeroes { fua: false, keep_allocated, fast: false };
        self.plain(op, offset, length)
    }
}

fn spec(text: &str) -> BackendSpec {
    text.parse().unwrap()
}
