//! An operating system whose root disk, with its swap, is another one's.

use lull_admin::Footing;
use lull_e2e::lab::{Guest, Lab, Order};
use lull_e2e::wait_until;

use crate::cast::{Door, SOON, daemon_status, device_line, target, wait_sharing};
use crate::mounted::Mounted;

/// The first process: it waits for the disk, makes it a root file system at the first time, and goes on there. What the
/// daemon needs stays in memory: its program and its state on `/run`, and the kernel's files where it knows them. And the
/// kernel keeps some memory free that other programs do not get.
const INIT: &str = "\
/bin/busybox sh /etc/lab/start
sysctl -w vm.min_free_kbytes=16384
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
fallocate -l 192M swap
chmod 600 swap
mkswap swap >/dev/null
swapon swap
exec switch_root /newroot /bin/init
";

/// Where the daemon's program and who starts it again belong: in memory of which nothing is swapped. All that is made from
/// here on, files in memory too, is of that kind.
const KEPT: &str = "\
mkdir /run/cgroup && mount -t cgroup2 none /run/cgroup && cd /run/cgroup && \
    echo +memory > cgroup.subtree_control && mkdir kept && echo 0 > kept/memory.swap.max && \
    echo $$ > kept/cgroup.procs && cd / && \
    mkdir /run/keep && cp /bin/lull /run/keep && PATH=/run/keep:$PATH";

/// Flags of a task in the kernel that PR_SET_IO_FLUSHER sets: it is not held back for what is dirty, and memory is had
/// for it without I/O.
const IO_FLUSHER: u64 = 0x0018_0000;
/// The class of real-time threads of one priority that take turns, by its number in the kernel.
const ROUND_ROBIN: u64 = 2;

/// What the daemon under the root disk says of its place in the way of I/O is what the kernel says of it.
fn assert_firm(guest: &Guest) {
    let status = daemon_status(guest).expect("a daemon that answers");
    let footing = status.initiator.and_then(|one| one.footing).expect("it has tried");
    let Footing { locked, io_flusher, realtime, .. } = footing;
    assert!(locked && io_flusher && realtime && footing.is_firm(), "{footing:?}");
    let pid = status.pid;
    let kibibytes = |what: &str| -> u64 {
        let said = guest.say(&format!("awk '/^{what}:/ {{print $2}}' /proc/{pid}/status"));
        said.trim().parse().expect("a number of KiB")
    };
    let (locked, resident) = (kibibytes("VmLck"), kibibytes("VmRSS"));
    assert!(locked >= resident, "{locked} KiB locked, {resident} KiB resident");
    assert_eq!(kibibytes("VmSwap"), 0);
    let tasks = guest.say(&format!("cat /proc/{pid}/task/*/stat"));
    for task in tasks.lines() {
        // Behind the name: state, parent, group, session, terminal, its group, flags; the 39th is the class.
        let (_, behind) = task.rsplit_once(')').expect("a name");
        let word = |at| behind.split_whitespace().nth(at).and_then(|word| word.parse::<u64>().ok());
        assert_eq!(word(6).map(|flags| flags & IO_FLUSHER), Some(IO_FLUSHER), "{task}");
        assert_eq!(word(38), Some(ROUND_ROBIN), "{task}");
    }
    // What it has started is a program like others.
    let others =
        format!("for one in $(pidof lull); do [ $one = {pid} ] || cat /proc/$one/stat; done");
    for task in guest.say(&others).lines() {
        let (_, behind) = task.rsplit_once(')').expect("a name");
        assert_eq!(behind.split_whitespace().nth(38), Some("0"), "{task}");
    }
    eprintln!("{locked} KiB locked, {resident} KiB resident, {} threads", tasks.lines().count());
}

/// A program that needs more memory than there is, again and again, so that the kernel always writes to the swap and
/// reads from it. Nothing limits it: it takes all that a program can get.
fn press(guest: &Guest) -> Order {
    let order = guest.begin("exec dd if=/dev/zero of=/dev/null count=1000000 bs=256M");
    wait_until("memory is swapped out", SOON, || {
        let used = guest.say("awk '/swap/ {print $4}' /proc/swaps");
        used.trim().parse::<u64>().is_ok_and(|kibibytes| kibibytes > 32 << 10)
    });
    order
}

/// [CONN-3] [SAFE-1] [SAFE-10] The root disk goes away and comes back like any other, also while a program needs it to have
/// memory at all: the daemon's own is never on the disk that it serves.
#[test]
fn a_system_lives_on_a_root_disk_whose_target_restarts_and_whose_daemon_is_killed() {
    let lab = Lab::new();
    let mut stor = target(&lab, "stor", "db1=file:/data/db1.img,size=384M").prepare();
    // Names are looked up in files that go with the initial RAM disk.
    let uri = format!("lull://{}/db1", stor.address());
    let line = device_line("web", &uri, Door::KernelNbd, "/run/lull");
    // What is kept until a flush lies in memory, too, and nobody flushes a swap.
    let line = line.replace("--retain 256M", "--retain 8M");
    let web = lab.guest("web").service("initiator", &line);
    let web = web.before("initiator", KEPT);
    let mut web = Mounted::prepare(web.init(INIT).memory_mib(384), "ext4", Door::KernelNbd);
    stor.power_on();
    web.guest.power_on();
    stor.wait_up();
    web.guest.wait_up();
    wait_sharing(&web.guest);
    web.guest.say("grep '^/dev/nbd0 / ext4' /proc/mounts && grep swap /proc/swaps");
    web.work("/data");
    web.wait_progress();
    assert_firm(&web.guest);
    let pressing = press(&web.guest);
    stor.reboot();
    web.wait_progress();
    stor.cut();
    stor.start();
    web.wait_progress();
    assert!(!pressing.has_ended(), "nobody was ended for memory");
    assert_firm(&web.guest);
    web.guest.say("killall dd");
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
