//! What runs left behind that were killed: daemons and keepers that nobody ends, and mounted files that nobody takes away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::process;

/// How the directories of worlds begin.
pub const PREFIX: &str = "lull-";
/// A file in each, locked for as long as its test's process lives.
const OWNER: &str = "owner.lock";

/// Says that the directory is used by this process, until what it gives back is dropped.
pub fn own(dir: &Path) -> File {
    // Nobody sees it unlocked.
    let new = dir.join("owner.new");
    let file = File::create(&new).expect("a file can be made");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");
    fs::rename(new, dir.join(OWNER)).expect("a file can be renamed");
    file
}

/// Once in this process: ends what belongs to nobody.
pub fn once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| orphans().iter().for_each(|dir| clear(dir)));
}

/// Directories of worlds whose tests are gone.
fn orphans() -> Vec<PathBuf> {
    let all = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let all = all.filter(|one| one.file_name().to_string_lossy().starts_with(PREFIX));
    let dead = |dir: &PathBuf| {
        File::open(dir.join(OWNER))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
    };
    all.map(|one| one.path()).filter(dead).collect()
}

/// Ends the daemons and keepers of a world, takes its mounted files away, and removes it.
pub fn clear(dir: &Path) {
    let Some(within) = dir.to_str().map(|dir| format!("{dir}/")) else { return };
    process::mentioning(&within).into_iter().for_each(|one| process::try_send(one, Signal::KILL));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| place.starts_with(&within)) {
        // Another process may sweep as well.
        let _ = unmount(place, UnmountFlags::DETACH);
    }
    let _ = fs::remove_dir_all(dir);
}
