//! One owner of the medium, and the name of the one who has it ([SAFE-6]).

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Stat, flock, major, minor};
use rustix::io::Errno;

use crate::{Holder, OpenError};

/// How long to sleep between two attempts.
const STEP: Duration = Duration::from_millis(10);

/// Repeats `attempt` while it reports `busy`, for about `wait` in all.
pub(super) fn patiently<T>(
    wait: Duration,
    busy: Errno,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut left = wait;
    loop {
        match attempt() {
            Err(errno) if errno == busy && !left.is_zero() => {
                let step = left.min(STEP);
                thread::sleep(step);
                left -= step;
            }
            outcome => return outcome,
        }
    }
}

/// Locks the open file description that does the I/O: the lock ends with the last I/O of the last
/// process that has it, even one that was killed, and not before. Readers share.
pub(super) fn acquire(
    file: BorrowedFd<'_>,
    stat: &Stat,
    path: &Path,
    read_only: bool,
    wait: Duration,
) -> Result<(), OpenError> {
    let operation = if read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    patiently(wait, Errno::WOULDBLOCK, || flock(file, operation)).map_err(|errno| match errno {
        Errno::WOULDBLOCK => OpenError::Locked { path: path.to_owned(), holder: holder(stat) },
        other => OpenError::Io { path: path.to_owned(), doing: "lock", source: other.into() },
    })
}

fn holder(stat: &Stat) -> Holder {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let id = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    match holder_of(&locks, &id) {
        Some(pid) => Holder::Process {
            pid,
            command: fs::read_to_string(format!("/proc/{pid}/comm"))
                .map(|name| name.trim_end().to_owned())
                .unwrap_or_default(),
        },
        None => Holder::Unseen,
    }
}

/// Finds who has a lock in lines such as `1: FLOCK  ADVISORY  WRITE 708 00:14:8921 0 EOF`. The
/// lines of those who wait begin with `->`; a process in another namespace shows as 0.
fn holder_of(locks: &str, id: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, at, ..] if at == id => pid.parse().ok().filter(|pid| *pid != 0),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:00:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 0 fd:00:43 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 fd:00:42 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 fd:00:42 0 EOF\n";
        assert_eq!(holder_of(locks, "fd:00:42"), Some(12));
        assert_eq!(holder_of(locks, "fd:00:43"), None);
        assert_eq!(holder_of("garbage", "fd:00:42"), None);
    }

    #[test]
    fn patience_ends() {
        let mut attempts = 0;
        let wait = STEP * 3;
        let outcome: Result<(), Errno> = patiently(wait, Errno::BUSY, || {
            attempts += 1;
            Err(Errno::BUSY)
        });
        assert_eq!((outcome, attempts), (Err(Errno::BUSY), 4));
    }
}
