//! A safe place in the way of I/O. When this host is short of memory it writes to the disks that this daemon serves, and
//! waits for it: the daemon must not then wait for the host. Its code and data are not to be read from a disk, and what
//! it allocates is not to be had by writing to one. Where a disk is this host's own, what its requests need is there
//! from the start, and for what the kernel needs to carry them on there is memory that other programs cannot take
//! (docs/decisions/0021).

use std::sync::OnceLock;

use lull_admin::{Footing, show_bytes};
use lull_block::{DEFAULT_BUDGET, Pool};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, configure_io_flusher_behavior, getrlimit, is_io_flusher};

use crate::config::{AttachmentConfig, Config};
use crate::journal::Journal;

mod realtime;

/// Bit of the capability with which memory is locked beyond the limit.
const CAP_IPC_LOCK: u32 = 14;

/// How much of an attachment's buffers is there from the start where memory is not to be waited for later: those of short
/// requests, in which a host that is short of memory writes.
const AT_ONCE: usize = 16 << 20;

/// The buffers of a disk of this host's own, in bytes: half as many as usual, so that they may be there from the start.
const OWN_BUDGET: usize = DEFAULT_BUDGET / 2;
/// Those of up to 256 KiB among them. The kernel writes its swap in requests of 128 KiB at most.
const OWN_AT_ONCE: usize = 28 << 20;

/// What a host is to keep free for those who cannot wait, in KiB, where a disk is its own: half of it is there for the
/// daemon's sockets, which take a few MiB while they send and receive.
const KEPT_FREE_KIB: u64 = 16 << 10;

/// What may be retained for a disk of this host's own, in parts of the host's memory. More is neither taken at the start
/// nor there for sure when it is needed.
const MOST_RETAINED: u64 = 4;

/// How this process stands, once it has tried.
static TAKEN: OnceLock<Footing> = OnceLock::new();

/// Takes it for this process as far as that is permitted, and says what is missing. To be called before the process has
/// another thread: those that it starts then have it too.
pub fn take(config: &Config) {
    let footing = TAKEN.get_or_init(|| try_all(config));
    for missing in &footing.missing {
        // A service is there for others, a program in a terminal is looked at.
        match is_service() {
            true => tracing::warn!("{missing}"),
            false => tracing::debug!("{missing}"),
        }
    }
}

/// Whether a service manager has started this process, whose unit says what it may.
fn is_service() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How far it has come; none: this process has not tried.
pub fn taken() -> Option<&'static Footing> {
    TAKEN.get()
}

/// Whether what is brought in now stays.
fn stays() -> bool {
    taken().is_some_and(|footing| footing.locked && footing.io_flusher)
}

/// The buffers of an attachment.
pub fn buffers(attachment: &AttachmentConfig) -> std::io::Result<Pool> {
    let (budget, at_once) = match attachment.is_device() {
        true => (OWN_BUDGET, OWN_AT_ONCE),
        false => (DEFAULT_BUDGET, AT_ONCE),
    };
    let pool = Pool::new(budget)?;
    if stays() {
        // Where the kernel cannot, the first use takes the memory.
        let _ = pool.populate(at_once);
    }
    Ok(pool)
}

/// Takes the memory of a log now where the disk is this host's own.
pub fn bring_in(attachment: &AttachmentConfig, journal: &Journal) {
    if attachment.is_device() && stays() && is_little(attachment.retain, memory()) {
        // As above.
        let _ = journal.populate();
    }
}

/// Does what starts another program, which is to stand like any other.
pub fn outside<T>(start: impl FnOnce() -> T) -> T {
    if !realtime::is_entered() {
        return start();
    }
    // Who may enter may leave.
    let _ = realtime::leave();
    let started = start();
    let _ = realtime::enter();
    started
}

fn try_all(config: &Config) -> Footing {
    let mut missing = Vec::new();
    // First: what is locked is brought in, and that takes memory.
    let flusher = configure_io_flusher_behavior(true);
    let io_flusher = is_io_flusher().unwrap_or(false);
    let own: Vec<_> = config.attachments.iter().filter(|one| one.is_device()).collect();
    let next = Next::here();
    if let (false, Some(next)) = (io_flusher, next.flusher(!own.is_empty())) {
        let why = flusher.err().map_or_else(String::new, |error| format!(" ({error})"));
        missing.push(format!(
            "memory that it allocates may have to wait for a disk that it serves{why}: {next}"
        ));
    }
    let entered = if own.is_empty() { Ok(()) } else { realtime::enter() };
    if let Err(error) = entered {
        missing.push(format!(
            "programs of this host may take the memory that it needs to send and receive ({error}): {}",
            next.realtime()
        ));
    }
    let locked = lock();
    if let Err(why) = &locked {
        missing.push(format!(
            "its memory may be swapped out or dropped, and is then read from a disk ({why}): {}",
            next.locked()
        ));
    }
    if !own.is_empty() {
        missing.extend(too_little_free(kept_free_kib()));
        let memory = memory();
        let too_much = |one: &&AttachmentConfig| too_much_retained(&one.name, one.retain, memory);
        missing.extend(own.iter().filter_map(too_much));
    }
    let oom_score_adj = std::fs::read_to_string("/proc/self/oom_score_adj");
    let oom_score_adj = oom_score_adj.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let (locked, realtime) = (locked.is_ok(), realtime::is_entered());
    Footing { locked, io_flusher, realtime, oom_score_adj, missing }
}

