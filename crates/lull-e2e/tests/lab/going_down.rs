//! Operating systems with a file system on a device of their kernel's: systemd replaces the daemon behind it, and they go
//! down while its target is away. What is to be unmounted waits then, and not for ever.

use lull_e2e::lab::{Guest, GuestBuilder, Kernel, Lab};
use lull_e2e::{now, outcome, wait_until};

use crate::cast::{
    Door, SOON, daemon_status, device, device_line, never_write_back, target, wait_sharing,
};

/// What takes a device of the kernel's: root, and a little more than the unit grants.
const AS_ROOT: &str = "[Service]
User=root
CapabilityBoundingSet=CAP_SYS_ADMIN
DeviceAllow=block-nbd rw
ProtectKernelTunables=no
LimitRTPRIO=1
RestrictRealtime=no
";

/// A file system on that device, as somebody writes it down who knows systemd.
const MOUNT: &str = "[Unit]
Wants=lull-initiator.service
After=lull-initiator.service
[Mount]
What=/dev/nbd0
Where=/mnt
Type=ext4
Options=_netdev,commit=300
";

/// A Debian with an initiator as its package brings it.
fn debian(lab: &Lab, name: &str, uri: &str) -> GuestBuilder {
    let config = format!(
        "[initiator]\nname = \"{name}\"\ninsecure = true\ngoing-down-timeout = \"10s\"\n\
         [[attachment]]\nname = \"disk\"\nuri = \"{uri}\"\nnbd-device = \"/dev/nbd0\"\n"
    );
    let guest = lab.guest(name).debian().memory_mib(768);
    let guest = guest.file("/etc/lull/lull.toml", &config);
    let guest = guest.file("/etc/systemd/system/mnt.mount", MOUNT);
    guest.file("/etc/systemd/system/lull-initiator.service.d/device.conf", AS_ROOT)
}

/// A guest of busybox's that is of no use without its disk, and reboots when that is gone.
fn useless_without(lab: &Lab, name: &str, uri: &str) -> GuestBuilder {
    let line = device_line(name, uri, Door::KernelNbd, "/data/initiator");
    let policy = "--on-timeout shutdown --restart-timeout 3s --shutdown-command reboot --retain";
    let line = line.replace("--retain", policy);
    lab.guest(name).ext4("data", 64).service("initiator", &line)
}

/// Blocks that are on the disk, and after that others in their place that nobody flushes: acknowledged, and no more.
fn write_past_the_cache(guest: &Guest) {
    let write = |what: &str, how: &str| {
        guest.say(&format!(
            "yes {what} | dd of=/mnt/direct bs=4k count=64 iflag=fullblock {how} 2>/dev/null"
        ));
    };
    write("first", "conv=fsync");
    guest.say("sync");
    write("second", "oflag=direct conv=notrunc");
}

/// Changes in the page cache that are to be written before the file system is unmounted.
fn leave_dirty(guest: &Guest) {
    guest.say("dd if=/dev/zero of=/mnt/dirty bs=64k count=16 2>/dev/null");
}

/// [SAFE-10] [INIT-1] Its daemon is replaced, and is killed: the device stays, and what was acknowledged is found again,
/// since systemd has kept it.
#[test]
fn a_device_outlives_the_daemons_that_systemd_starts_for_it() {
    let lab = Lab::new();
    let mut stor = target(&lab, "stor", "db1=file:/data/db1.img,size=64M").prepare();
    let uri = format!("lull://{}/db1", stor.address());
    let mut deb = debian(&lab, "deb", &uri).prepare();
    stor.power_on();
    deb.power_on();
    stor.wait_up();
    deb.wait_up();
    deb.say(
        "systemctl start lull-initiator && mkfs.ext4 -q /dev/nbd0 && systemctl start mnt.mount",
    );
    never_write_back(&deb);
    let main = || deb.say("systemctl show --property MainPID --value lull-initiator");
    let first = main();
    deb.say("lull restart initiator");
    let second = main();
    assert_ne!(first, second, "another process is the unit's");
    write_past_the_cache(&deb);
    // Whoever asks again asks a disk that is not there until the next daemon is.
    deb.say("systemctl kill --signal KILL lull-initiator && head -c 6 /mnt/direct && sync");
    wait_until("the unit has another process", SOON, || {
        ![second.as_str(), "0\n"].contains(&&*main())
    });
    assert_eq!(deb.say("systemctl is-active lull-initiator mnt.mount"), "active\nactive\n");
    let journal = deb.say("journalctl --no-pager --quiet --unit lull-initiator");
    for what in ["and not flushed: they are kept", "has waited for this process"] {
        assert!(journal.contains(what), "{what}: {journal}");
    }
    eprintln!("{journal}");
    deb.say("echo 3 > /proc/sys/vm/drop_caches");
    assert_eq!(deb.say("head -c 6 /mnt/direct"), "second");
    deb.say("systemctl stop mnt.mount && e2fsck -f -n /dev/nbd0");
    deb.assert_quiet();
}

