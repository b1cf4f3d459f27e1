//! What a path is, found out without opening it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Stat, accessat, major, minor, stat, statfs};
use rustix::io::Errno;

use crate::{FileSpec, Geometry, MAX_PAYLOAD, OpenError};

/// The least that every offset and length is a multiple of.
pub(super) const SECTOR: u32 = 512;

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Device,
}

/// What is at the path now; `None` if there is nothing.
pub(super) fn look(path: &Path) -> Result<Option<(Kind, Stat)>, OpenError> {
    let found = match stat(path) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(refusal(path, "look at", "reached", errno)),
    };
    kind(path, &found).map(|kind| Some((kind, found)))
}

/// What a file is that may be served, or why it may not.
pub(super) fn kind(path: &Path, found: &Stat) -> Result<Kind, OpenError> {
    let not = |kind| OpenError::NotAMedium { path: path.to_owned(), kind };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(Kind::Regular),
        FileType::BlockDevice => Ok(Kind::Device),
        FileType::Directory => Err(OpenError::Directory { path: path.to_owned() }),
        FileType::CharacterDevice => Err(not("a character device")),
        FileType::Fifo => Err(not("a named pipe")),
        FileType::Socket => Err(not("a socket")),
        FileType::Symlink | FileType::Unknown => Err(not("no file")),
    }
}

/// An error of the kernel, in an operator's words.
pub(super) fn refusal(
    path: &Path,
    doing: &'static str,
    wanted: &'static str,
    errno: Errno,
) -> OpenError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT | Errno::NOTDIR => OpenError::Missing { path },
        Errno::ROFS => OpenError::ReadOnlyMedium { path },
        Errno::ACCESS | Errno::PERM => OpenError::Denied {
            path,
            wanted,
            hint: if wanted == "written" { ", or add read-only" } else { "" },
        },
        Errno::BUSY => OpenError::DeviceBusy { path },
        other => OpenError::Io { path, doing, source: other.into() },
    }
}

/// Refuses a file system whose locks and flushes end elsewhere ([SAFE-6]).
pub(super) fn refuse_network(spec: &FileSpec, at: &Path) -> Result<(), OpenError> {
    if spec.network {
        return Ok(());
    }
    let found = statfs(at).map_err(|errno| refusal(at, "look at", "reached", errno))?;
    match network_name(found.f_type as u32) {
        Some(kind) => Err(OpenError::Network { path: spec.path.clone(), kind }),
        None => Ok(()),
    }
}

/// The magic numbers of linux/magic.h. FUSE is among them because what lies behind it is unknown
/// (sshfs, virtiofs, GlusterFS).
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB",
        0x517b => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x564c => "NCP",
        0x0bd0_0bd0 => "Lustre",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        0x1980_0502 => "VirtualBox shared folder",
        0xbacb_acbc => "VMware shared folder",
        _ => return None,
    })
}

/// Whether the file system is memory, where reading and writing are copies that wait for nothing.
pub(super) fn is_memory(magic: u32) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    matches!(magic, TMPFS | RAMFS)
}

/// The directory that a file to be created will be in, which must exist.
pub(super) fn parent(path: &Path) -> Result<PathBuf, OpenError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    if !parent.is_dir() {
        return Err(OpenError::NoParent { path: path.to_owned() });
    }
    Ok(parent)
}

/// Checks a regular file's size against what is asked for.
pub(super) fn accept_size(spec: &FileSpec, size: u64, block: u32) -> Result<u64, OpenError> {
    let path = || spec.path.clone();
    match spec.size {
        // A file that was created and not yet given its size when somebody was interrupted.
        Some(wanted) if size == 0 => Ok(wanted),
        Some(wanted) if wanted != size => {
            Err(OpenError::SizeDiffers { path: path(), size, wanted })
        }
        _ if size == 0 => Err(OpenError::Empty { path: path() }),
        _ => Ok(size),
    }
    .and_then(|size| {
        if size.is_multiple_of(block.into()) {
            return Ok(size);
        }
        Err(OpenError::Unaligned { path: path(), size, block })
    })
}

/// What a file or device of this size and block is.
pub(super) fn geometry(size: u64, block: u32, read_only: bool) -> Geometry {
    Geometry {
        size,
        block,
        preferred: block.max(4096),
        max_length: MAX_PAYLOAD / block * block,
        discard: !read_only,
        write_zeroes: !read_only,
        read_only,
    }
}

/// What [`open`](super::open) would serve, from looking only. With `direct=on` the block may turn
/// out larger when the file is opened.
pub(crate) fn check(spec: &FileSpec) -> Result<Geometry, OpenError> {
    let path = &spec.path;
    super::opening::engine(spec)?;
    let Some((kind, found)) = look(path)? else {
        let Some(size) = spec.size else {
            return Err(OpenError::Missing { path: path.clone() });
        };
        let parent = parent(path)?;
        refuse_network(spec, &parent)?;
        permitted(&parent, Access::WRITE_OK, "written")?;
        return Ok(geometry(size, SECTOR, false));
    };
    if spec.read_only {
        permitted(path, Access::READ_OK, "read")?;
    } else {
        permitted(path, Access::READ_OK | Access::WRITE_OK, "written")?;
    }
    match kind {
        Kind::Regular => {
            refuse_network(spec, path)?;
            let size = u64::try_from(found.st_size).unwrap_or(0);
            let size = accept_size(spec, size, SECTOR)?;
            Ok(geometry(size, SECTOR, spec.read_only))
        }
        Kind::Device if spec.size.is_some() => Err(OpenError::DeviceSize { path: path.clone() }),
        Kind::Device => {
            let (size, block) = device_attributes(path, &found)?;
            Ok(geometry(size, block, spec.read_only))
        }
    }
}

fn permitted(path: &Path, access: Access, wanted: &'static str) -> Result<(), OpenError> {
    accessat(CWD, path, access, AtFlags::EACCESS)
        .map_err(|errno| refusal(path, "look at", wanted, errno))
}

/// A device's size in bytes and its logical block, as the kernel shows them without an open.
fn device_attributes(path: &Path, found: &Stat) -> Result<(u64, u32), OpenError> {
    let (major, minor) = (major(found.st_rdev), minor(found.st_rdev));
    let base = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(base.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let size = number("size").map(|sectors| sectors.saturating_mul(512));
    // A partition's queue is its disk's.
    let block =
        number("queue/logical_block_size").or_else(|| number("../queue/logical_block_size"));
    let size = size.ok_or_else(|| refusal(path, "find the size of", "read", Errno::NODEV))?;
    if size == 0 {
        return Err(OpenError::Empty { path: path.to_owned() });
    }
    let block = block.and_then(|block| u32::try_from(block).ok());
    Ok((size, block.unwrap_or(SECTOR).max(SECTOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_name() {
        // [SAFE-6] network file systems only by an explicit option.
        assert_eq!(network_name(rustix::fs::NFS_SUPER_MAGIC as u32), Some("NFS"));
        assert_eq!(network_name(0xef53), None);
    }

    #[test]
    fn a_refusal_says_what_was_not_permitted() {
        let error = refusal(Path::new("/x"), "open", "written", Errno::ACCESS);
        let text = error.to_string();
        assert!(text.contains("/x may not be written") && text.contains("add read-only"));
    }
}
