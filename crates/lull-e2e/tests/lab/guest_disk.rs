//! A virtual machine whose disk is an attachment of its host, over vhost-user-blk: the guest needs nothing at all.

use std::time::Duration;

use lull_e2e::lab::files::FilesReport;
use lull_e2e::lab::{Guest, Lab, Order};
use lull_e2e::{Initiator, PROMPT, Target, Use, World, rounds, wait_until};

use crate::cast::SOON;

/// How long a load may take to read all of its files in the end.
const LAST_PASS: Duration = Duration::from_secs(120);

/// A target and an initiator on this machine, at whose socket a guest finds its disk.
fn host(world: &World, kind: &str, size: &str) -> (Target, Initiator, std::path::PathBuf) {
    let file = world.path("db1.img");
    let backend = format!("{kind}:{},size={size}", file.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let socket = world.path("db1.vhost");
    let one = Use::of(&target, "db1").set("vhost-user", &socket.display().to_string());
    let web = world.initiator("web1").uses(one).start();
    wait_until("the socket is there", PROMPT, || socket.exists());
    (target, web, socket)
}

/// A load on a guest's file system.
struct Load<'a> {
    guest: &'a Guest,
    order: Order,
}

impl<'a> Load<'a> {
    fn begin(guest: &'a Guest, folder: &str) -> Self {
        // Pages are written back all the time, so that there is always something acknowledged and not flushed.
        guest.say("sysctl -w vm.dirty_writeback_centisecs=10 vm.dirty_expire_centisecs=20");
        let order = guest.begin(&format!("lull-lab-files {folder} /run/until /run/progress"));
        Self { guest, order }
    }

    fn done(&self) -> u64 {
        let said = self.guest.run("cat /run/progress").stdout;
        said.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn wait_progress(&self) {
        let before = self.done();
        wait_until("the load goes on", SOON, || self.done() > before + 100);
    }

    fn end(self) -> FilesReport {
        self.guest.say("touch /run/until");
        let finished = self.order.finish(LAST_PASS).ok();
        let report: FilesReport = serde_json::from_value(finished.json()).expect("a report");
        report.clean()
    }
}

/// [CONN-3] [SAFE-10] A restart and a kill of the target are waits for the guest, and so is the death of the daemon that
/// shows it the disk: what was in flight is asked again, what was acknowledged is kept.
#[test]
fn a_guests_disk_outlives_its_target_and_the_daemon_on_its_host() {
    let lab = Lab::new();
    // What its medium had not written is gone with a target that is killed.
    let (mut target, mut web, socket) = host(lab.world(), "faulty:volatile:file", "64M");
    let guest = lab.guest("vm").processors(2).shared_disk(&socket).start();
    guest.say("mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt");
    let load = Load::begin(&guest, "/mnt");
    for _ in 0..rounds(1) {
        load.wait_progress();
        target.restart(&["--daemon"]);
        target.wait_all_sharing();
        load.wait_progress();
        target.kill();
        target.start();
        web.wait_sharing();
        load.wait_progress();
        web.kill();
        web.start();
        load.wait_progress();
        web.restart();
        load.wait_progress();
        // Both, so that nobody has it but the guest and the log.
        target.kill();
        wait_until("requests are held", PROMPT, || web.attachment().held > 0);
        web.kill();
        target.start();
        web.start();
    }
    load.wait_progress();
    let report = load.end();
    guest.say("umount /mnt");
    guest.say("e2fsck -f -n /dev/vda");
    guest.assert_quiet();
    let attachment = web.attachment();
    assert_eq!((attachment.errors, attachment.log_lost.is_none()), (0, true), "{}", web.log());
    assert!(web.log().contains("were in flight: they are asked again"), "{}", web.log());
    eprintln!("outcome: {} calls, the longest {} ms", report.done, report.longest_ms);
    eprintln!("{}", web.log());
}

/// The first that runs in a guest whose system is on a shared disk: at its first start it lays itself down there, at each
/// it goes on from there and leaves the initial RAM disk behind.
const FROM_DISK: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci virtio_blk; do modprobe -q $module; done
if e2fsck -p /dev/vda; then
    mount -t ext4 /dev/vda /mnt
else
    mkfs.ext4 -q /dev/vda
    mount -t ext4 /dev/vda /mnt
    for each in bin sbin etc lib lib64 usr var root; do [ -e /$each ] && cp -a /$each /mnt/; done
    for each in dev proc sys run tmp mnt; do mkdir -p /mnt/$each; done
    ln -sf /bin/busybox /mnt/sbin/init
    dd if=/dev/zero of=/mnt/swap bs=1M count=96 2>/dev/null
    mkswap /mnt/swap
fi
umount /proc /sys /dev
exec switch_root /mnt /sbin/init
";

/// [CONN-3] A guest whose root file system and swap are on the disk: all that it runs comes from there, and what does not fit
/// into its memory is there, while the target and the daemon on the host come and go.
#[test]
fn a_guest_runs_with_root_and_swap_on_a_disk_whose_target_restarts() {
    let lab = Lab::new();
    let (mut target, mut web, socket) = host(lab.world(), "file", "512M");
    let guest = lab.guest("vm").memory_mib(256).file("/init", FROM_DISK).shared_disk(&socket);
    let mut guest = guest.start();
    assert!(
        guest.say("grep ' / ' /proc/mounts").contains("/dev/vda / ext4"),
        "it left its RAM disk"
    );
    guest.say("swapon /swap");
    // Until what is in memory does not fit any more.
    let more = "[ $(awk '/swap/ {print $4}' /proc/swaps) -lt 8000 ]";
    let fill = format!("while {more}; do cat /bin/lull >> /tmp/pages; done");
    guest.say(&format!("mount -t tmpfs -o size=230M tmp /tmp && {fill}"));
    let sum = guest.say("md5sum /tmp/pages");
    guest.say("mkdir /work && sync");
    let load = Load::begin(&guest, "/work");
    let run_from_disk = || {
        guest.say("echo 3 > /proc/sys/vm/drop_caches");
        guest.say("lull --version && e2fsck -V 2>&1 && head -c 9000000 /tmp/pages > /dev/null");
    };
    for _ in 0..rounds(1) {
        load.wait_progress();
        target.restart(&["--daemon"]);
        run_from_disk();
        target.kill();
        target.start();
        run_from_disk();
        web.kill();
        web.start();
        run_from_disk();
        load.wait_progress();
    }
    load.end();
    assert_eq!(guest.say("md5sum /tmp/pages"), sum, "what was swapped out is what comes back");
    guest.assert_quiet();
    guest.say("echo kept > /kept; sync");
    guest.reboot();
    assert_eq!(guest.say("cat /kept"), "kept\n", "a guest that reboots finds its disk again");
    guest.say("echo kept > /kept-too; sync");
    guest.cut();
    guest.start();
    assert_eq!(guest.say("cat /kept-too"), "kept\n", "and one whose power was cut");
    assert!(guest.console().matches("clean").count() > 0, "{}", guest.console());
    guest.assert_quiet();
    assert_eq!(web.attachment().errors, 0);
}
