//! A block device of an operating system's that is asked all the time, whoever serves it.

use lull_e2e::lab::{Kernel, Lab};
use lull_e2e::{outcome, rounds};

use crate::cast::{Door, SOON};
use crate::doors::Doors;

/// Reads of single blocks past the page cache, each by a process of its own.
const FLOOD: &str = "cd /run; while [ ! -e until ]; do for n in 1 2 3 4; do \
     dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 skip=$((RANDOM % 16384)) iflag=direct 2>/dev/null \
     || echo failed & done; wait $!; done; wait";

/// [INIT-1] Whatever the kernel is just about to ask when a process leaves, the next one is asked.
#[test]
fn a_device_that_is_asked_all_the_time_outlives_every_process_that_serves_it() {
    let lab = Lab::new();
    let mut doors = Doors::begin(&lab, &[(Door::Ublk, Kernel::V6_12, "ext4")]);
    let floods = [(); 2].map(|()| doors.webs[0].guest.begin(FLOOD));
    let (mut killed, mut replaced) = (Vec::new(), Vec::new());
    for _ in 0..rounds(1) {
        let web = &mut doors.webs[0];
        killed.push(web.kill());
        replaced.push(web.replace().0);
    }
    doors.webs[0].guest.say("touch /run/until");
    for flood in floods {
        assert_eq!(flood.finish(SOON).ok().stdout, "", "reads that failed");
    }
    outcome(&format!("longest calls, in ms: killed {killed:?}, replaced {replaced:?}"));
    doors.end();
}
