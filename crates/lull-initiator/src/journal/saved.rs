//! The log as a file beside the state. Between a daemon that was told to end while its target was away and the next one
//! there may be a boot of this host, which no memory outlives.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::memory::Memory;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// The file of one attachment's log. It is there from a life that has ended until the next one begins, and never while
/// anything is acknowledged: what it holds would be sent over what is newer.
#[derive(Clone, Debug)]
pub struct Saved {
    path: PathBuf,
}

impl Saved {
    /// Of attachment `name`, whose state is in `dir`.
    pub fn of(dir: &Path, name: &str) -> Self {
        Self { path: dir.join(format!("{name}.unflushed")) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it: as a whole, on stable storage, or not at all.
    ///
    /// # Errors
    /// What the system says; for instance a full disk.
    pub fn write(&self, log: BorrowedFd<'_>) -> io::Result<()> {
        self.write_to(&self.path, log)
    }

    /// Writes what is not to be found any more, and says where.
    ///
    /// # Errors
    /// As there.
    pub fn write_aside(&self, log: BorrowedFd<'_>) -> io::Result<PathBuf> {
        let aside = self.aside();
        self.write_to(&aside, log).map(|()| aside)
    }

    /// From here on what is there is not found any more; where it is then.
    ///
    /// # Errors
    /// What the system says: it is still there, or may be.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.aside();
        fs::rename(&self.path, &aside)?;
        self.sync_folder().map(|()| aside)
    }

    /// A name that nothing has. There are as many as nobody has taken away.
    fn aside(&self) -> PathBuf {
        let mut names =
            (1..).map(|number: u64| self.path.with_extension(format!("overtaken.{number}")));
        names.find(|name| !name.exists()).unwrap_or_else(|| self.path.with_extension("overtaken"))
    }

    fn write_to(&self, path: &Path, log: BorrowedFd<'_>) -> io::Result<()> {
        let partial = self.path.with_extension("unflushed.new");
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let written = copy(log, file.as_fd()).and_then(|()| {
            file.set_len(u64::try_from(rustix::fs::fstat(log)?.st_size).unwrap_or(0))?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            self.sync_folder()
        });
        if written.is_err() {
            // It may be what the disk is full of.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// What was written, in memory again; `None` where there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self) -> io::Result<Option<OwnedFd>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.metadata()?.len());
        let memory = Memory::create(length.map_err(|_| io::ErrorKind::InvalidData)?)?;
        copy(file.as_fd(), memory.as_fd())?;
        memory.as_fd().try_clone_to_owned().map(Some)
    }

    /// From here on it is not found any more, whatever happens to this host.
    ///
    /// # Errors
    /// What the system says: it is still there, or may be.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Ok(()) => self.sync_folder(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Copies what is no hole.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(at) => at,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let most = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            let read = rustix::io::pread(from, &mut piece[..most], at)?;
            if read == 0 {
                return Ok(());
            }
            let mut rest = &piece[..read];
            while !rest.is_empty() {
                let written = rustix::io::pwrite(to, rest, at)?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                (rest, at) = (&rest[written..], at + written as u64);
            }
        }
    }
}
