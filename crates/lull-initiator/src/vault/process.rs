//! The keeper as a process: it holds descriptors, gives them to whoever starts the daemon again, and ends when it is told
//! to, or when its place in the state directory is gone.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use lull_transport::handover::{self, ParcelError, recv_fds, send_fds};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, sockopt};
use rustix::process::Uid;

use super::program::{FORGET, GIVE, KEEP, KEPT, SOCKET, VARIABLE, bounded};

/// How often it looks whether its place is still there.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How long whoever connects may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps what an attachment leaves to its next life, until it is told to forget it. Who has started this process is at
/// the other end of a line that it was given: a daemon, or one that the service manager has let in.
///
/// # Errors
/// It was started otherwise, or was given nothing.
pub fn keep_log() -> io::Result<()> {
    let number = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let line = match number {
        Some(number) => Some(handover::inherited(number)),
        None => handover::from_service_manager().pop().map(|(_, line)| line),
    };
    let line = line.ok_or_else(|| {
        io::Error::other("a daemon starts this when it needs it; there is nothing to do by hand")
    })?;
    let line = line.map_err(io::Error::other)?;
    if !serves(sockopt::socket_peercred(&line)?.uid, rustix::process::geteuid()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    bounded(&line, PATIENCE)?;
    // What ends the daemon, an interrupt from its terminal too, must not end its keeper.
    let _ = rustix::process::setsid();
    // No file system is kept busy by a process that only waits.
    std::env::set_current_dir("/")?;
    let mut given = recv_fds(&line).map_err(io::Error::other)?;
    let nothing = || io::Error::from(io::ErrorKind::InvalidData);
    let told = given.message.strip_prefix(KEEP).and_then(|told| told.split_first_chunk());
    let (number, path) = told.ok_or_else(nothing)?;
    let (number, path) = (u64::from_le_bytes(*number), PathBuf::from(OsStr::from_bytes(path)));
    let at = given.fds.iter().position(|(name, _)| name == SOCKET).ok_or_else(nothing)?;
    let (_, socket) = given.fds.swap_remove(at);
    send_fds(&line, &[], KEPT).map_err(io::Error::other)?;
    Place { socket, path, number }.serve(&given.fds, line)
}

/// Whether this process works for whoever is at the other end: it takes the file away at which it listens, as its own user.
fn serves(peer: Uid, own: Uid) -> bool {
    peer == own || peer.is_root()
}

/// Its place in the state directory.
struct Place {
    socket: OwnedFd,
    path: PathBuf,
    /// Which file it is.
    number: u64,
}

impl Place {
    fn serve(self, kept: &[(String, OwnedFd)], line: OwnedFd) -> io::Result<()> {
        let mut line = Some(line);
        loop {
            let mut wanted = vec![PollFd::new(&self.socket, PollFlags::IN)];
            wanted.extend(line.as_ref().map(|line| PollFd::new(line, PollFlags::IN)));
            match poll(&mut wanted, Some(&LOOK_EVERY)) {
                Ok(0) if !self.is_there() => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let told = |at: usize| wanted.get(at).is_some_and(|one| !one.revents().is_empty());
            let (comes, speaks) = (told(0), told(1));
            if speaks && let Some(present) = &line {
                match recv_fds(present) {
                    Ok(parcel) if parcel.message == FORGET => {
                        // Another keeper may have taken its place.
                        if self.is_there() {
                            // Where it may not, a name is left at which nobody is.
                            let _ = std::fs::remove_file(&self.path);
                        }
                        return Ok(());
                    }
                    Ok(_) => {}
                    // The daemon has ended; the next one connects.
                    Err(_) => line = None,
                }
            }
            if comes && let Ok(next) = self.meet(kept) {
                line = Some(next);
            }
        }
    }

    /// Somebody connects: the next life of the daemon.
    fn meet(&self, kept: &[(String, OwnedFd)]) -> Result<OwnedFd, ParcelError> {
        let next = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        bounded(&next, PATIENCE)?;
        let asked = recv_fds(&next)?;
        if asked.message != GIVE {
            return Err(ParcelError::Malformed("it asks for nothing"));
        }
        let kept: Vec<_> = kept.iter().map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
        send_fds(&next, &kept, b"kept")?;
        Ok(next)
    }

    fn is_there(&self) -> bool {
        match rustix::fs::stat(&self.path) {
            Ok(found) => found.st_ino == self.number,
            Err(rustix::io::Errno::NOENT) => false,
            // It may not look.
            Err(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of the group may connect: what they would have removed is not theirs.
    #[test]
    fn a_keeper_serves_nobody_but_its_own_user_and_root() {
        let (own, other) = (Uid::from_raw(107), Uid::from_raw(108));
        assert!(serves(own, own) && serves(Uid::ROOT, own));
        assert!(!serves(other, own) && !serves(own, Uid::ROOT));
    }
}
