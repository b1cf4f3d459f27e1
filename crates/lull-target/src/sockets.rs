//! The listening sockets of a target: bound by a first process, or by the service manager for it; kept through a restart,
//! passed to a successor. Those over TCP are given to the service manager to be kept as well: who dials while a process
//! that was killed is started again waits, and is not refused.

use crate::Config;
use lull_admin::{AdminListener, ListenError};
use lull_transport::{Addr, BindError, Listener, handover};
use rustix::net::SocketAddrUnix;
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

/// The names under which sockets are passed on.
const ADMIN: &str = "admin";
const LISTEN: &str = "listen ";
const NBD: &str = "nbd ";
/// A second name of those that the service manager has bound: their files are its own.
const LENT: &str = "lent ";
/// The name under which the service manager keeps those over TCP.
const KEPT: &str = "lull-listening";

/// Every socket that a target listens on.
pub struct Sockets {
    /// For initiators.
    pub listen: Vec<Bound>,
    /// For clients without an agent.
    pub nbd: Vec<Bound>,
    /// For operators.
    pub admin: AdminListener,
    /// No process before this one has listened there.
    admin_is_own: bool,
}

/// A socket under the address that the configuration gives: a name or port 0 becomes something else once bound, and a
/// successor looks for what its own configuration says.
pub struct Bound {
    addr: Addr,
    /// The service manager bound it, and removes its file.
    is_lent: bool,
    /// No process before this one has listened there.
    is_own: bool,
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
    /// The first socket that cannot be had. Those that were bound before it are gone again.
    pub async fn open(
        config: &Config,
        inherited: Vec<(String, OwnedFd)>,
    ) -> Result<Self, SocketError> {
        let mut inherited: std::collections::BTreeMap<_, _> = inherited.into_iter().collect();
        let mut lent = Lent::of_this_process();
        let (admin, admin_is_own) = match inherited.remove(ADMIN).map(AdminListener::from_fd) {
            Some(Ok(admin)) if admin.addr() == config.admin => (admin, false),
            Some(_) | None => (AdminListener::bind(&config.admin)?, true),
        };
        let mut all = Self { listen: Vec::new(), nbd: Vec::new(), admin, admin_is_own };
        for addr in &config.listen {
            let taken = take(&mut inherited, &mut lent, LISTEN, addr).await;
            all.listen.push(taken.inspect_err(|_| all.remove_own_files())?);
        }
        for addr in &config.nbd {
            let taken = take(&mut inherited, &mut lent, NBD, addr).await;
            all.nbd.push(taken.inspect_err(|_| all.remove_own_files())?);
        }
        Ok(all)
    }

    /// What a successor is given.
    pub fn parcel(&self) -> Vec<(String, BorrowedFd<'_>)> {
        let named = |prefix: &'static str| move |one: &Bound| format!("{prefix}{}", one.addr);
        let listen = self.listen.iter().map(|one| (named(LISTEN)(one), one.listener.as_fd()));
        let nbd = self.nbd.iter().map(|one| (named(NBD)(one), one.listener.as_fd()));
        let lent = self.listen.iter().chain(&self.nbd).filter(|one| one.is_lent);
        let lent = lent.map(|one| (named(LENT)(one), one.listener.as_fd()));
        listen.chain(nbd).chain(lent).chain([(ADMIN.to_owned(), self.admin.as_fd())]).collect()
    }

    /// Gives those over TCP to the service manager, where there is one, instead of what it has.
    pub fn keep(&self) {
        let all = self.listen.iter().chain(&self.nbd);
        let tcp = all.filter(|one| matches!(*one.listener, Listener::Tcp(_)));
        let fds: Vec<_> = tcp.map(|one| one.listener.as_fd()).collect();
        let forget = [NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::FdName(KEPT)];
        let given = sd_notify::notify(&forget).and_then(|()| {
            if fds.is_empty() {
                return Ok(());
            }
            sd_notify::notify_with_fds(&[NotifyState::FdStore, NotifyState::FdName(KEPT)], &fds)
        });
        if let Err(error) = given {
            tracing::warn!("the service manager could not be given the listening sockets: {error}");
        }
    }

    /// Removes the sockets' names, for a target that ends without a successor.
    pub fn remove_files(&self) {
        self.remove(|_| true);
        let _ = self.admin.unlink();
    }

    /// Removes the names at which nobody has listened before this process, which does not begin to serve.
    pub fn remove_own_files(&self) {
        self.remove(|one| one.is_own);
        if self.admin_is_own {
            let _ = self.admin.unlink();
        }
    }

    fn remove(&self, which: impl Fn(&Bound) -> bool) {
        let all = self.listen.iter().chain(&self.nbd);
        for bound in all.filter(|one| !one.is_lent && which(one)) {
            let _ = bound.listener.remove_file();
        }
    }
}

/// Sockets of the service manager's, which it bound for this process or kept for it, at the addresses where they listen.
#[derive(Default)]
struct Lent(Vec<(Addr, Listener, bool)>);

impl Lent {
    /// Those of this process; there are none where another process was started by it.
    fn of_this_process() -> Self {
        let mut lent = Self::default();
        for (name, fd) in handover::from_service_manager() {
            let bound = name != KEPT;
            match fd.map_err(|error| error.to_string()).and_then(listener) {
                Ok((addr, listener)) => lent.0.push((addr, listener, bound)),
                Err(error) => {
                    tracing::warn!("the service manager's socket {name} cannot be used: {error}");
                }
            }
        }
        lent
    }

    /// The one that listens at what this address means.
    async fn take(&mut self, addr: &Addr) -> Option<(Listener, bool)> {
        let wanted = match addr {
            Addr::Unix(_) | Addr::Vsock { .. } => vec![addr.clone()],
            Addr::Tcp { host, port } => {
                let found = tokio::net::lookup_host((host.as_str(), *port)).await;
                found.map(|all| all.map(Addr::from).collect()).unwrap_or_default()
            }
        };
        let place = self.0.iter().position(|(at, ..)| wanted.contains(at))?;
        let (_, listener, bound) = self.0.swap_remove(place);
        Some((listener, bound))
    }
}

/// A descriptor that may be a listening socket of any kind, and where it listens.
fn listener(fd: OwnedFd) -> Result<(Addr, Listener), String> {
    let name = rustix::net::getsockname(&fd).map_err(|error| error.to_string())?;
    let addr = match SocketAddr::try_from(name.clone()) {
        Ok(addr) => Addr::from(addr),
        Err(_) => {
            let unix = SocketAddrUnix::try_from(name).map_err(|error| error.to_string())?;
            let path = unix.path_bytes().ok_or("it has no path")?;
            Addr::Unix(OsStr::from_bytes(path).into())
        }
    };
    let listener = Listener::from_fd(&addr, fd).map_err(|error| error.to_string())?;
    Ok((addr, listener))
}

async fn take(
    inherited: &mut std::collections::BTreeMap<String, OwnedFd>,
    lent: &mut Lent,
    prefix: &str,
    addr: &Addr,
) -> Result<Bound, SocketError> {
    let inherits = format!("{prefix}{addr}");
    let is_own = !inherited.contains_key(&inherits);
    let (listener, is_lent) = match inherited.remove(&inherits) {
        Some(fd) => {
            let is_lent = inherited.remove(&format!("{LENT}{addr}")).is_some();
            (Listener::from_fd(addr, fd)?, is_lent)
        }
        None => match lent.take(addr).await {
            Some(lent) => lent,
            None => (Listener::bind(addr).await?, false),
        },
    };
    Ok(Bound { addr: addr.clone(), is_lent, is_own, listener: Rc::new(listener) })
}
