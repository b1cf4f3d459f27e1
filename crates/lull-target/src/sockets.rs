//! The listening sockets of a target: bound by a first process, kept through a restart, passed to a successor.

use crate::Config;
use lull_admin::{AdminListener, ListenError};
use lull_transport::{Addr, BindError, Listener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// The names under which sockets are passed on.
const ADMIN: &str = "admin";
const LISTEN: &str = "listen ";
const NBD: &str = "nbd ";

/// Every socket that a target listens on.
pub struct Sockets {
    /// For initiators.
    pub listen: Vec<Bound>,
    /// For clients without an agent.
    pub nbd: Vec<Bound>,
    /// For operators.
    pub admin: AdminListener,
}

/// A socket under the address that the configuration gives: a name or port 0 becomes something else once bound, and a
/// successor looks for what its own configuration says.
pub struct Bound {
    addr: Addr,
    /// The socket.
    pub listener: Rc<Listener>,
}

/// A socket could not be had.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SocketError {
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Admin(#[from] ListenError),
}

impl Sockets {
    /// Takes over what a predecessor passed on and binds the rest; what is not wanted any more is closed.
    ///
    /// # Errors
    /// The first socket that cannot be had.
    pub async fn open(
        config: &Config,
        inherited: Vec<(String, OwnedFd)>,
    ) -> Result<Self, SocketError> {
        let mut inherited: std::collections::BTreeMap<_, _> = inherited.into_iter().collect();
        let mut listen = Vec::new();
        for addr in &config.listen {
            listen.push(take(&mut inherited, LISTEN, addr).await?);
        }
        let mut nbd = Vec::new();
        for addr in &config.nbd {
            nbd.push(take(&mut inherited, NBD, addr).await?);
        }
        let admin = match inherited.remove(ADMIN).map(AdminListener::from_fd) {
            Some(Ok(admin)) if admin.addr() == config.admin => admin,
            Some(_) | None => AdminListener::bind(&config.admin)?,
        };
        Ok(Self { listen, nbd, admin })
    }

    /// What a successor is given.
    pub fn parcel(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let named = |prefix: &'static str| move |one: &Bound| format!("{prefix}{}", one.addr);
        let listen = self.listen.iter().map(|one| (named(LISTEN)(one), one.listener.as_fd()));
        let nbd = self.nbd.iter().map(|one| (named(NBD)(one), one.listener.as_fd()));
        listen.chain(nbd).chain([(ADMIN.to_owned(), self.admin.as_fd())]).collect()
    }

    /// Removes the sockets' names, for a target that ends without a successor.
    pub fn remove_files(&self) {
        for bound in self.listen.iter().chain(&self.nbd) {
            let _ = bound.listener.remove_file();
        }
        let _ = self.admin.unlink();
    }
}

async fn take(
    inherited: &mut std::collections::BTreeMap<String, OwnedFd>,
    prefix: &str,
    addr: &Addr,
) -> Result<Bound, SocketError> {
    let listener = match inherited.remove(&format!("{prefix}{addr}")) {
        Some(fd) => Listener::from_fd(addr, fd)?,
        None => Listener::bind(addr).await?,
    };
    Ok(Bound { addr: addr.clone(), listener: Rc::new(listener) })
}
