//! Long outages of the system that has the disks, and daemons that die in them.

use std::time::Duration;

use lull_admin::AttachmentPhase;
use lull_e2e::lab::{Guest, Kernel, Lab, Order};
use lull_e2e::{now, rounds, wait_until};

use crate::cast::{Door, SOON};
use crate::doors::Doors;
use crate::mounted::Mounted;

/// Longer than the kernel lets a request to a block device take by itself, which is 30 s; ten minutes in a soak.
fn hold() -> Duration {
    Duration::from_secs(match rounds(0) {
        0 => 40,
        minutes => 60 * minutes.min(10) as u64,
    })
}

/// [PAUSE-2] [TIMER-5] [SAFE-10] [INIT-1] No clock of a kernel's ends what is held, and whoever held it may die meanwhile:
/// the next one has what was retained, and the kernel still has what was asked.
#[test]
fn a_kernels_requests_outlive_a_long_hold_and_the_daemon_that_holds_them() {
    let lab = Lab::new();
    let doors = [(Door::KernelNbd, "ext4"), (Door::Ublk, "ext4"), (Door::FuseLoop, "ext4")];
    let mut doors = Doors::begin(&lab, &doors.map(|(door, with)| (door, Kernel::V6_12, with)));
    let hold = hold();
    for web in &doors.webs {
        // Tasks that wait for minutes are what is wanted here, as on any host whose disks may be away for long.
        web.guest.say("sysctl -w kernel.hung_task_timeout_secs=0");
    }
    doors.disturb("a hold", |stor, webs| {
        let until = now() + hold;
        let crowds = cut_under_crowds(stor, webs);
        webs.iter().for_each(Mounted::wait_held);
        // As long as the hold itself may take, and a little.
        wait_until("the hold is long", hold + SOON, || now() > until);
        for web in webs.iter() {
            let status = web.attachment();
            assert!(status.held > 0 && status.errors == 0, "{status:#?}");
        }
        stor.start();
        all_read(crowds);
    });
    for _ in 0..rounds(1).div_ceil(2) {
        doors.disturb("its daemon replaced and killed while its target is away", |stor, webs| {
            let crowds = cut_under_crowds(stor, webs);
            for web in webs.iter_mut() {
                web.wait_held();
                replaced_while_away(web);
                killed_while_away(web);
            }
            stor.start();
            all_read(crowds);
        });
    }
    doors.end();
}

/// Cuts the target's power, and has much asked of each device.
fn cut_under_crowds(stor: &mut Guest, webs: &[Mounted]) -> Vec<Order> {
    // What is asked again must not be known.
    webs.iter().for_each(|web| _ = web.guest.say("echo 3 > /proc/sys/vm/drop_caches"));
    stor.cut();
    webs.iter().map(Mounted::crowd).collect()
}

/// Who has read beside the load got what they asked for.
fn all_read(crowds: Vec<Order>) {
    for crowd in crowds {
        assert_eq!(crowd.finish(SOON).ok().stdout, "", "blocks that could not be read");
    }
}

/// Replaces a daemon whose target is away: the next process waits for it as the one before did.
fn replaced_while_away(web: &mut Mounted) {
    let before = web.attachment();
    web.replace_daemon();
    let after = web.attachment();
    assert_eq!((after.phase, after.errors), (AttachmentPhase::Away, 0), "{after:#?}");
    assert!(after.unflushed >= before.unflushed, "{before:#?}{after:#?}");
}

/// Kills a daemon whose target is away: what it retained is there, and nothing is lost.
fn killed_while_away(web: &mut Mounted) {
    let before = web.attachment();
    web.kill_daemon();
    let after = web.attachment();
    assert_ne!(after.phase, AttachmentPhase::Sharing);
    assert!(after.unflushed >= before.unflushed, "{before:#?}{after:#?}");
    assert_eq!((&after.log_lost, &after.log_fault), (&None, &None), "{after:#?}");
    eprintln!(
        "{}: killed with {} requests held and {} bytes retained; the next one retains {}, and is {}",
        web.guest.name(),
        before.held,
        before.unflushed,
        after.unflushed,
        after.phase
    );
}
