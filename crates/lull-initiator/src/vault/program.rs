//! The keeper as its daemon sees it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lull_transport::handover::{self, Channel, Parcel, ParcelError, recv_fds, send_fds};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Kept;
use crate::config::Starter;
use crate::footing;

/// The verb of the command that makes a process a keeper.
const VERB: &str = "keep-log";
/// The variable that tells it which descriptor its daemon speaks through.
pub const VARIABLE: &str = "LULL_LOG_KEEPER";
/// Descriptors below are left alone: standard streams, and what a service manager passes.
const LOWEST: i32 = 50;
/// How long an answer may take; what it costs is a start of the command.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take to end that has nothing to keep any more. One that is stopped, or hangs, is killed then.
const LAST_PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// What a keeper is told first, with what it is to keep; the number of the file at which it listens follows, and its path.
pub const KEEP: &[u8] = b"keep ";
/// The name among what it is given of the socket on which it listens.
pub const SOCKET: &str = "socket";
pub const KEPT: &[u8] = b"kept";
pub const GIVE: &[u8] = b"give";
pub const FORGET: &[u8] = b"forget";

/// A keeper that has what it was given.
#[derive(Debug)]
pub struct Keeper {
    line: OwnedFd,
    /// Where this life has started it.
    child: Option<Child>,
}

impl Keeper {
    /// One that this life has not started.
    pub fn of_others(line: OwnedFd) -> Self {
        Self { line, child: None }
    }

    /// The line to it: it ends with the keeper.
    pub fn channel(&self) -> io::Result<Channel> {
        Channel::new(self.line.try_clone()?)
    }

    /// It forgets everything and ends.
    pub fn end(self) {
        // One that is gone has forgotten everything.
        let _ = send_fds(&self.line, &[], FORGET);
        let Some(mut child) = self.child else { return };
        let told = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let ended = told.is_ok_and(|told| {
            poll(&mut [PollFd::new(&told, PollFlags::IN)], Some(&LAST_PATIENCE)) == Ok(1)
        });
        if !ended {
            // Whatever it keeps, another one does, or nobody wants it.
            tracing::warn!("a keeper (pid {}) does not end by itself, and is killed", child.id());
            let _ = child.kill();
        }
        let _ = child.wait();
    }
}

/// Where the keeper of an attachment listens.
pub fn socket_name(attachment: &str) -> String {
    format!("{attachment}.keeper")
}

/// The address of a file in a directory, however long the directory's path is. It is good while `dir` is open.
pub fn address(dir: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?)
}

/// The directory, to find files in it.
pub fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// A packet socket that is not waited for without end.
pub fn bounded(socket: &OwnedFd, span: Duration) -> io::Result<()> {
    sockopt::set_socket_timeout(socket, Timeout::Recv, Some(span))?;
    Ok(sockopt::set_socket_timeout(socket, Timeout::Send, Some(span))?)
}

fn said(error: ParcelError) -> io::Error {
    io::Error::other(format!("the keeper does not answer: {error}"))
}

/// The socket at which the next life is to find a keeper, under a name at which nobody looks yet.
struct Listening {
    socket: OwnedFd,
    young: PathBuf,
}

impl Listening {
    /// For its owner only: whoever may connect gets the log.
    fn at(place: &Path) -> io::Result<Self> {
        let young = place.with_extension("keeper.new");
        match fs::remove_file(&young) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        let (folder, name) = (young.parent().unwrap_or(&young), young.file_name());
        let name = name.unwrap_or_default().to_string_lossy();
        rustix::net::bind(&socket, &address(&open_dir(folder)?, &name)?)?;
        // Nobody can connect before it listens.
        fs::set_permissions(&young, Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, 4)?;
        Ok(Self { socket, young })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Where it has its name it has no other.
        let _ = fs::remove_file(&self.young);
    }
}

