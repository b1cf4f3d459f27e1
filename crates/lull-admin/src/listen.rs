//! The listening side of the admin socket: only its owner may connect, and it can be passed on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::address::AdminAddr;

/// Connections that the kernel keeps before the server takes them; further ones wait in `connect`.
const BACKLOG: i32 = 64;

/// A listening admin socket.
#[derive(Debug)]
pub struct AdminListener {
    pub(crate) socket: UnixListener,
    path: PathBuf,
}

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A daemon answers there already.
    #[error(
        "{0} is in use: another daemon answers there; stop it, or give this one another --admin"
    )]
    InUse(AdminAddr),
    /// Something that is not a socket stands there.
    #[error("{0} is not a socket; remove it, or give another --admin")]
    NotASocket(AdminAddr),
    /// The directory does not exist and cannot be made.
    #[error("cannot make the directory of {addr}: {source}; make it, or give another --admin")]
    Directory {
        /// The address.
        addr: AdminAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot listen on {addr}: {source}; give another --admin")]
    System {
        /// The address.
        addr: AdminAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl AdminListener {
    /// Listens at `addr` with mode 0600. The last component of the directory is made if it is
    /// missing, and a socket that a dead daemon left behind is removed.
    pub fn bind(addr: &AdminAddr) -> Result<Self, ListenError> {
        let path = addr.path();
        make_directory(addr)?;
        remove_stale(addr)?;
        let socket = bind_private(path)
            .map_err(|source| ListenError::System { addr: addr.clone(), source })?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// What [`Self::bind`] would say of the path, as far as that is seen without doing it.
    ///
    /// # Errors
    /// What keeps a socket from being there.
    pub fn look(addr: &AdminAddr) -> Result<(), ListenError> {
        let Some(dir) = directory(addr) else { return is_there(addr).map(drop) };
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
        let found = std::fs::metadata(dir)
            .or_else(|_| std::fs::metadata(above.unwrap_or(Path::new("."))))
            .and_then(|found| match found.is_dir() {
                true => Ok(()),
                false => Err(io::ErrorKind::NotADirectory.into()),
            });
        found.map_err(|source| ListenError::Directory { addr: addr.clone(), source })?;
        is_there(addr).map(drop)
    }

    /// A socket that a predecessor listens on, passed to this process.
    ///
    /// # Errors
    /// Where the descriptor is no unix socket with a path.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = UnixListener::from(fd);
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
        let path = path.ok_or_else(|| io::Error::other("the admin socket has no path"))?;
        Ok(Self { socket, path })
    }

    /// A second handle on the same socket, to be passed to a successor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, path: self.path.clone() })
    }

    /// Where it listens.
    pub fn addr(&self) -> AdminAddr {
        AdminAddr::unix(&self.path)
    }

    /// Removes the socket's name, for a daemon that ends without a successor.
    pub fn unlink(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

impl AsFd for AdminListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<AdminListener> for OwnedFd {
    fn from(listener: AdminListener) -> Self {
        listener.socket.into()
    }
}

/// The mode is set before the name exists: Linux gives a bound socket the mode of its descriptor,
/// so that there is no moment in which another user could connect.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

fn directory(addr: &AdminAddr) -> Option<&Path> {
    addr.path().parent().filter(|dir| !dir.as_os_str().is_empty())
}

fn make_directory(addr: &AdminAddr) -> Result<(), ListenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let Some(dir) = directory(addr) else { return Ok(()) };
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(_) if dir.is_dir() => Ok(()),
        Err(source) => Err(ListenError::Directory { addr: addr.clone(), source }),
    }
}

/// Whether there is a socket.
fn is_there(addr: &AdminAddr) -> Result<bool, ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(addr.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ListenError::System { addr: addr.clone(), source }),
        Ok(found) if !found.file_type().is_socket() => Err(ListenError::NotASocket(addr.clone())),
        Ok(_) => Ok(true),
    }
}

fn remove_stale(addr: &AdminAddr) -> Result<(), ListenError> {
    let system = |source| ListenError::System { addr: addr.clone(), source };
    if !is_there(addr)? {
        return Ok(());
    }
    match UnixStream::connect(addr.path()) {
        Ok(_) => Err(ListenError::InUse(addr.clone())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(addr.path()).map_err(system)
        }
        // A full backlog is a daemon that lives.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::InUse(addr.clone()))
        }
        Err(error) => Err(system(error)),
    }
}
