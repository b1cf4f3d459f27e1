//! An operating system whose root disk, with its swap, is another one's.

use lull_e2e::lab::Lab;
use lull_e2e::wait_until;

use crate::cast::{Door, SOON, device, target, wait_sharing};
use crate::mounted::Mounted;

/// The first process: it waits for the disk, makes it a root file system at the first time, and goes on there. What the
/// daemon needs stays in memory: its program and its state on `/run`, and the kernel's files where it knows them.
const INIT: &str = "\
/bin/busybox sh /etc/lab/start
until [ \"$(cat /sys/block/nbd0/size 2>/dev/null)\" -gt 0 ] 2>/dev/null; do sleep 1; done
mkdir /newroot
mkfs.ext4 -q /dev/nbd0
mount -t ext4 /dev/nbd0 /newroot
for folder in bin sbin lib lib64 usr etc; do
    [ -e /$folder ] && cp -a /$folder /newroot/
done
cd /newroot
mkdir -p proc sys dev run tmp mnt root var/lib data
sed -i /sysinit/d etc/inittab
for place in proc sys dev run; do mount --rbind /$place /newroot/$place; done
dd if=/dev/zero of=swap bs=1M count=16 2>/dev/null
chmod 600 swap
mkswap swap >/dev/null
swapon swap
exec switch_root /newroot /bin/init
";

/// [CONN-3] [SAFE-1] [SAFE-10] The root disk goes away and comes back like any other.
#[test]
fn a_system_lives_on_a_root_disk_whose_target_restarts_and_whose_daemon_is_killed() {
    let lab = Lab::new();
    let mut stor = target(&lab, "stor", "db1=file:/data/db1.img,size=256M").prepare();
    let daemon = "mkdir /run/keep && cp /bin/lull /run/keep && PATH=/run/keep:$PATH";
    // Names are looked up in files that go with the initial RAM disk.
    let web = device(&lab, "web", stor.address(), "db1", Door::KernelNbd);
    let web = web.before("initiator", daemon);
    let mut web = Mounted::prepare(web.init(INIT).memory_mib(768), "ext4", Door::KernelNbd);
    stor.power_on();
    web.guest.power_on();
    stor.wait_up();
    web.guest.wait_up();
    wait_sharing(&web.guest);
    web.guest.say("grep '^/dev/nbd0 / ext4' /proc/mounts && grep swap /proc/swaps");
    web.work("/data");
    web.wait_progress();
    stor.reboot();
    web.wait_progress();
    stor.cut();
    stor.start();
    web.wait_progress();
    let stall = web.kill();
    eprintln!("the daemon under a root disk killed, longest call {stall} ms");
    let report = web.finish();
    // Programs come from the disk again.
    web.guest.say("echo 3 > /proc/sys/vm/drop_caches; mke2fs -V; dmesg > /data/log; sync");
    wait_until("nothing is left to be written", SOON, || {
        web.guest.run("test $(cat /sys/block/nbd0/inflight | tr -d ' ') = 00").status.success()
    });
    web.guest.assert_quiet();
    eprintln!("{} calls, longest {} ms", report.done, report.longest_ms);
}