/// Who is to grant what is missing, in words that somebody can act on where this process was started.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The unit of a service.
    Unit,
    /// A shell: its user has limits to raise, and no capability to give.
    Shell,
}

impl Next {
    fn here() -> Self {
        if is_service() { Self::Unit } else { Self::Shell }
    }

    /// None: nothing that can be done here is worth it. `own`: a disk of this host's own is served.
    fn flusher(self, own: bool) -> Option<&'static str> {
        match self {
            Self::Unit => Some("give it CAP_SYS_RESOURCE"),
            Self::Shell if own => Some("start it as a service, whose unit grants what that takes"),
            Self::Shell => None,
        }
    }

    fn realtime(self) -> &'static str {
        match self {
            Self::Unit => "set LimitRTPRIO=1 and RestrictRealtime=no",
            Self::Shell => "start it after `ulimit -r 1`",
        }
    }

    fn locked(self) -> &'static str {
        match self {
            Self::Unit => "set LimitMEMLOCK=infinity",
            Self::Shell => {
                "start it after `ulimit -l unlimited`, or as a service with LimitMEMLOCK=infinity"
            }
        }
    }
}

/// What is wrong with so much of a host's memory kept free; unknown is not wrong.
fn too_little_free(kib: Option<u64>) -> Option<String> {
    let kib = kib.filter(|kib| *kib < KEPT_FREE_KIB)?;
    Some(format!(
        "this host keeps {kib} KiB free for what cannot wait, of which it sends what its programs write to the disk when \
         they have taken all the rest: set vm.min_free_kbytes to {KEPT_FREE_KIB}"
    ))
}

/// What is wrong with what an attachment retains on a host with so much memory, in bytes.
fn too_much_retained(name: &str, retain: u64, memory: Option<u64>) -> Option<String> {
    let much = (!is_little(retain, memory)).then(|| show_bytes(retain))?;
    Some(format!(
        "{name} may retain {much}, more than a quarter of this host's memory, and takes it when it needs it, which may be \
         when there is none left: give it less (--retain)"
    ))
}

fn is_little(retain: u64, memory: Option<u64>) -> bool {
    memory.is_none_or(|memory| retain <= memory / MOST_RETAINED)
}

/// All of this host's memory, in bytes.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

fn kept_free_kib() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/min_free_kbytes").ok()?.trim().parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_disk_of_its_own_is_told_what_its_host_keeps_too_little_of() {
        assert_eq!(too_little_free(Some(KEPT_FREE_KIB)), None);
        assert_eq!(too_little_free(None), None, "unknown");
        let told = too_little_free(Some(2146)).expect("it is too little");
        assert!(
            told.contains("2146 KiB") && told.contains("vm.min_free_kbytes to 16384"),
            "{told}"
        );

        let much = |retain| too_much_retained("swap", retain, Some(384 << 20));
        assert_eq!(much(96 << 20), None);
        assert_eq!(too_much_retained("swap", u64::MAX, None), None, "unknown");
        let told = much(256 << 20).expect("it is too much");
        assert!(
            told.starts_with("swap may retain 256 MiB,") && told.contains("--retain"),
            "{told}"
        );
    }

    #[test]
    fn who_starts_it_in_a_terminal_is_told_of_limits_and_not_of_capabilities() {
        assert_eq!(Next::Unit.flusher(false), Some("give it CAP_SYS_RESOURCE"));
        assert_eq!(Next::Shell.flusher(false), None);
        for said in [Next::Shell.flusher(true).unwrap_or_default(), Next::Shell.locked()] {
            assert!(!said.contains("CAP_"), "{said}");
        }
        assert!(Next::Shell.locked().contains("`ulimit -l unlimited`"));
    }

    #[test]
    fn what_is_known_of_this_host_can_be_read() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(kept_free_kib().is_some());
    }
}
