//! What a killed daemon costs an operating system that is alone with the one that has its disk: with five on two processors,
//! the time is their neighbours'. Only a soak asks.

use lull_e2e::lab::{Kernel, Lab};
use lull_e2e::{outcome, rounds};

use crate::cast::Door;
use crate::doors::{Doors, Web};

const DOORS: [Web; 5] = [
    (Door::KernelNbd, Kernel::V6_1, "ext4"),
    (Door::KernelNbd, Kernel::V6_12, "xfs"),
    (Door::Ublk, Kernel::V6_12, "ext4"),
    (Door::FuseLoop, Kernel::V6_12, "ext4"),
    (Door::VhostUser, Kernel::V6_1, "xfs"),
];

/// What the median of a door's longest calls may be at most, in milliseconds.
const BOUND: u64 = 3_000;

/// [INIT-1] Killed under a file system that is written, a daemon is back, and has answered, within three seconds.
#[test]
fn a_killed_daemon_costs_under_three_seconds_through_every_door() {
    for web in DOORS {
        let lab = Lab::new();
        let mut doors = Doors::begin(&lab, &[web]);
        let mut killed: Vec<_> = (0..rounds(1))
            .map(|_| {
                doors.webs[0].wait_progress();
                doors.webs[0].kill()
            })
            .collect();
        killed.sort_unstable();
        let median = killed[killed.len() / 2];
        assert!(median < BOUND, "{web:?}: {killed:?} ms");
        outcome(&format!("* {web:?}: longest calls, in ms: {killed:?}"));
        doors.webs[0].close();
    }
}
