//! The keeper as its daemon sees it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lull_transport::handover::{self, Channel, Parcel, ParcelError, recv_fds, send_fds};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::Kept;
use crate::footing;

/// The verb of the command that makes a process a keeper.
const VERB: &str = "keep-log";
/// The variable that tells it which descriptor its daemon speaks through.
pub const VARIABLE: &str = "LULL_LOG_KEEPER";
/// Descriptors below are left alone: standard streams, and what a service manager passes.
const LOWEST: i32 = 50;
/// How long an answer may take; what it costs is a start of the command.
const PATIENCE: Duration = Duration::from_secs(10);

pub const KEEP: &[u8] = b"keep";
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
    /// The line to it: it ends with the keeper.
    pub fn channel(&self) -> io::Result<Channel> {
        Channel::new(self.line.try_clone()?)
    }

    /// It forgets everything and ends.
    pub fn end(mut self) {
        // One that is gone has forgotten everything.
        let _ = send_fds(&self.line, &[], FORGET);
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
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

/// Starts one and gives it these; returns when the next life would find it.
pub fn start(
    program: &Path,
    dir: &Path,
    attachment: &str,
    kept: &[(String, OwnedFd)],
) -> io::Result<Keeper> {
    let (mine, theirs) = handover::socketpair()?;
    bounded(&mine, PATIENCE)?;
    let mut command = Command::new(program);
    command.arg(VERB).arg(std::fs::canonicalize(dir)?).arg(attachment);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let number = handover::inherit(&mut command, theirs, LOWEST)?;
    command.env(VARIABLE, number.to_string()).env_remove(handover::VARIABLE);
    let child = footing::outside(|| command.spawn()).map_err(|error| {
        io::Error::new(error.kind(), format!("{} cannot be started: {error}", program.display()))
    })?;
    drop(command);
    let mut keeper = Keeper { line: mine, child: Some(child) };
    let kept: Vec<_> = kept.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
    let told = send_fds(&keeper.line, &kept, KEEP).and_then(|()| recv_fds(&keeper.line));
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
        Ok(parcel) => Ok(Some((Keeper { line, child: None }, parcel.fds))),
        // It ended in this moment.
        Err(ParcelError::Closed) => Ok(None),
        Err(error) => Err(said(error)),
    }
}
