//! Listening sockets that a successor can take over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::vsock::VsockListener;
use crate::{Addr, Stream};

/// Connections that may wait to be accepted; beyond it a dialler is refused or waits. All
/// initiators of a target come back at the same moment.
const BACKLOG: i32 = 4096;

/// What a kernel without vsock says.
const NO_VSOCK: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();

/// How often, 10 ms apart, the directory of a socket is tried while somebody else binds in it.
const DIRECTORY_TRIES: u32 = 100;

/// A listening socket. Its file, if it has one, outlives it: see [`Listener::remove_file`].
#[derive(Debug)]
pub enum Listener {
    /// On a unix socket.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Where its file is.
        path: PathBuf,
        /// Device and inode of that file, by which it is told from one that somebody else put
        /// there; the system gives no inode to another file while the socket is open.
        file: Option<(u64, u64)>,
    },
    /// On a TCP port.
    Tcp(TcpListener),
    /// On a vsock port.
    Vsock(VsockListener),
}

/// A listener that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{addr} is in use by {holder}: stop it or choose another address")]
    InUse {
        /// The address asked for.
        addr: Addr,
        /// Who has it, for people.
        holder: String,
    },
    /// The path is taken by something that is not ours to replace.
    #[error("{addr}: the path exists and is not a socket: remove it or choose another path")]
    NotASocket {
        /// The address asked for.
        addr: Addr,
    },
    /// The descriptor to be taken over is not the listening socket that it should be.
    #[error("the descriptor passed for {addr} is not a listening socket of that kind")]
    NotAListener {
        /// What it should have been.
        addr: Addr,
    },
    /// Anything else that the kernel or the resolver said.
    #[error("cannot listen on {addr}: {source}; {}", next_step(addr, source))]
    Io {
        /// The address asked for.
        addr: Addr,
        /// What was said.
        source: io::Error,
    },
}

impl Listener {
    /// Listens on `addr`. A unix socket's file that no process listens on any more is replaced;
    /// whoever does listen there sees one connection that ends without a byte.
    pub async fn bind(addr: &Addr) -> Result<Listener, BindError> {
        match addr {
            Addr::Unix(path) => {
                let socket = bind_unix(addr, path).await?;
                Ok(Listener::Unix { socket, file: place(path), path: path.clone() })
            }
            Addr::Tcp { host, port } => bind_tcp(addr, host, *port).await.map(Listener::Tcp),
            Addr::Vsock { cid, port } => bind_vsock(addr, *cid, *port).map(Listener::Vsock),
        }
    }

    /// What listening on `addr` would say, as far as that is seen without doing it: of a path, that it cannot be a socket's.
    ///
    /// # Errors
    /// What keeps a socket from being there.
    pub fn look(addr: &Addr) -> Result<(), BindError> {
        let Addr::Unix(path) = addr else { return Ok(()) };
        let io = |source| BindError::Io { addr: addr.clone(), source };
        let directory = directory(path);
        // The last component is made.
        let found =
            std::fs::metadata(directory).or_else(|_| std::fs::metadata(self::directory(directory)));
        match found.map_err(io)?.is_dir() {
            true => is_for_a_socket(addr, path),
            false => Err(io(io::ErrorKind::NotADirectory.into())),
        }
    }

    /// Goes on with a listening socket that another process opened for `addr`.
    pub fn from_fd(addr: &Addr, fd: OwnedFd) -> Result<Listener, BindError> {
        let io = |source: io::Error| BindError::Io { addr: addr.clone(), source };
        let listening = sockopt::socket_acceptconn(&fd).unwrap_or(false);
        let domain = sockopt::socket_domain(&fd).map_err(|e| io(e.into()))?;
        let fits = match addr {
            Addr::Unix(_) => domain == AddressFamily::UNIX,
            Addr::Tcp { .. } => domain == AddressFamily::INET || domain == AddressFamily::INET6,
            Addr::Vsock { .. } => domain == AddressFamily::VSOCK,
        };
        if !listening || !fits {
            return Err(BindError::NotAListener { addr: addr.clone() });
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|e| io(e.into()))?;
        match addr {
            Addr::Unix(path) => Ok(Listener::Unix {
                socket: UnixListener::from_std(fd.into()).map_err(io)?,
                file: place(path),
                path: path.clone(),
            }),
            Addr::Tcp { .. } => Ok(Listener::Tcp(TcpListener::from_std(fd.into()).map_err(io)?)),
            Addr::Vsock { .. } => Ok(Listener::Vsock(VsockListener::of(fd.into()).map_err(io)?)),
        }
    }

