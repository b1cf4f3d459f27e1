//! A backend without a medium: swallows writes, reads as zeroes. For measuring everything else.

use std::io;

use crate::extents::Writing;
use crate::{Backend, Completion, Extent, Geometry, MAX_PAYLOAD, Op, Request};

pub(crate) struct Null {
    size: u64,
}

impl Null {
    pub(crate) fn new(size: u64) -> Self {
        Self { size }
    }
}

impl Backend for Null {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: self.size,
            block: 512,
            preferred: 4096,
            max_length: MAX_PAYLOAD,
            discard: true,
            write_zeroes: true,
            read_only: false,
        }
    }

    fn engine(&self) -> &'static str {
        "null"
    }

    fn describe(&self) -> String {
        format!("null:{}", crate::size::Shown(self.size))
    }

    fn start(&self, mut request: Request) -> Option<Completion> {
        let result = request.check(&self.geometry());
        match request.op {
            _ if result.is_err() => {}
            Op::Read => request.buffer.fill(0),
            Op::Extents => {
                let mut list = Writing::new(&mut request.buffer);
                list.push(Extent::hole(self.size - request.offset));
                let length = list.finish();
                request.buffer.truncate(length);
            }
            Op::Write { .. } | Op::ReadAhead | Op::Flush | Op::Discard | Op::WriteZeroes { .. } => {
            }
        }
        Some(request.finish(result))
    }

    fn start_write_back(&self) {}

    fn identity(&self) -> Option<[u8; 16]> {
        None
    }

    fn set_identity(&self, _: [u8; 16]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
