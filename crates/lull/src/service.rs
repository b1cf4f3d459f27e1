//! What a service manager that waits for it is told of a daemon, by the protocol of `sd_notify`.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::OnceLock;

use lull_admin::{Moment, Role};
use lull_initiator::{Keeping, Starter};
use sd_notify::NotifyState;

/// The variable that names the socket at which a service manager starts a process that keeps a log.
const KEEPERS: &str = "LULL_LOG_KEEPERS";

/// Who keeps what is to outlive this process: a process of ours, or the service manager, which would end any such process
/// with it that it has not started itself, in a unit of its own. What it keeps itself it drops when the unit is stopped, be
/// that in between a crash and the next start [SAFE-10].
pub fn keeping() -> Keeping {
    let keepers = std::env::var_os(KEEPERS).map(PathBuf::from).filter(|socket| socket.exists());
    if let Some(socket) = keepers {
        return Keeping::Process(Starter::ServiceManager(socket));
    }
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return Keeping::ServiceManager;
    }
    match std::env::current_exe() {
        Ok(program) => Keeping::Process(Starter::Daemon(program)),
        Err(error) => {
            tracing::warn!("this program does not know its own path: {error}");
            Keeping::Nowhere
        }
    }
}

/// Gives this process the name that lists of processes show, by which the daemons of one host are told apart. To be called
/// before it has another thread: those that it starts then have the name too.
pub fn name_process(role: Role) {
    let name = match role {
        Role::Target => c"lull-target",
        Role::Initiator => c"lull-initiator",
    };
    // Nothing but a list depends on it.
    let _ = rustix::thread::set_name(name);
}

/// Tells the service manager that started this process, where one did and asked for it.
pub fn tell(moment: Moment<'_>) {
    let told = match moment {
        Moment::Waiting(what) => sd_notify::notify(&[NotifyState::Status(what)]),
        // A successor is another process than the one that was started.
        Moment::Serving(what) => sd_notify::notify(&[
            NotifyState::MainPid(std::process::id()),
            NotifyState::Ready,
            NotifyState::Status(what),
        ]),
        Moment::HandingOver => NotifyState::monotonic_usec_now().and_then(|now| {
            let status = NotifyState::Status("hands over to the process that serves next");
            sd_notify::notify(&[NotifyState::Reloading, now, status])
        }),
        Moment::Alive => {
            beat();
            return;
        }
        Moment::Ending { within } => {
            // The crate's own kind of it ends at 71 minutes, and a pause may be longer.
            let extend = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
            let status = NotifyState::Status("ends as soon as nobody is cut off by it");
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::Custom(&extend), status])
        }
    };
    if let Err(error) = told {
        tracing::warn!("the service manager could not be told: {error}");
    }
}

/// Tells a service manager that ends processes which hang that this one does not. Never waits: a service manager that
/// reads nothing, because it waits for a disk itself, must not keep others waiting for theirs.
fn beat() {
    static WATCHDOG: OnceLock<Option<UnixDatagram>> = OnceLock::new();
    if let Some(socket) = WATCHDOG.get_or_init(watchdog) {
        // One that it misses is followed by others long before it is missed.
        let _ = socket.send(b"WATCHDOG=1");
    }
}

/// The way to a service manager that wants to hear of it. Not only from the process that it started: a successor has the
/// variable too.
fn watchdog() -> Option<UnixDatagram> {
    std::env::var_os("WATCHDOG_USEC")?;
    let at = std::env::var("NOTIFY_SOCKET").ok()?;
    let addr = match at.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&at),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&addr.ok()?).ok()?;
    Some(socket)
}
