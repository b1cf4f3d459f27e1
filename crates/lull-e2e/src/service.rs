//! A service manager, as far as daemons tell it what becomes of them: the receiving end of `sd_notify`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use lull_transport::handover;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::wait::PROMPT;

/// The socket that daemons find in `NOTIFY_SOCKET`, and the descriptors that they gave to be kept.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    stored: RefCell<BTreeMap<String, OwnedFd>>,
    /// How often a daemon said that its loop turns.
    beats: Cell<u64>,
}

/// One message: assignments, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl ServiceManager {
    pub(crate) fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).expect("a socket for notices");
        socket.set_read_timeout(Some(PROMPT)).expect("a limit for reading");
        Self { socket, stored: RefCell::default(), beats: Cell::default() }
    }

    /// The next message that is neither a sign of life nor about descriptors to be kept; those are obeyed.
    ///
    /// # Panics
    /// Where none comes.
    #[track_caller]
    pub fn next(&self) -> Notice {
        loop {
            match self.receive() {
                Ok(Some(notice)) => return notice,
                Ok(None) => {}
                Err(error) => panic!("no daemon told the service manager anything: {error}"),
            }
        }
    }

    /// Waits until a daemon says once more that its loop turns.
    ///
    /// # Panics
    /// Where none does, or it says something else first.
    #[track_caller]
    pub fn wait_beat(&self) {
        let before = self.beats.get();
        while self.beats.get() == before {
            match self.receive() {
                Ok(None) => {}
                Ok(Some(notice)) => panic!("instead of a sign of life: {notice:?}"),
                Err(error) => panic!("no daemon gave a sign of life: {error}"),
            }
        }
    }

    fn receive(&self) -> io::Result<Option<Notice>> {
        let (mut bytes, mut space) =
            ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(&self.socket, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let files = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        });
        let file = files.flatten().next();
        let notice = Notice(String::from_utf8_lossy(&bytes[..got.bytes]).into_owned());
        let name = notice.value("FDNAME").unwrap_or("stored").to_owned();
        if notice.value("WATCHDOG") == Some("1") {
            self.beats.set(self.beats.get() + 1);
            return Ok(None);
        }
        match (notice.value("FDSTORE"), notice.value("FDSTOREREMOVE"), file) {
            (Some("1"), _, Some(file)) => _ = self.stored.borrow_mut().insert(name, file),
            (_, Some("1"), _) => _ = self.stored.borrow_mut().remove(&name),
            _ => return Ok(Some(notice)),
        }
        Ok(None)
    }

    /// Names of what daemons gave to be kept. All that they said so far is heard; the rest of it is forgotten.
    pub fn stored(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).expect("a socket that does not wait");
        while self.receive().is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket that waits");
        self.stored.borrow().keys().cloned().collect()
    }

    /// The command as this service manager starts it: with what it keeps.
    ///
    /// # Panics
    /// Where it keeps other than one.
    #[track_caller]
    pub fn with_stored(&self, command: &Command) -> Command {
        let stored = self.stored.borrow();
        let mut all = stored.iter();
        let (Some((name, file)), None) = (all.next(), all.next()) else {
            panic!("not one descriptor is kept: {stored:?}");
        };
        with_passed(command, name, file)
    }
}

/// The command as a service manager starts it that passes it this, under this name.
pub(crate) fn with_passed(command: &Command, name: &str, file: impl AsFd) -> Command {
    let mut started = Command::new("/bin/bash");
    let file = file.as_fd().try_clone_to_owned().expect("a descriptor");
    let number = handover::inherit(&mut started, file, 10).expect("a descriptor for a child");
    let script = format!(
        "exec 3<&{number} {number}<&-; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec \"$0\" \"$@\""
    );
    started.arg("-c").arg(script).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        started.current_dir(dir);
    }
    started
}

impl Notice {
    /// What is assigned to this variable.
    pub fn value(&self, variable: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == variable).map(|(_, value)| value)
    }

    /// Whether it says that the daemon serves.
    pub fn is_ready(&self) -> bool {
        self.value("READY") == Some("1")
    }
}
