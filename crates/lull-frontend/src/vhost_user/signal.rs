//! The descriptors of a ring: by one the guest says that there is something, by the other it hears that something is done.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use lull_transport::watch;

/// How the guest is told.
#[derive(Debug, Default)]
pub struct Signal(RefCell<Option<OwnedFd>>);

impl Signal {
    /// From now on by this descriptor; without one the guest looks itself.
    pub fn set(&self, fd: Option<OwnedFd>) {
        self.0.replace(fd);
        // It may have missed what was told to the one before.
        self.call();
    }

    /// Tells it. A counter that has no room left is read soon.
    pub fn call(&self) {
        if let Some(fd) = &*self.0.borrow() {
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }
}

/// How the guest tells.
#[derive(Debug)]
pub struct Kick(AsyncFd<OwnedFd>);

impl Kick {
    /// Takes an eventfd.
    ///
    /// # Errors
    /// It can neither be made non-blocking nor be watched.
    pub fn new(fd: OwnedFd) -> io::Result<Kick> {
        watch(fd, Interest::READABLE | Interest::ERROR).map(Kick)
    }

    /// Ends when the guest has kicked since the last time.
    ///
    /// # Errors
    /// It is no descriptor that anybody could kick with.
    pub async fn heard(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.ready(Interest::READABLE).await?;
            match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
                Ok(8) => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