    /// The next connection. A dialler that gave up while it waited is passed over; other errors
    /// (no descriptors left, most likely) are the caller's, who should pause before the next try.
    pub async fn accept(&self) -> io::Result<Stream> {
        loop {
            let accepted = match self {
                Listener::Unix { socket, .. } => {
                    socket.accept().await.map(|(s, _)| Ok(Stream::Unix(s)))
                }
                Listener::Tcp(socket) => socket.accept().await.map(|(s, _)| Stream::from_tcp(s)),
                Listener::Vsock(socket) => socket.accept().await.map(|s| Ok(Stream::Vsock(s))),
            };
            match accepted {
                Ok(Ok(stream)) => return Ok(stream),
                // Its options could not be set: it was reset in the queue.
                Ok(Err(error)) if is_over(&error) => {}
                // The same kinds of error would here be about the listening socket itself.
                Err(error) if gave_up(&error) => {}
                Ok(Err(error)) | Err(error) => return Err(error),
            }
        }
    }

    /// The address at which it listens, with the port that the kernel chose.
    pub fn local_addr(&self) -> io::Result<Addr> {
        match self {
            Listener::Unix { path, .. } => Ok(Addr::Unix(path.clone())),
            Listener::Tcp(socket) => socket.local_addr().map(Addr::from),
            Listener::Vsock(socket) => socket.local_addr(),
        }
    }

    /// Takes it away from this thread's runtime, for another process.
    ///
    /// # Errors
    /// The system does not let go of it; it is closed then.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Listener::Unix { socket, .. } => Ok(socket.into_std()?.into()),
            Listener::Tcp(socket) => Ok(socket.into_std()?.into()),
            Listener::Vsock(socket) => Ok(socket.into_fd()),
        }
    }

    /// Removes the file of a unix socket, for one that nobody inherits. Never done by dropping.
    /// A file of that name that is not this socket's is left alone.
    pub fn remove_file(&self) -> io::Result<()> {
        match self {
            Listener::Unix { path, file, .. } if file.is_none() || place(path) != *file => Ok(()),
            Listener::Unix { path, .. } => match std::fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
            Listener::Tcp(_) | Listener::Vsock(_) => Ok(()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix { socket, .. } => socket.as_fd(),
            Listener::Tcp(socket) => socket.as_fd(),
            Listener::Vsock(socket) => socket.as_fd(),
        }
    }
}

/// Device and inode of what is at `path`.
fn place(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a dialler was gone before it could be accepted.
fn gave_up(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionReset)
}

/// Whether an accepted connection has ended already.
fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, NotConnected};
    gave_up(error) || matches!(error.kind(), NotConnected | InvalidInput)
}

async fn bind_tcp(addr: &Addr, host: &str, port: u16) -> Result<TcpListener, BindError> {
    let io = |source| BindError::Io { addr: addr.clone(), source };
    let mut last = None;
    for at in tokio::net::lookup_host((host, port)).await.map_err(io)? {
        let socket = match at {
            std::net::SocketAddr::V4(_) => TcpSocket::new_v4(),
            std::net::SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(io)?;
        // Connections of a predecessor that linger in TIME_WAIT must not keep it from coming back.
        socket.set_reuseaddr(true).map_err(io)?;
        match socket.bind(at).and_then(|()| socket.listen(BACKLOG as u32)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(BindError::InUse { addr: addr.clone(), holder: "another process".into() })
        }
        Some(error) => Err(io(error)),
        None => Err(io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))),
    }
}