/// [TIMER-2] [SAFE-10] An ordinary reboot, and that of the policy: unmounting waits, is given errors, and the host goes. What
/// was acknowledged before and never flushed is kept over it, though the target has lost its memory as well.
#[test]
fn systems_go_down_in_time_while_the_target_of_their_disks_is_away() {
    let lab = Lab::new();
    let disks = "db1=file:/data/db1.img,size=64M db2=file:/data/db2.img,size=64M";
    let mut stor = target(&lab, "stor", disks).prepare();
    let uri = |resource: &str| format!("lull://{}/{resource}", stor.address());
    let mut deb = debian(&lab, "deb", &uri("db1")).prepare();
    let mut web = useless_without(&lab, "web", &uri("db2")).prepare();
    for guest in [&mut stor, &mut deb, &mut web] {
        guest.power_on();
    }
    [&stor, &deb, &web].into_iter().for_each(Guest::wait_up);
    never_write_back(&stor);
    deb.say(
        "systemctl start lull-initiator && mkfs.ext4 -q /dev/nbd0 && systemctl start mnt.mount",
    );
    wait_sharing(&web);
    web.say("mkfs.ext4 -q /dev/nbd0 && mount -t ext4 -o commit=300 /dev/nbd0 /mnt");
    for guest in [&deb, &web] {
        never_write_back(guest);
        write_past_the_cache(guest);
    }
    stor.cut();
    [&deb, &web].into_iter().for_each(leave_dirty);
    let (deb_boot, web_boot) = (deb.boot(), web.boot());
    let begun = now();
    deb.begin("systemctl reboot");
    deb.wait_other_boot(deb_boot);
    outcome(&format!("a reboot with the target away: {:?}, with the boot", now() - begun));
    web.wait_other_boot(web_boot);
    stor.start();
    let journal = deb.say("journalctl --no-pager --quiet --boot -1 --unit lull-initiator");
    for what in ["is waited for 10.0 s at most", "what is held is answered with errors"] {
        assert!(journal.contains(what), "{what}: {journal}");
    }
    eprintln!("{journal}");
    deb.say("systemctl start lull-initiator mnt.mount");
    wait_sharing(&web);
    web.say("mount -t ext4 /dev/nbd0 /mnt");
    for guest in [&deb, &web] {
        assert_eq!(guest.say("head -c 6 /mnt/direct"), "second", "{}", guest.services());
        guest.say("umount /mnt && e2fsck -f -n /dev/nbd0");
        guest.assert_quiet();
    }
    for what in ["are kept for the next start", "are sent again"] {
        assert!(web.services().contains(what), "{what}: {}", web.services());
    }
}

/// [TIMER-5] A daemon that is stopped takes its device away, also where the one before it was killed and it has not met its
/// target since: nobody goes on waiting for a disk that nobody serves.
#[test]
fn a_device_goes_with_a_daemon_that_has_not_met_its_target() {
    let lab = Lab::new();
    let disks = "db1=file:/data/db1.img,size=64M db2=file:/data/db2.img,size=64M";
    let mut stor = target(&lab, "stor", disks).prepare();
    let doors = [(Door::KernelNbd, "db1"), (Door::Ublk, "db2")];
    let mut webs = doors.map(|(door, disk)| {
        let guest = device(&lab, &format!("web-{disk}"), "stor", disk, door);
        (guest.kernel(Kernel::V6_12).prepare(), door.device())
    });
    stor.power_on();
    webs.iter_mut().for_each(|(guest, _)| guest.power_on());
    stor.wait_up();
    webs.iter().for_each(|(guest, _)| guest.wait_up());
    webs.iter().for_each(|(guest, _)| _ = wait_sharing(guest));
    stor.cut();
    for (guest, device) in &webs {
        // Past the page cache, for which a device that is gone is an empty one.
        let reader = guest.begin(&format!(
            "dd if={device} of=/dev/null bs=4k skip=1000 count=1 iflag=direct 2>&1"
        ));
        let pid = || daemon_status(guest).map(|daemon| daemon.pid);
        let killed = pid().expect("a daemon that answers");
        guest.say(&format!("kill -KILL {killed}"));
        wait_until("another daemon is there", SOON, || pid().is_some_and(|now| now != killed));
        assert!(!reader.has_ended());
        guest.say(&format!("kill -TERM {}", pid().expect("a daemon that answers")));
        let read = reader.finish(SOON);
        assert!(!read.status.success(), "{device}: {}", read.stdout);
        wait_until("it is told", SOON, || {
            guest.services().contains("which ends: its users get errors")
        });
    }
}
