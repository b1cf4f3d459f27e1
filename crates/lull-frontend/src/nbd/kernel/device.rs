//! One `/dev/nbdN`: what it is connected to, and the commands that change it.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use super::netlink::{Attributes, Family};
use crate::nbd::{Dialect, Geometry};

/// Commands of the family.
mod command {
    pub const CONNECT: u8 = 1;
    pub const DISCONNECT: u8 = 2;
    pub const RECONFIGURE: u8 = 3;
}

/// Its attributes.
mod attr {
    pub const INDEX: u16 = 1;
    pub const SIZE_BYTES: u16 = 2;
    pub const BLOCK_SIZE_BYTES: u16 = 3;
    pub const TIMEOUT: u16 = 4;
    pub const SERVER_FLAGS: u16 = 5;
    pub const SOCKETS: u16 = 7;
    pub const DEAD_CONN_TIMEOUT: u16 = 8;
    pub const BACKEND_IDENTIFIER: u16 = 10;
    /// Within the sockets: one of them, and within that its descriptor.
    pub const SOCK_ITEM: u16 = 1;
    pub const SOCK_FD: u16 = 1;
}

/// How long requests wait for the next life of a daemon that was killed, in seconds; then they fail. A day: a device
/// that nobody will ever serve again should not keep its host from going down for good.
const NEXT_LIFE_S: u64 = 24 * 60 * 60;

/// After how many milliseconds the kernel looks after a request that is not answered. See the module.
const LOOK_AFTER_MS: u32 = 1000;

/// How long the kernel may take to see that a connection has ended: looks, and the time between them.
const LOOKS: u32 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A device of the kernel's NBD client, connected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NbdDevice {
    path: PathBuf,
    index: u32,
}

/// How a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nobody used it.
    Free,
    /// It has waited for this life, with whatever its users have asked.
    Waiting,
}

/// Why a device cannot be had. The text names the next step.
#[derive(Debug, thiserror::Error)]
pub enum NbdDeviceError {
    /// Another kind of path.
    #[error("{} is no device of the kernel's NBD: name one, as in /dev/nbd0", .0.display())]
    Name(PathBuf),
    /// The module is not loaded.
    #[error("this kernel has no NBD: load its module with `modprobe nbd`")]
    NoModule,
    /// Another one's.
    #[error("{path} is in use already, by {user}: name another one, or end that use", path = .0.display(), user = .1)]
    Taken(PathBuf, String),
    /// Nobody serves it, and somebody has not closed it.
    #[error(
        "{path} is still open, by those whose disk it was before: unmount it, or end them (`fuser --verbose {path}` names them)",
        path = .0.display()
    )]
    Open(PathBuf),
    /// Blocks that the kernel cannot have.
    #[error("{path} cannot have blocks of {block} bytes: the kernel takes 512 to 4096", path = .0.display(), block = .1)]
    Block(PathBuf, u32),
    /// What the kernel says.
    #[error("{path} cannot be {what}: {error}; it takes root, or CAP_SYS_ADMIN", path = .0.display(), what = .1, error = .2)]
    Refused(PathBuf, &'static str, io::Error),
}

