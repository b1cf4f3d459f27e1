//! What of a file is there, asked of its file system.
//!
//! A file system counts pages that are not yet written back as data, so a hole that it reports
//! reads as zeroes. A block device, and a file system that does not tell, is all data.

use std::ops::Range;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

use super::medium::Medium;
use crate::extents::Writing;
use crate::{Extent, Geometry, IoStatus};

impl Medium {
    /// Lists the extents of the range into the buffer; returns the list's length in bytes. The
    /// position that this moves is used by nobody: all other I/O names its offset.
    pub(super) fn extents(
        &self,
        range: Range<u64>,
        geometry: &Geometry,
        into: &mut [u8],
    ) -> Result<usize, IoStatus> {
        let mut list = Writing::new(into);
        let mut at = range.start;
        while at < range.end {
            let extent = match self.extent(at, geometry) {
                Ok(extent) => extent,
                Err(errno) if at == range.start => return Err(errno.into()),
                // What was found is an answer; whoever asks for the rest is told.
                Err(_) => break,
            };
            if !list.push(extent) {
                break;
            }
            at += extent.length;
        }
        Ok(list.finish())
    }

    /// The extent that begins at `at`, a multiple of the block within the resource.
    fn extent(&self, at: u64, geometry: &Geometry) -> Result<Extent, Errno> {
        let (size, block) = (geometry.size, u64::from(geometry.block));
        match seek(self.file(), SeekFrom::Data(at)) {
            // No data from here on, or somebody cut the file: what is cut off cannot be read.
            Err(Errno::NXIO) => {
                let now = u64::try_from(fstat(self.file())?.st_size).unwrap_or(0);
                let end = now.min(size) / block * block;
                if end > at { Ok(Extent::hole(end - at)) } else { Err(Errno::IO) }
            }
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Extent::data(size - at)),
            Err(errno) => Err(errno),
            // A block that is data in part is data.
            Ok(data) if data / block * block > at => {
                Ok(Extent::hole(data.min(size) / block * block - at))
            }
            Ok(_) => {
                let hole = match seek(self.file(), SeekFrom::Hole(at)) {
                    // It became a hole this moment: the next question tells.
                    Ok(hole) => hole.max(at + 1),
                    Err(Errno::NXIO) => at + 1,
                    Err(errno) => return Err(errno),
                };
                Ok(Extent::data(hole.next_multiple_of(block).min(size) - at))
            }
        }
    }
}
