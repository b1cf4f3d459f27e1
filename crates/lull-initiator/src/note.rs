//! A page of memory in which a life of this daemon says something to the next one, should it be killed: whoever keeps the log
//! keeps it too.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::MemfdFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What it says is no longer than this, in bytes.
const LENGTH: usize = 4096;

/// Such a page.
#[derive(Debug)]
pub struct Note(File);

impl Note {
    /// An empty one.
    ///
    /// # Errors
    /// There is no memory, or no descriptor.
    pub fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("lull-note", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, LENGTH as u64)?;
        Ok(Self(file.into()))
    }

    /// That of the life before.
    pub fn of(fd: OwnedFd) -> Self {
        Self(fd.into())
    }

    /// What it says; `None`: nothing, or nothing that this release understands.
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let mut text = vec![0; LENGTH];
        let read = self.0.read_at(&mut text, 0).ok()?;
        serde_json::from_slice(&text[..read]).ok()
    }

    /// Says this from now on. All of it in one call, within one page: whoever is killed has written it or not.
    ///
    /// # Errors
    /// It is too long.
    pub fn write(&self, what: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(what)?;
        if text.len() > LENGTH {
            return Err(io::Error::other("it is too long to be noted"));
        }
        text.resize(LENGTH, b' ');
        self.0.write_all_at(&text, 0)
    }

    /// The same once more.
    ///
    /// # Errors
    /// There is no descriptor.
    pub fn to_owned_fd(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }
}

impl AsFd for Note {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
