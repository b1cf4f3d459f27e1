//! A block device of an operating system's that is asked all the time, whoever serves it.

use lull_admin::{OutcomeKind, RestartRecord};
use lull_e2e::lab::{Guest, Kernel, Lab};
use lull_e2e::{outcome, rounds, wait_until};

use crate::cast::{Door, SOON, daemon_status};
use crate::doors::Doors;
use crate::mounted::Mounted;

/// Reads of single blocks past the page cache, each by a process of its own.
const FLOOD: &str = "cd /run; while [ ! -e until ]; do for n in 1 2 3 4; do \
     dd if=/dev/ublkb0 of=/dev/null bs=4096 count=1 skip=$((RANDOM % 16384)) iflag=direct 2>/dev/null \
     || echo failed & done; wait $!; done; wait";

/// What the old process says when the new one waits for it.
const READY: &str = "the new process is ready";

/// [INIT-1] Whatever the kernel is just about to ask when a process leaves, the next one is asked; where that dies before it
/// serves, the old one goes on with what it had taken.
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
    doors.disturb("a replacement that came to nothing", |stor, webs| replaced_in_vain(stor, webs));
    doors.webs[0].guest.say("touch /run/until");
    for flood in floods {
        assert_eq!(flood.finish(SOON).ok().stdout, "", "reads that failed");
    }
    outcome(&format!("longest calls, in ms: killed {killed:?}, replaced {replaced:?}"));
    doors.end();
}

/// Kills a successor that waits for what its predecessor has in flight.
fn replaced_in_vain(stor: &mut Guest, webs: &mut [Mounted]) {
    let web = &webs[0];
    let ready = || web.guest.services().matches(READY).count();
    let (pid, before) = (daemon_status(&web.guest).expect("a daemon").pid, ready());
    stor.freeze();
    wait_until("requests are in flight", SOON, || web.attachment().in_flight > 0);
    let order = web.guest.begin("lull restart initiator --json --admin unix:/run/initiator.sock");
    wait_until("the successor is ready", SOON, || ready() > before);
    web.guest.say(&format!(
        "for one in $(pidof lull); do grep -q '^PPid:.{pid}$' /proc/$one/status && \
         grep -q attach /proc/$one/cmdline && kill -KILL $one; done; true"
    ));
    stor.thaw();
    let record: RestartRecord =
        serde_json::from_str(&order.finish(SOON).stdout).expect("a record of the restart");
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    assert_eq!(kind, Some(OutcomeKind::Failed), "{record:#?}");
    assert_eq!(daemon_status(&web.guest).map(|status| status.pid), Some(pid), "the same goes on");
}
