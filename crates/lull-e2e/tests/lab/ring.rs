//! Two operating systems that have each other's disks: each is a target and an initiator.

use lull_e2e::lab::{Kernel, Lab};
use lull_e2e::{now, outcome, rounds};

use crate::cast::{Door, HISTORY, assert_clean_reboot, device_line, reboot_record, target};
use crate::mounted::Mounted;

/// A system with a disk of its own, and with a file system on the other's. What both daemons know outlives a boot.
fn node(lab: &Lab, name: &str, other: &str, door: Door, kernel: Kernel) -> Mounted {
    let disk = format!("of-{name}=file:/data/disk.img,size=64M");
    let uri = format!("lull://{other}/of-{other}");
    let line = device_line(name, &uri, door, "/data/initiator");
    let guest = target(lab, name, &disk).service("initiator", &line).kernel(kernel);
    Mounted::prepare(guest, "ext4", door)
}

/// Whichever is the first to go is what the other waits for, to write the last and unmount.
fn reboot_both(nodes: &mut [Mounted; 2]) {
    let boots = nodes.each_ref().map(|node| node.guest.boot());
    let begun = now();
    for node in nodes.iter() {
        node.guest.begin("reboot");
    }
    for (node, before) in nodes.iter().zip(boots) {
        node.guest.wait_other_boot(before);
    }
    eprintln!("both were away for {:?}", now() - begun);
    nodes.iter_mut().for_each(Mounted::come_back);
    for node in nodes.iter() {
        node.wait_progress();
        let outcome = reboot_record(&node.guest, HISTORY).outcome;
        eprintln!("{}: {outcome:?}", node.guest.name());
    }
}

/// [PAUSE-1] [CONN-2] [SAFE-1] Whoever of them goes needs the other for it, and is what the other waits for.
#[test]
fn systems_that_have_each_others_disks_reboot_in_turn_and_at_once_and_one_loses_its_power() {
    let lab = Lab::new();
    let mut nodes = [
        node(&lab, "east", "west", Door::KernelNbd, Kernel::V6_1),
        node(&lab, "west", "east", Door::Ublk, Kernel::V6_12),
    ];
    nodes.iter_mut().for_each(|node| node.guest.power_on());
    nodes.iter().for_each(|node| node.guest.wait_up());
    nodes.iter_mut().for_each(Mounted::begin);
    for _ in 0..rounds(1) {
        for goes in [0, 1] {
            nodes.iter().for_each(Mounted::wait_progress);
            let begun = now();
            nodes[goes].guest.reboot();
            eprintln!("{} was away for {:?}", nodes[goes].guest.name(), now() - begun);
            nodes[goes].come_back();
            nodes.iter().for_each(Mounted::wait_progress);
            assert_clean_reboot(&nodes[goes].guest, HISTORY);
        }
        reboot_both(&mut nodes);
        nodes[0].guest.cut();
        nodes[0].guest.start();
        nodes[0].come_back();
        nodes.iter().for_each(Mounted::wait_progress);
    }
    for node in &mut nodes {
        let report = node.close();
        node.guest.assert_always_quiet();
        let name = node.guest.name();
        outcome(&format!("{name}: {} calls, longest {} ms", report.done, report.longest_ms));
    }
}
