//! Parcels from within a tokio loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Parcel, ParcelError, recv_fds, send_fds};
use crate::watch::watch;

/// One end of a handover socket in a runtime.
#[derive(Debug)]
pub struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Takes an end of a pair; must be called within a runtime.
    pub fn new(end: OwnedFd) -> io::Result<Channel> {
        watch(end, Interest::READABLE | Interest::WRITABLE).map(Channel)
    }

    /// Sends `message` together with `fds` in one piece. Cancel-safe: sent whole or not at all.
    pub async fn send(
        &self,
        message: &[u8],
        fds: &[(String, BorrowedFd<'_>)],
    ) -> Result<(), ParcelError> {
        self.when_ready(Interest::WRITABLE, |fd| send_fds(fd, fds, message)).await
    }

    /// The next parcel. Cancel-safe.
    pub async fn recv(&self) -> Result<Parcel, ParcelError> {
        self.when_ready(Interest::READABLE, |fd| recv_fds(fd)).await
    }

    /// The next parcel, if it has come.
    pub fn look(&self) -> Option<Result<Parcel, ParcelError>> {
        match recv_fds(self.as_fd()) {
            Err(ParcelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(received),
        }
    }

    async fn when_ready<T>(
        &self,
        interest: Interest,
        mut act: impl FnMut(BorrowedFd<'_>) -> Result<T, ParcelError>,
    ) -> Result<T, ParcelError> {
        loop {
            let mut guard = self.0.ready(interest).await?;
            match act(self.0.get_ref().as_fd()) {
                Err(ParcelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                }
                other => return other,
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