fn bind_vsock(addr: &Addr, cid: u32, port: u32) -> Result<VsockListener, BindError> {
    let bound = VsockListener::bind(cid, port).and_then(|socket| {
        // The library asks for a shorter queue.
        net::listen(&socket, BACKLOG)?;
        Ok(socket)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            BindError::InUse { addr: addr.clone(), holder: "another process".into() }
        }
        _ => BindError::Io { addr: addr.clone(), source },
    })
}

async fn bind_unix(addr: &Addr, path: &Path) -> Result<UnixListener, BindError> {
    let io = |source: io::Error| BindError::Io { addr: addr.clone(), source };
    // Looking for a dead file and replacing it are two steps: the lock keeps two starters from
    // each taking away the file that the other has just made.
    let _alone = lock_directory(path).await.map_err(io)?;
    let fresh = || {
        net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
    };
    let name = SocketAddrUnix::new(path).map_err(|e| io(e.into()))?;
    let socket = fresh().map_err(|e| io(e.into()))?;
    match net::bind(&socket, &name) {
        Ok(()) => {}
        Err(rustix::io::Errno::ADDRINUSE) => {
            is_for_a_socket(addr, path)?;
            let probe = fresh().map_err(|e| io(e.into()))?;
            match net::connect(&probe, &name) {
                Err(rustix::io::Errno::CONNREFUSED) => {}
                Err(rustix::io::Errno::NOENT) => {}
                Err(rustix::io::Errno::AGAIN) | Ok(()) => {
                    return Err(BindError::InUse { addr: addr.clone(), holder: holder(&probe) });
                }
                Err(error) => return Err(io(error.into())),
            }
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
            net::bind(&socket, &name).map_err(|e| io(e.into()))?;
        }
        Err(error) => return Err(io(error.into())),
    }
    net::listen(&socket, BACKLOG).map_err(|e| io(e.into()))?;
    UnixListener::from_std(socket.into()).map_err(io)
}

/// Whether there is nothing at a path that would have to make room for a socket, but for another socket.
fn is_for_a_socket(addr: &Addr, path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(BindError::NotASocket { addr: addr.clone() })
        }
        _ => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What somebody may do who cannot listen on `addr`.
fn next_step(addr: &Addr, error: &io::Error) -> &'static str {
    match (addr, error.kind()) {
        (Addr::Unix(_), io::ErrorKind::NotFound) => "make its directory first",
        (Addr::Unix(_), io::ErrorKind::PermissionDenied) => {
            "choose a directory that this user may write to"
        }
        (Addr::Vsock { .. }, io::ErrorKind::AddrNotAvailable) => {
            "write vsock:any, or the number that the hypervisor gave this machine"
        }
        (Addr::Vsock { .. }, _) if error.raw_os_error() == Some(NO_VSOCK) => {
            "load a module for it: vhost_vsock on a host, vmw_vsock_virtio_transport in a guest"
        }
        _ => "choose another address",
    }
}

/// Who listens at the other end of `probe`, for people.
fn holder(probe: &OwnedFd) -> String {
    match sockopt::socket_peercred(probe) {
        Ok(found) => {
            let pid = found.pid.as_raw_nonzero();
            match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
                Ok(name) => format!("{} (pid {pid})", name.trim_end()),
                Err(_) => format!("pid {pid}"),
            }
        }
        Err(_) => "another process".into(),
    }
}

async fn lock_directory(path: &Path) -> io::Result<std::fs::File> {
    let directory = directory(path);
    // As for the admin socket: its last component is made, a longer path is more likely a mistake.
    // Where it cannot be made, opening it says why.
    let _ = std::fs::create_dir(directory);
    let directory = std::fs::File::open(directory)?;
    for _ in 0..DIRECTORY_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(directory),
            Err(rustix::io::Errno::AGAIN) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "its directory is kept locked by another process (flock): choose another directory",
    ))
}
