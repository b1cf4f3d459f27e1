//! The guest's memory, which the guest changes as it likes while it is looked at: it is only ever copied from and to,
//! through volatile accesses that stay inside what is mapped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::mmap::MmapRegion;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap,
};

use super::wire::Region;

/// A guest's memory cannot be had, or an address is outside of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is mapped there, or not all of it.
    #[error("address {0:#x} is outside of the guest's memory")]
    Outside(u64),
    /// A region that cannot be mapped.
    #[error(
        "the guest's memory cannot be mapped: {0}; give it shared memory (memory-backend-memfd,share=on)"
    )]
    Map(String),
    /// A ring that no driver may make.
    #[error("{0}")]
    Ring(&'static str),
}

/// All of a guest's memory.
#[derive(Debug, Default)]
pub struct Memory {
    map: GuestMemoryMmap,
    regions: Vec<Region>,
}

impl Memory {
    /// Without any region.
    pub fn none() -> Memory {
        Memory::default()
    }

    /// One region that nobody else has, at address 0: for tests.
    pub fn private(length: usize) -> Memory {
        let map = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), length)]).unwrap_or_default();
        Memory { map, regions: vec![Region { guest: 0, size: length as u64, user: 0, offset: 0 }] }
    }

    /// The same with one region more.
    ///
    /// # Errors
    /// It cannot be mapped, or overlaps another.
    pub fn with(&self, region: Region, file: OwnedFd) -> Result<Memory, Fault> {
        let mapped = map(&File::from(file), region.offset, region.size)?;
        let wrong = || Fault::Map("a region at an impossible address".to_owned());
        let mapped = GuestRegionMmap::new(mapped, GuestAddress(region.guest)).ok_or_else(wrong)?;
        let inserted = self.map.insert_region(Arc::new(mapped));
        let map = inserted.map_err(|error| Fault::Map(error.to_string()))?;
        let regions = self.regions.iter().copied().chain([region]).collect();
        Ok(Memory { map, regions })
    }

    /// The same without a region that it has.
    ///
    /// # Errors
    /// It has none like that.
    pub fn without(&self, region: Region) -> Result<Memory, Fault> {
        let same = |one: &Region| {
            (one.guest, one.size, one.user) == (region.guest, region.size, region.user)
        };
        let removed = self.map.remove_region(GuestAddress(region.guest), region.size);
        match removed {
            Ok((map, _)) if self.regions.iter().any(same) => {
                let regions = self.regions.iter().copied().filter(|one| !same(one)).collect();
                Ok(Memory { map, regions })
            }
            _ => Err(Fault::Outside(region.guest)),
        }
    }

    /// How many regions it has.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// The guest's address of what the monitor has at `user`.
    ///
    /// # Errors
    /// It has nothing there.
    pub fn guest_address(&self, user: u64) -> Result<u64, Fault> {
        if self.regions.is_empty() {
            return Err(Fault::Map("none of it is shared".to_owned()));
        }
        let inside = |one: &&Region| user >= one.user && user - one.user < one.size;
        let region = self.regions.iter().find(inside).ok_or(Fault::Outside(user))?;
        Ok(region.guest + (user - region.user))
    }

    /// Whether all of a range is there.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, at: u64, length: usize) -> Result<(), Fault> {
        let whole = self.map.check_range(GuestAddress(at), length);
        whole.then_some(()).ok_or(Fault::Outside(at))
    }

    /// Copies out of it.
    ///
    /// # Errors
    /// Not all of it is there.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        self.map.read_slice(into, GuestAddress(at)).map_err(|_| Fault::Outside(at))
    }

    /// Copies into it.
    ///
    /// # Errors
    /// Not all of it is there; then some of it may have been written.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.map.write_slice(bytes, GuestAddress(at)).map_err(|_| Fault::Outside(at))
    }

    /// A little-endian number that the guest stores behind what it announces.
    ///
    /// # Errors
    /// It is not there, or not aligned.
    pub fn load(&self, at: u64) -> Result<u16, Fault> {
        let found: u16 =
            self.map.load(GuestAddress(at), Ordering::Acquire).map_err(|_| Fault::Outside(at))?;
        Ok(u16::from_le(found))
    }

    /// Stores a little-endian number behind all that was written before.
    ///
    /// # Errors
    /// It is not there, or not aligned.
    pub fn store(&self, at: u64, value: u16) -> Result<(), Fault> {
        let stored = self.map.store(value.to_le(), GuestAddress(at), Ordering::Release);
        stored.map_err(|_| Fault::Outside(at))
    }
}

/// Maps a part of a file that the monitor shares. A file that is shorter than what is mapped of it would end this
/// process at the first touch, so that its length is looked at; that it stays as long, the monitor answers for, as it does
/// for the guest's memory itself.
pub(super) fn map(file: &File, offset: u64, length: u64) -> Result<MmapRegion, Fault> {
    let wrong = |error: std::io::Error| Fault::Map(error.to_string());
    let file = file.try_clone().map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    let size = usize::try_from(length).map_err(|_| Fault::Map("too long".to_owned()))?;
    let whole = offset.checked_add(length).is_some_and(|end| end <= meta.len());
    if !meta.is_file() || !whole {
        return Err(Fault::Map(format!("{length} bytes at {offset} are more than the file has")));
    }
    let mapped = MmapRegion::from_file(FileOffset::new(file, offset), size);
    mapped.map_err(|error| Fault::Map(error.to_string()))
}
