//! A safe place in the way of I/O. When this host is short of memory it writes to the disks that this daemon serves, and
//! waits for it: the daemon must not then wait for the host. Its code and data are not to be read from a disk, and what
//! it allocates is not to be had by writing to one.

use std::sync::OnceLock;

use lull_admin::Footing;
use lull_block::{DEFAULT_BUDGET, Pool};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, configure_io_flusher_behavior, getrlimit, is_io_flusher};

/// Bit of the capability with which memory is locked beyond the limit.
const CAP_IPC_LOCK: u32 = 14;

/// How much of an attachment's buffers is there from the start where memory is not to be waited for later: those of short
/// requests, in which a host that is short of memory writes.
const AT_ONCE: usize = 16 << 20;

/// How this process stands, once it has tried.
static TAKEN: OnceLock<Footing> = OnceLock::new();

/// Takes it for this process as far as that is permitted, and says what is missing. To be called before the process has
/// another thread: those that it starts then have it too.
pub fn take() {
    let footing = TAKEN.get_or_init(try_all);
    for missing in &footing.missing {
        // A service is there for others, a program in a terminal is looked at.
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(_) => tracing::warn!("{missing}"),
            None => tracing::debug!("{missing}"),
        }
    }
}

/// How far it has come; none: this process has not tried.
pub fn taken() -> Option<&'static Footing> {
    TAKEN.get()
}

/// The buffers of an attachment.
pub fn buffers() -> std::io::Result<Pool> {
    let pool = Pool::new(DEFAULT_BUDGET)?;
    if taken().is_some_and(Footing::is_firm) {
        // Where the kernel cannot, the first use takes the memory.
        let _ = pool.populate(AT_ONCE);
    }
    Ok(pool)
}

fn try_all() -> Footing {
    let mut missing = Vec::new();
    // First: what is locked is brought in, and that takes memory.
    let flusher = configure_io_flusher_behavior(true);
    let io_flusher = is_io_flusher().unwrap_or(false);
    if !io_flusher {
        let why = flusher.err().map_or_else(String::new, |error| format!(" ({error})"));
        missing.push(format!(
            "memory that it allocates may have to wait for a disk that it serves{why}: give it CAP_SYS_RESOURCE"
        ));
    }
    let locked = lock();
    if let Err(why) = &locked {
        missing.push(format!(
            "its memory may be swapped out or dropped, and is then read from a disk ({why}): set LimitMEMLOCK=infinity"
        ));
    }
    let oom_score_adj = std::fs::read_to_string("/proc/self/oom_score_adj");
    let oom_score_adj = oom_score_adj.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Footing { locked: locked.is_ok(), io_flusher, oom_score_adj, missing }
}

/// Locks what is there, all of it, and what comes, as soon as it is used: buffers and logs reserve much more than most
/// ever need.
fn lock() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock).maximum;
    // With a limit, a later mapping beyond it would fail, and with it the daemon.
    if let Some(limit) = limit.filter(|_| !may_lock_all()) {
        return Err(format!("it may lock {limit} bytes only"));
    }
    let mut own = getrlimit(Resource::Memlock);
    own.current = own.maximum;
    // Whoever may lock all does not need it.
    let _ = rustix::process::setrlimit(Resource::Memlock, own);
    let all = mlockall(MlockAllFlags::CURRENT)
        .and_then(|()| mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT));
    all.map_err(|error| error.to_string())
}

fn may_lock_all() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    bits >> CAP_IPC_LOCK & 1 == 1
}
