//! A file behind a write cache that dies with the process: what a power cut does to a disk, done by a signal. For tests
//! of those who must not lose anything to it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Memory;
use crate::{Backend, Completion, Geometry, IoStatus, Op, OpenError, Request};

/// What is written to the file together, in bytes.
const PAGE: u64 = 4096;

pub(crate) struct Volatile {
    /// Keeps the lock, and says what the file is.
    inner: Arc<dyn Backend>,
    file: File,
    cache: Memory,
    /// Pages of the cache that the file may not have yet.
    dirty: Mutex<BTreeSet<u64>>,
}

impl Volatile {
    /// Reads the whole of the file that `inner` serves.
    pub(crate) fn new(inner: Arc<dyn Backend>, path: &Path) -> Result<Self, OpenError> {
        let wrong =
            |doing| move |source| OpenError::Io { path: PathBuf::from(path), doing, source };
        let file = File::options().read(true).write(true).open(path).map_err(wrong("open"))?;
        let size = inner.geometry().size;
        let cache = Memory::new(size);
        let mut page = [0; PAGE as usize];
        for offset in (0..size).step_by(PAGE as usize) {
            let page = &mut page[..(size - offset).min(PAGE) as usize];
            file.read_exact_at(page, offset).map_err(wrong("read"))?;
            if page.iter().any(|byte| *byte != 0) && cache.write(offset, page).is_err() {
                return Err(OpenError::TooLarge { size });
            }
        }
        Ok(Self { inner, file, cache, dirty: Mutex::default() })
    }

    fn pages(offset: u64, length: u64) -> std::ops::Range<u64> {
        offset / PAGE..(offset + length).div_ceil(PAGE)
    }

    fn changed(&self, offset: u64, length: u32) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.extend(Self::pages(offset, length.into()));
    }

    fn store(&self, pages: impl Iterator<Item = u64>) -> Result<(), IoStatus> {
        let failed = |_| IoStatus::WriteBackFailed;
        let mut page = [0; PAGE as usize];
        for offset in pages.map(|page| page * PAGE) {
            let page = &mut page[..(self.geometry().size - offset).min(PAGE) as usize];
            self.cache.read(offset, page);
            self.file.write_all_at(page, offset).map_err(failed)?;
        }
        self.file.sync_data().map_err(failed)
    }

    /// What was not stored is gone.
    pub(crate) fn lose(&self) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = [0; PAGE as usize];
        for offset in std::mem::take(&mut *dirty).into_iter().map(|page| page * PAGE) {
            let page = &mut page[..(self.geometry().size - offset).min(PAGE) as usize];
            if self.file.read_exact_at(page, offset).is_ok() {
                // It had room for the page before.
                let _ = self.cache.write(offset, page);
            }
        }
    }

    fn after_change(&self, request: &Request, fua: bool) -> Result<(), IoStatus> {
        // Only now: a flush takes the mark, and must find the bytes.
        self.changed(request.offset, request.length);
        if fua { self.store(Self::pages(request.offset, request.length.into())) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), IoStatus> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = std::mem::take(&mut *dirty);
        drop(dirty);
        self.store(pages.into_iter())
    }
}

impl Backend for Volatile {
    fn geometry(&self) -> Geometry {
        Geometry { read_only: self.inner.geometry().read_only, ..self.cache.geometry() }
    }

    fn engine(&self) -> &'static str {
        "volatile"
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn start(&self, request: Request) -> Option<Completion> {
        let geometry = self.geometry();
        if let Err(status) = request.check(&geometry) {
            return Some(request.finish(Err(status)));
        }
        let result = match request.op {
            Op::Read | Op::Extents | Op::ReadAhead => return self.cache.start(request),
            Op::Flush => self.flush(),
            Op::Write { fua } => self
                .cache
                .write(request.offset, &request.buffer)
                .and_then(|()| self.after_change(&request, fua)),
            Op::Discard => self
                .cache
                .zero(request.offset, request.length, false)
                .and_then(|()| self.after_change(&request, false)),
            Op::WriteZeroes { fua, keep_allocated, fast: _ } => self
                .cache
                .zero(request.offset, request.length, keep_allocated)
                .and_then(|()| self.after_change(&request, fua)),
        };
        Some(request.finish(result))
    }

    fn start_write_back(&self) {}

    fn renew(&self) {
        self.inner.renew();
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