/// A process that is to be a keeper, which waits for what it is to keep.
fn process(starter: &Starter, dir: &Path, attachment: &str) -> io::Result<Keeper> {
    let program = match starter {
        Starter::Daemon(program) => program,
        Starter::ServiceManager(socket) => {
            let line = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?;
            bounded(&line, PATIENCE)?;
            rustix::net::connect(&line, &SocketAddrUnix::new(socket)?).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("nobody starts a keeper at {}: {error}", socket.display()),
                )
            })?;
            return Ok(Keeper::of_others(line));
        }
    };
    let (line, theirs) = handover::socketpair()?;
    bounded(&line, PATIENCE)?;
    let mut command = Command::new(program);
    command.arg(VERB).arg(dir).arg(attachment);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let number = handover::inherit(&mut command, theirs, LOWEST)?;
    command.env(VARIABLE, number.to_string()).env_remove(handover::VARIABLE);
    let child = footing::outside(|| command.spawn()).map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be started: {error}", program.display()))
    })?;
    Ok(Keeper { line, child: Some(child) })
}

/// Starts one and gives it these; returns when the next life would find it.
pub fn start(
    starter: &Starter,
    dir: &Path,
    attachment: &str,
    kept: &[(String, OwnedFd)],
) -> io::Result<Keeper> {
    let dir = fs::canonicalize(dir)?;
    let place = dir.join(socket_name(attachment));
    let listening =
        Listening::at(&place).and_then(|one| Ok((fs::metadata(&one.young)?.ino(), one)));
    let (number, listening) = listening.map_err(|error| {
        let why = format!("no keeper can listen in {}: {error}", dir.display());
        io::Error::new(error.kind(), why)
    })?;
    // Last: it does not wait long for what it is told.
    let mut keeper = process(starter, &dir, attachment)?;
    let message = [KEEP, &number.to_le_bytes(), place.as_os_str().as_bytes()].concat();
    let mut given: Vec<_> = kept.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
    given.push((SOCKET.to_owned(), listening.socket.as_fd()));
    let told = send_fds(&keeper.line, &given, &message).and_then(|()| recv_fds(&keeper.line));
    // The one before has its place until this one has everything.
    let told = told.and_then(|told| {
        if told.message == KEPT {
            fs::rename(&listening.young, &place)?;
        }
        Ok(told)
    });
    match told {
        Ok(Parcel { message, .. }) if message == KEPT => Ok(keeper),
        other => {
            let why = match other {
                Ok(Parcel { message, .. }) => {
                    io::Error::other(String::from_utf8_lossy(&message).into_owned())
                }
                Err(error) => said(error),
            };
            if let Some(child) = &mut keeper.child {
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(why)
        }
    }
}

/// The keeper that an earlier life started, and what it keeps.
pub fn find(dir: &Path, attachment: &str) -> io::Result<Option<(Keeper, Kept)>> {
    let dir = open_dir(dir)?;
    let flags = SocketFlags::CLOEXEC;
    let line = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bounded(&line, PATIENCE)?;
    use rustix::io::Errno;
    match rustix::net::connect(line.as_fd(), &address(&dir, &socket_name(attachment))?) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let given = send_fds(&line, &[], GIVE).and_then(|()| recv_fds(&line));
    match given {
        Ok(parcel) => Ok(Some((Keeper::of_others(line), parcel.fds))),
        // It ended in this moment.
        Err(ParcelError::Closed) => Ok(None),
        Err(error) => Err(said(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process, test_kill_process};
    use std::sync::mpsc;

    /// [SAFE-10] A keeper that was stopped keeps nobody from ending, or from going on with another one: it is told to forget, and
    /// where it does not end it is ended.
    #[test]
    fn a_keeper_that_does_not_end_by_itself_is_ended() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::STOP).unwrap();
        let (line, _theirs) = handover::socketpair().unwrap();
        bounded(&line, PATIENCE).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            Keeper { line, child: Some(child) }.end();
            tell.send(()).unwrap();
        });
        let ended = told.recv_timeout(6 * PATIENCE);
        // Where it fails, too, nobody is left behind.
        let _ = kill_process(pid, Signal::KILL);
        ended.expect("it is waited for without end");
        assert!(test_kill_process(pid).is_err(), "it is there still");
    }
}
