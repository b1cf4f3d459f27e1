//! A backend in this process's memory, lost with it.
//!
//! Allocated by chunks as they are written, given back by discards. Each chunk has its own lock,
//! so that requests from several threads meet only where their ranges do.

use std::io;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use crate::extents::Writing;
use crate::{Backend, Completion, Extent, Geometry, IoStatus, MAX_PAYLOAD, Op, Request};

const CHUNK: u64 = 64 << 10;

/// `None` reads as zeroes.
type Chunk = RwLock<Option<Box<[u8]>>>;

pub(crate) struct Memory {
    size: u64,
    chunks: Box<[Chunk]>,
}

impl Memory {
    pub(crate) fn new(size: u64) -> Self {
        let chunks = (0..size.div_ceil(CHUNK)).map(|_| RwLock::new(None));
        Self { size, chunks: chunks.collect() }
    }

    /// What a memory backend of `size` bytes is.
    pub(crate) fn geometry_of(size: u64) -> Geometry {
        Geometry {
            size,
            block: 512,
            preferred: 4096,
            max_length: MAX_PAYLOAD,
            discard: true,
            write_zeroes: true,
            read_only: false,
        }
    }

    pub(crate) fn read(&self, offset: u64, mut into: &mut [u8]) {
        for (chunk, part) in pieces(offset, into.len() as u64) {
            let (head, tail) = into.split_at_mut(part.len());
            let held = self.chunks[chunk].read().unwrap_or_else(PoisonError::into_inner);
            match &*held {
                Some(bytes) => head.copy_from_slice(&bytes[part]),
                None => head.fill(0),
            }
            into = tail;
        }
    }

    pub(crate) fn write(&self, offset: u64, mut from: &[u8]) -> Result<(), IoStatus> {
        for (chunk, part) in pieces(offset, from.len() as u64) {
            let (head, tail) = from.split_at(part.len());
            let mut held = self.chunks[chunk].write().unwrap_or_else(PoisonError::into_inner);
            match &mut *held {
                Some(bytes) => bytes[part].copy_from_slice(head),
                None => held.insert(zeroed_chunk()?)[part].copy_from_slice(head),
            }
            from = tail;
        }
        Ok(())
    }

    pub(crate) fn zero(
        &self,
        offset: u64,
        length: u32,
        keep_allocated: bool,
    ) -> Result<(), IoStatus> {
        for (chunk, part) in pieces(offset, length.into()) {
            let mut held = self.chunks[chunk].write().unwrap_or_else(PoisonError::into_inner);
            match &mut *held {
                Some(_) if part.len() as u64 == CHUNK && !keep_allocated => *held = None,
                Some(bytes) => bytes[part].fill(0),
                None if keep_allocated => *held = Some(zeroed_chunk()?),
                None => {}
            }
        }
        Ok(())
    }

    /// Lists what is held of the range; returns the list's length in bytes.
    fn extents(&self, offset: u64, length: u32, into: &mut [u8]) -> usize {
        let mut list = Writing::new(into);
        for (chunk, part) in pieces(offset, length.into()) {
            let held = self.chunks[chunk].read().unwrap_or_else(PoisonError::into_inner).is_some();
            let length = part.len() as u64;
            if !list.push(if held { Extent::data(length) } else { Extent::hole(length) }) {
                break;
            }
        }
        list.finish()
    }

    /// Bytes held now.
    #[cfg(test)]
    fn allocated(&self) -> u64 {
        let held = self.chunks.iter().filter(|c| c.read().unwrap().is_some());
        held.count() as u64 * CHUNK
    }
}

/// One chunk of zeroes; an error rather than an abort when the process may not have more.
fn zeroed_chunk() -> Result<Box<[u8]>, IoStatus> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(CHUNK as usize).map_err(|_| IoStatus::NoMemory)?;
    bytes.resize(CHUNK as usize, 0);
    Ok(bytes.into())
}

/// The chunks that a range touches, each with the part of it that lies in the range.
fn pieces(offset: u64, length: u64) -> impl Iterator<Item = (usize, Range<usize>)> {
    let end = offset + length;
    (offset / CHUNK..end.div_ceil(CHUNK)).map(move |chunk| {
        let start = chunk * CHUNK;
        let from = offset.max(start) - start;
        let to = end.min(start + CHUNK) - start;
        (chunk as usize, from as usize..to as usize)
    })
}

impl Backend for Memory {
    fn geometry(&self) -> Geometry {
        Self::geometry_of(self.size)
    }

    fn engine(&self) -> &'static str {
        "memory"
    }

    fn describe(&self) -> String {
        format!("mem:{}", crate::size::Shown(self.size))
    }

    fn start(&self, mut request: Request) -> Option<Completion> {
        let result = request.check(&self.geometry()).and_then(|()| match request.op {
            Op::Read => {
                self.read(request.offset, &mut request.buffer);
                Ok(())
            }
            Op::Extents => {
                let list = self.extents(request.offset, request.length, &mut request.buffer);
                request.buffer.truncate(list);
                Ok(())
            }
            Op::Write { .. } => self.write(request.offset, &request.buffer),
            Op::ReadAhead | Op::Flush => Ok(()),
            Op::Discard => self.zero(request.offset, request.length, false),
            // Always fast: less than receiving the zeroes would be.
            Op::WriteZeroes { keep_allocated, .. } => {
                self.zero(request.offset, request.length, keep_allocated)
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discard_gives_memory_back() {
        let memory = Memory::new(1 << 20);
        memory.write(0, &[1; 3 << 16]).unwrap();
        assert_eq!(memory.allocated(), 3 * CHUNK);
        memory.zero(512, 2 << 16, false).unwrap();
        assert_eq!(memory.allocated(), 2 * CHUNK);
        memory.zero(0, 1 << 20, true).unwrap();
        assert_eq!(memory.allocated(), 1 << 20);
    }
}