impl NbdDevice {
    /// The device of this path, which need not exist yet.
    ///
    /// # Errors
    /// A path that names no such device.
    pub fn new(path: &Path) -> Result<NbdDevice, NbdDeviceError> {
        let name = path.to_str().and_then(|text| text.strip_prefix("/dev/nbd"));
        let plain = name.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let index = plain.and_then(|number| number.parse().ok());
        let index = index.ok_or_else(|| NbdDeviceError::Name(path.to_owned()))?;
        Ok(NbdDevice { path: path.to_owned(), index })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the kernel a socket under a name by which the next life knows the device again; the other end is to be served.
    /// To be called where blocking hurts nobody.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn open(
        &self,
        name: &str,
        geometry: &Geometry,
    ) -> Result<(Found, UnixStream), NbdDeviceError> {
        if self.is_connected() {
            if !self.is_of(name) {
                return Err(NbdDeviceError::Taken(self.path.clone(), self.user()));
            }
            return Ok((Found::Waiting, self.reconnect(name, UnixStream::pair)?));
        }
        let geometry = geometry.clone().bounded();
        let block = geometry.block.max(512);
        if block > 4096 {
            return Err(NbdDeviceError::Block(self.path.clone(), block));
        }
        let attributes = self
            .named(name)
            .u64(attr::SIZE_BYTES, geometry.size - geometry.size % u64::from(block))
            .u64(attr::BLOCK_SIZE_BYTES, block.into())
            .u64(attr::SERVER_FLAGS, geometry.flags(Dialect::Simple).into())
            .u64(attr::TIMEOUT, 0)
            .u64(attr::DEAD_CONN_TIMEOUT, NEXT_LIFE_S);
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| self.refused("connected", error))?;
        let attributes = attributes.nested(attr::SOCKETS, &socket_list(theirs.as_fd()));
        self.ask(command::CONNECT, attributes, "connected").map_err(still_open)?;
        Ok((Found::Free, ours))
    }

    /// Gives the kernel one of a `pair` instead of a connection that has ended; the other one. Where that is just now, the kernel
    /// takes none until it has seen it, which is waited for. What was in flight comes again. To be called where blocking hurts
    /// nobody.
    ///
    /// # Errors
    /// What the kernel says, or that it does not see it.
    pub fn reconnect(
        &self,
        name: &str,
        mut pair: impl FnMut() -> io::Result<(UnixStream, UnixStream)>,
    ) -> Result<UnixStream, NbdDeviceError> {
        let what = "connected anew";
        for _ in 0..LOOKS {
            let (ours, theirs) = pair().map_err(|error| self.refused(what, error))?;
            let attributes = self.named(name).nested(attr::SOCKETS, &socket_list(theirs.as_fd()));
            self.ask(command::RECONFIGURE, attributes, what)?;
            drop(theirs);
            // It reports no error where no connection of its own has ended: it has let go of this one.
            if !is_let_go(&ours).map_err(|error| self.refused(what, error))? {
                return Ok(ours);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let late = "the kernel has not seen the end of the connection before";
        Err(self.refused(what, io::Error::new(io::ErrorKind::TimedOut, late)))
    }

    /// Lets the device go: what its users ask from here on fails. Nothing happens to one that is not connected, or to
    /// another one's.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn disconnect(&self, name: &str) -> Result<(), NbdDeviceError> {
        if !self.is_of(name) {
            return Ok(());
        }
        let attributes = Attributes::default().u32(attr::INDEX, self.index);
        self.ask(command::DISCONNECT, attributes, "disconnected")
    }

    /// Whether it is connected under this name.
    pub fn is_of(&self, name: &str) -> bool {
        self.is_connected() && self.read("backend").is_some_and(|found| found.trim_end() == name)
    }

    /// Requests that the kernel has sent, or is about to, and has no answer to; of flushes it does not tell.
    pub fn in_flight(&self) -> u64 {
        let counts = self.read("inflight").unwrap_or_default();
        counts.split_whitespace().filter_map(|count| count.parse::<u64>().ok()).sum()
    }

    fn is_connected(&self) -> bool {
        self.read("pid").is_some()
    }

    fn user(&self) -> String {
        match (self.read("backend"), self.read("pid")) {
            (Some(backend), Some(pid)) => format!("{}, pid {}", backend.trim(), pid.trim()),
            (None, Some(pid)) => format!("pid {}", pid.trim()),
            (_, None) => "somebody who has just left".to_owned(),
        }
    }

    /// Sets what the commands have no attributes for. To be called beside the service of the device, where blocking
    /// hurts nobody: the kernel may wait for all that is in flight before it changes anything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tune(&self, geometry: &Geometry) -> Result<(), NbdDeviceError> {
        let limit = |what: &str, most: u32| {
            let what = format!("queue/{what}");
            let now = self.read(&what).and_then(|value| value.trim().parse::<u32>().ok());
            if now.is_some_and(|now| now <= most) {
                return Ok(());
            }
            fs::write(self.attribute(&what), most.to_string())
                .map_err(|error| self.refused("set up in /sys", error))
        };
        limit("io_timeout", LOOK_AFTER_MS)?;
        limit("max_sectors_kb", geometry.clone().bounded().max_length >> 10)
    }

    fn named(&self, name: &str) -> Attributes {
        Attributes::default().u32(attr::INDEX, self.index).text(attr::BACKEND_IDENTIFIER, name)
    }

    fn ask(
        &self,
        command: u8,
        attributes: Attributes,
        what: &'static str,
    ) -> Result<(), NbdDeviceError> {
        let family = Family::find("nbd").map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NbdDeviceError::NoModule,
            _ => self.refused(what, error),
        })?;
        let answer = family.ask(command, attributes);
        answer.map(drop).map_err(|error| self.refused(what, error))
    }

    fn refused(&self, what: &'static str, error: io::Error) -> NbdDeviceError {
        NbdDeviceError::Refused(self.path.clone(), what, error)
    }

    fn read(&self, attribute: &str) -> Option<String> {
        fs::read_to_string(self.attribute(attribute)).ok()
    }

    fn attribute(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/sys/block/nbd{}/{name}", self.index))
    }
}

/// The kernel connects no device anew that its last users have not closed.
fn still_open(error: NbdDeviceError) -> NbdDeviceError {
    match error {
        NbdDeviceError::Refused(path, _, why)
            if Errno::from_io_error(&why) == Some(Errno::BUSY) =>
        {
            NbdDeviceError::Open(path)
        }
        other => other,
    }
}

/// Whether nobody has the other end any more, whatever there is still to be read.
fn is_let_go(ours: &UnixStream) -> io::Result<bool> {
    let mut looked = [PollFd::new(ours, PollFlags::empty())];
    retry_on_intr(|| poll(&mut looked, Some(&Timespec::default())))?;
    Ok(looked[0].revents().contains(PollFlags::HUP))
}

fn socket_list(socket: BorrowedFd<'_>) -> Attributes {
    let number = socket.as_raw_fd() as u32;
    let one = Attributes::default().u32(attr::SOCK_FD, number);
    Attributes::default().nested(attr::SOCK_ITEM, &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_devices_of_the_kernels_nbd_are_taken() {
        assert_eq!(NbdDevice::new(Path::new("/dev/nbd12")).unwrap().index, 12);
        for wrong in
            ["/dev/nbd", "/dev/nbd0p1", "/dev/nbd+1", "/dev/sda", "nbd0", "/dev/nbd99999999999"]
        {
            assert!(NbdDevice::new(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_socket_that_nobody_took_is_known_by_its_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut theirs, b"to be read first").unwrap();
        assert!(!is_let_go(&ours).unwrap());
        drop(theirs);
        assert!(is_let_go(&ours).unwrap());
    }

    #[test]
    fn a_device_that_is_still_open_is_said_to_be_so() {
        let refused = |errno: Errno| {
            let path = PathBuf::from("/dev/nbd0");
            still_open(NbdDeviceError::Refused(path, "connected", errno.into())).to_string()
        };
        assert!(refused(Errno::BUSY).contains("/dev/nbd0 is still open"));
        assert!(refused(Errno::PERM).contains("it takes root"));
    }
}
