//! Operating systems with file systems on disks of another one, which reboots and loses its power.

use lull_e2e::lab::{Kernel, Lab};
use lull_e2e::rounds;

use crate::cast::Door;
use crate::doors::Doors;

/// [CONN-3] [SAFE-1] [SAFE-10] [INIT-1] Through every door to a disk that there is: a real reboot and a real power cut of the
/// target's system are waits, and so is a daemon that is killed and started again, or replaced.
#[test]
fn file_systems_outlive_reboots_and_power_cuts_of_the_system_that_has_their_disks() {
    let lab = Lab::new();
    let mut doors = Doors::begin(
        &lab,
        &[
            (Door::KernelNbd, Kernel::V6_1, "ext4"),
            (Door::KernelNbd, Kernel::V6_12, "xfs"),
            (Door::Ublk, Kernel::V6_12, "ext4"),
            (Door::FuseLoop, Kernel::V6_12, "ext4"),
            (Door::VhostUser, Kernel::V6_1, "xfs"),
        ],
    );
    for round in 0..rounds(1) {
        doors.disturb("reboot", |stor, _| stor.reboot());
        if round % 2 == 0 {
            doors.disturb("power cut", |stor, _| {
                stor.cut();
                stor.start();
            });
        }
        for web in &mut doors.webs {
            let stall = web.kill();
            let (replaced, said) = web.replace();
            eprintln!(
                "{}: its daemon killed, longest call {stall} ms; replaced, {replaced} ms, {said} as the command says",
                web.guest.name()
            );
        }
    }
    doors.end();
}
