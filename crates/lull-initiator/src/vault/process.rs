//! The keeper as a process: it holds descriptors, gives them to whoever starts the daemon again, and ends when it is told
//! to, or when its place in the state directory is gone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use lull_transport::handover::{self, ParcelError, recv_fds, send_fds};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::program::{FORGET, GIVE, KEEP, KEPT, VARIABLE, address, bounded, open_dir, socket_name};

/// How often it looks whether its place is still there.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// How long whoever connects may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps what attachment `name`, whose state is in `dir`, leaves to its next life, until it is told to forget it.
///
/// # Errors
/// It was not started by a daemon, or cannot listen.
pub fn keep_log(dir: &Path, name: &str) -> io::Result<()> {
    let number = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let number = number.ok_or_else(|| {
        io::Error::other("a daemon starts this when it needs it; there is nothing to do by hand")
    })?;
    let line = handover::inherited(number).map_err(io::Error::other)?;
    // What ends the daemon, an interrupt from its terminal too, must not end its keeper.
    let _ = rustix::process::setsid();
    let given = recv_fds(&line).map_err(io::Error::other)?;
    if given.message != KEEP || given.fds.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    match Place::take(dir, name) {
        Ok(place) => {
            send_fds(&line, &[], KEPT).map_err(io::Error::other)?;
            place.serve(&given.fds, line)
        }
        Err(error) => {
            let why = format!("it cannot listen in {}: {error}", dir.display());
            let _ = send_fds(&line, &[], why.as_bytes());
            Err(error)
        }
    }
}

/// Its place in the state directory.
struct Place {
    socket: OwnedFd,
    path: std::path::PathBuf,
    /// Which file it is.
    number: u64,
}

impl Place {
    fn take(dir: &Path, name: &str) -> io::Result<Self> {
        // Whoever may connect gets the log: its owner only.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        let (within, file) = (open_dir(dir)?, socket_name(name));
        let path = dir.join(&file);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &address(&within, &file)?)?;
        rustix::net::listen(&socket, 4)?;
        let number = rustix::fs::stat(&path)?.st_ino;
        // No file system is kept busy by a process that only waits.
        std::env::set_current_dir("/")?;
        Ok(Self { socket, path, number })
    }

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
                        return if self.is_there() {
                            std::fs::remove_file(&self.path)
                        } else {
                            Ok(())
                        };
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
        rustix::fs::stat(&self.path).is_ok_and(|found| found.st_ino == self.number)
    }
}
