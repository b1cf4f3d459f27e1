//! A service manager, as far as daemons tell it what becomes of them: the receiving end of `sd_notify`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::wait::PROMPT;

/// The socket that daemons find in `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
}

/// One message: assignments, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(String);

impl ServiceManager {
    pub(crate) fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).expect("a socket for notices");
        socket.set_read_timeout(Some(PROMPT)).expect("a limit for reading");
        Self { socket }
    }

    /// The next message.
    ///
    /// # Panics
    /// Where none comes.
    #[track_caller]
    pub fn next(&self) -> Notice {
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Notice(String::from_utf8_lossy(&bytes[..length]).into_owned()),
            Err(error) => panic!("no daemon told the service manager anything: {error}"),
        }
    }
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
