//! Operating systems with a file system on a device of their kernel's: systemd replaces the daemon behind it, and they go
//! down while its target is away. What is to be unmounted waits then, and not for ever.

use lull_admin::AttachmentPhase;
use lull_e2e::lab::{Guest, GuestBuilder, Kernel, Lab, Order};
use lull_e2e::{now, outcome, wait_for, wait_until};

use crate::cast::{
    Door, SOON, daemon_status, device, device_line, initiator_status, never_write_back, status_at,
    target, wait_sharing,
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
fn useless_without(lab: &Lab, name: &str, uri: &str, timeout: &str) -> GuestBuilder {
    let line = device_line(name, uri, Door::KernelNbd, "/data/initiator");
    let policy =
        format!("--on-timeout shutdown --restart-timeout {timeout} --shutdown-command reboot");
    let line = line.replace("--retain", &format!("{policy} --retain"));
    lab.guest(name).ext4("data", 64).service("initiator", &line)
}

/// Where the daemon of a guest is asked, and a second one.
const FIRST: &str = "/run/initiator.sock";
const SECOND: &str = "/run/second.sock";

/// A shell's line for it: its users wait on, and somebody is told.
fn told_of_it(uri: &str) -> String {
    let line = device_line("second", uri, Door::KernelNbd, "/run/second");
    let policy = "--on-timeout \"hook:echo told >> /run/told\" --restart-timeout 20s --retain";
    let line = line.replace("--retain", policy).replace("/dev/nbd0", "/dev/nbd1");
    line.replace(FIRST, SECOND)
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
/// since a process in a unit of its own has kept it.
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
    for what in ["and not flushed; all of it is kept", "has waited for this process"] {
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
    let mut web = useless_without(&lab, "web", &uri("db2"), "3s").prepare();
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

/// [TIMER-1] [TIMER-2] [TIMER-5] [INIT-1] Behind a device whose daemon was killed while its target is away the policy acts all the
/// same. Where whoever kept what that one knew is gone as well, the device goes: with the policy, or with a daemon that is stopped.
#[test]
fn nobody_waits_without_end_behind_a_device_whose_daemon_was_killed() {
    let lab = Lab::new();
    let disks = (1..5).map(|disk| format!("db{disk}=file:/data/db{disk}.img,size=64M "));
    let mut stor = target(&lab, "stor", &disks.collect::<String>()).prepare();
    let uri = |resource: &str| format!("lull://{}/{resource}", stor.address());
    let failing = |disk: &str, door: Door| {
        let words = format!("{disk} --on-timeout error --restart-timeout 20s");
        device(&lab, &format!("web-{disk}"), "stor", &words, door).kernel(Kernel::V6_12)
    };
    let told = failing("db1", Door::KernelNbd).service("second", &told_of_it(&uri("db3")));
    let mut webs = [told.prepare(), failing("db2", Door::Ublk).prepare()];
    let mut down = useless_without(&lab, "down", &uri("db4"), "20s").prepare();
    webs.iter_mut().chain([&mut stor, &mut down]).for_each(Guest::power_on);
    webs.iter().chain([&stor, &down]).for_each(Guest::wait_up);
    webs.iter().chain([&down]).for_each(|guest| _ = wait_sharing(guest));
    let [nbd, ublk] = &webs;
    let webs = [(nbd, "/dev/nbd0"), (ublk, "/dev/ublkb0")];
    let second = || status_at(nbd, SECOND)?.initiator?.attachments.pop();
    let is = |phase| second().is_some_and(|one| one.phase == phase);
    wait_until("its second daemon shares", SOON, || is(AttachmentPhase::Sharing));
    stor.cut();
    let boot = down.boot();
    down.begin("dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct 2> /data/read");
    another_daemon(&down, FIRST, KILLED);
    let waits = begin_read(nbd, "/dev/nbd1");
    another_daemon(nbd, SECOND, KILLED);
    let begun = webs
        .map(|(guest, device)| (begin_read(guest, device), another_daemon(guest, FIRST, KILLED)));
    for ((reader, pid), (guest, device)) in begun.into_iter().zip(webs) {
        wait_fails(reader, device);
        let status = initiator_status(guest).expect("a daemon that answers");
        let [attachment] = &status.attachments[..] else { panic!("{status:#?}") };
        assert_eq!(attachment.phase, AttachmentPhase::Expired, "{attachment:#?}");
        assert!(attachment.errors > 0, "it was answered, and not cut off: {attachment:#?}");
        assert_eq!(daemon_status(guest).map(|daemon| daemon.pid), Some(pid), "it goes on");
    }
    wait_until("the policy has run", SOON, || is(AttachmentPhase::Expired));
    wait_until("somebody is told", SOON, || nbd.run("cat /run/told").stdout == "told\n");
    assert!(!waits.has_ended(), "who is told of it waits on");
    // Their keepers with them.
    webs.iter().for_each(|(guest, _)| _ = another_daemon(guest, FIRST, "kill -KILL $(pidof lull)"));
    let readers = webs.map(|(guest, device)| begin_read(guest, device));
    nbd.say(&format!("kill -TERM {}", daemon_status(nbd).expect("a daemon").pid));
    for (reader, (guest, device)) in readers.into_iter().zip(webs) {
        wait_fails(reader, device);
        wait_until("it is told", SOON, || {
            guest.services().contains("in vain: its users get errors")
        });
    }
    down.wait_other_boot(boot);
    let read = down.say("cat /data/read");
    assert!(read.contains("Input/output error"), "{read} {}", down.services());
    assert!(down.services().contains("shutting this host down: reboot"), "{}", down.services());
}

/// Reads past the page cache, for which a device that is gone is an empty one.
fn begin_read(guest: &Guest, device: &str) -> Order {
    guest.begin(&format!("dd if={device} of=/dev/null bs=4k skip=1000 count=1 iflag=direct 2>&1"))
}

/// How a daemon ends, and its keeper does not.
const KILLED: &str = "kill -KILL $PID";

/// Ends a guest's daemon, `$PID`, by this; returns when another one is there, with its number.
#[track_caller]
fn another_daemon(guest: &Guest, socket: &str, by: &str) -> u32 {
    let pid = || status_at(guest, socket).map(|daemon| daemon.pid);
    let before = pid().expect("a daemon that answers");
    guest.say(&by.replace("$PID", &before.to_string()));
    wait_for("another daemon is there", SOON, || pid().filter(|now| *now != before))
}

/// Whoever reads gets an error.
#[track_caller]
fn wait_fails(reader: Order, device: &str) {
    let read = reader.finish(SOON);
    assert!(!read.status.success(), "{device}: {}", read.stdout);
}
