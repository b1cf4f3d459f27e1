//! Where a backend is tried out.

use std::sync::Arc;

use lull_block::{Backend, Buffer, Completion, Completions, Extent, IoStatus, Op, Pool, Request};

use crate::{event_loop, open_text};

/// A backend under test, and all that it takes to use it.
pub struct Bench {
    pub backend: Arc<dyn Backend>,
    pub pool: Pool,
    pub completions: Completions,
}

impl Bench {
    pub fn open(text: &str) -> Self {
        Self::of(open_text(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    pub fn of(backend: Arc<dyn Backend>) -> Self {
        event_loop::have();
        Self {
            backend,
            pool: Pool::with_classes(&[(4096, 64), (64 << 10, 16), (1 << 20, 4)]).unwrap(),
            completions: Completions::new(),
        }
    }

    pub fn buffer(&self, len: usize) -> Buffer {
        let mut buffer = self.pool.take(len).expect("the pool is large enough");
        // What must not be seen by any reader.
        buffer.fill(0xee);
        buffer
    }

    pub fn request(&self, op: Op, offset: u64, length: u32, tag: u64) -> Request {
        let buffer = match op {
            Op::Read | Op::Write { .. } => self.buffer(length as usize),
            _ => Buffer::empty(),
        };
        Request { op, offset, length, buffer, token: self.completions.token(tag) }
    }

    /// Starts the request and waits for its answer.
    pub fn run(&self, request: Request) -> Completion {
        let tag = request.token.tag();
        let done = match self.backend.start(request) {
            Some(done) => done,
            None => self.wait(1).pop().unwrap(),
        };
        assert_eq!(done.tag, tag);
        done
    }

    /// Waits for `count` answers that did not come at once.
    pub fn wait(&self, count: usize) -> Vec<Completion> {
        let mut done = Vec::new();
        while done.len() < count {
            event_loop::until(self.completions.ready());
            self.completions.drain(&mut done);
        }
        done
    }

    pub fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, IoStatus> {
        let done = self.run(self.request(Op::Read, offset, length, 1));
        done.result.map(|()| done.buffer.to_vec())
    }

    pub fn write(&self, offset: u64, data: &[u8], fua: bool) -> Result<(), IoStatus> {
        let length = data.len() as u32;
        let mut request = self.request(Op::Write { fua }, offset, length, 2);
        request.buffer.copy_from_slice(data);
        self.run(request).result
    }

    /// The range's extents, at most `most` of them.
    pub fn extents(&self, offset: u64, length: u32, most: usize) -> Result<Vec<Extent>, IoStatus> {
        let buffer = self.buffer(most * Extent::BYTES);
        let token = self.completions.token(4);
        let done = self.run(Request { op: Op::Extents, offset, length, buffer, token });
        done.result.map(|()| Extent::list(&done.buffer).collect())
    }

    pub fn plain(&self, op: Op, offset: u64, length: u32) -> Result<(), IoStatus> {
        self.run(self.request(op, offset, length, 3)).result
    }

    pub fn zero(&self, offset: u64, length: u32, keep_allocated: bool) -> Result<(), IoStatus> {
        let op = Op::WriteZeroes { fua: false, keep_allocated, fast: false };
        self.plain(op, offset, length)
    }
}
