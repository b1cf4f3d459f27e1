//! Where the file is: mounting and unmounting.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// A file that is a device.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    /// The file was made for it, and goes with it.
    ours: bool,
}

/// Why a file cannot be mounted. The text names the next step.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No FUSE in this kernel, or none for us.
    #[error(
        "/dev/fuse cannot be opened: {0}; load the module `fuse`, or give the daemon the device"
    )]
    NoDevice(io::Error),
    /// The place itself.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Place(PathBuf, io::Error),
    /// Something that no file can be mounted over.
    #[error("{} is not a regular file: name one, or a path where none is yet", .0.display())]
    NotAFile(PathBuf),
    /// Another daemon's.
    #[error("{} is a mounted device already: detach the one who serves it, or unmount it", .0.display())]
    Taken(PathBuf),
    /// Not ours to mount.
    #[error(
        "{path} cannot be mounted: {error}; it takes root, or CAP_SYS_ADMIN",
        path = .0.display(), error = .1
    )]
    NotPermitted(PathBuf, io::Error),
}

impl Mount {
    /// Mounts a file at `path`, which is made where it does not exist. What a dead daemon left mounted there is
    /// unmounted first. The descriptor is the mount's end for [`Channel`](super::Channel). To be called where blocking
    /// hurts nobody.
    ///
    /// `source` is for people, who see it in the list of mounts.
    ///
    /// # Errors
    /// What stands in the way, with the next step.
    pub fn new(path: &Path, source: &str) -> Result<(Mount, OwnedFd), MountError> {
        let place = |error: io::Error| MountError::Place(path.to_owned(), error);
        let path = std::path::absolute(path).map_err(place)?;
        let ours = prepare(&path)?;
        let mount = Mount { path, ours };
        match attach(&mount.path, source) {
            Ok(fd) => Ok((mount, fd)),
            Err(error) => {
                mount.forget();
                Err(error)
            }
        }
    }

    /// The mount at `path` that an earlier process of this daemon left to this one; `ours`: the file was made for it.
    pub fn of_earlier(path: PathBuf, ours: bool) -> Mount {
        Mount { path, ours }
    }

    /// Whether the file was made for it.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file away: at once where nobody has it open, else for all who come from now on. False: somebody had
    /// it open, and is told that the device has gone once the channel is closed. To be called where blocking hurts
    /// nobody.
    ///
    /// # Errors
    /// What the kernel says, but for a file that somebody has unmounted already.
    pub fn remove(self) -> io::Result<bool> {
        let free = match rustix::mount::unmount(&self.path, UnmountFlags::empty()) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => true,
            Err(Errno::BUSY) => {
                rustix::mount::unmount(&self.path, UnmountFlags::DETACH)?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.forget();
        Ok(free)
    }

    fn forget(&self) {
        if self.ours {
            // It is empty, and nobody misses it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What the kernel calls the file system that is mounted at `path`, if one is; the file system itself is not asked.
pub fn device_at(path: &Path) -> Option<String> {
    // The kernel knows it by its directory's real path.
    let path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    let table = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    device_in(&table, path.to_str()?)
}

/// The last line counts: what is mounted later lies above.
fn device_in(table: &str, path: &str) -> Option<String> {
    let escaped = path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    let escaped = escaped.replace('\n', "\\012");
    let at = |line: &str| {
        let mut words = line.split(' ');
        let (device, place) = (words.nth(2)?, words.nth(1)?);
        (place == escaped).then(|| device.to_owned())
    };
    table.lines().rev().find_map(at)
}

/// Makes the file where there is none; whether it did.
fn prepare(path: &Path) -> Result<bool, MountError> {
    let place = |error: io::Error| MountError::Place(path.to_owned(), error);
    loop {
        match std::fs::symlink_metadata(path) {
            Ok(_) if is_fuse(path) => {
                return Err(MountError::Taken(path.to_owned()));
            }
            Ok(found) if found.is_file() => return Ok(false),
            Ok(_) => return Err(MountError::NotAFile(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                return made.map(|_| true).map_err(place);
            }
            // Whose daemon was killed, all of it.
            Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
                rustix::mount::unmount(path, UnmountFlags::DETACH)
                    .map_err(|error| place(error.into()))?;
            }
            Err(error) => return Err(place(error)),
        }
    }
}

/// Whether a living FUSE file system is mounted there.
fn is_fuse(path: &Path) -> bool {
    const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;
    rustix::fs::statfs(path).is_ok_and(|found| {
        found.f_type == FUSE_SUPER_MAGIC
            && std::fs::metadata(path).is_ok_and(|meta| {
                use std::os::unix::fs::MetadataExt;
                meta.is_file() && meta.ino() == super::abi::ROOT
            })
    })
}

fn attach(path: &Path, source: &str) -> Result<OwnedFd, MountError> {
    let device = File::options().read(true).write(true).open("/dev/fuse");
    let fd = OwnedFd::from(device.map_err(MountError::NoDevice)?);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // The kernel compares the mode's kind with the file's; who may open it is said by GETATTR and checked by the
    // kernel, as for any file.
    let options = format!(
        "fd={},rootmode=100000,user_id={uid},group_id={gid},default_permissions,allow_other\0",
        fd.as_raw_fd()
    );
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())
        .map_err(|_| MountError::Place(path.to_owned(), io::ErrorKind::InvalidInput.into()))?;
    let source = source.replace('\0', "");
    rustix::mount::mount(
        source.as_str(),
        path,
        "fuse.lull",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME,
        options,
    )
    .map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => MountError::NotPermitted(path.to_owned(), error.into()),
        error => MountError::Place(path.to_owned(), error.into()),
    })?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_path_and_the_last_one_lies_above() {
        let table = "22 1 0:20 / /proc rw - proc proc rw\n\
                     41 22 0:51 / /run/a\\040b rw - fuse.lull x rw\n\
                     42 41 0:52 / /run/a\\040b rw,nosuid shared:1 - fuse.lull y rw\n";
        assert_eq!(device_in(table, "/run/a b").as_deref(), Some("0:52"));
        assert_eq!(device_in(table, "/run/a"), None);
        assert_eq!(device_in(table, "/proc").as_deref(), Some("0:20"));
    }
}
