//! Operating systems with file systems on disks of another one, which reboots and loses its power.

use std::time::Duration;

use lull_e2e::lab::files::FilesReport;
use lull_e2e::lab::{Guest, GuestBuilder, Kernel, Lab, Order};
use lull_e2e::{rounds, wait_until};

use crate::cast::{SOON, initiator, target, wait_sharing};

/// Where the daemon of an initiator serves its disk to the kernel beside it.
const FACE: &str = "unix:/run/disk.nbd";

/// How long a load may take to read all of its files in the end.
const LAST_PASS: Duration = Duration::from_secs(120);

/// A file system on a shared disk.
struct Mounted {
    guest: Guest,
    file_system: &'static str,
    load: Option<Order>,
}

impl Mounted {
    fn prepare(builder: GuestBuilder, file_system: &'static str) -> Self {
        Self { guest: builder.prepare(), file_system, load: None }
    }

    /// Makes and mounts it through the kernel's NBD device, and starts to work on it.
    fn begin(&mut self, resource: &str) {
        let Self { guest, file_system, .. } = self;
        wait_sharing(guest);
        guest.say("modprobe nbd");
        // Only a test has xfs on a disk that small.
        let (module, make) = match *file_system {
            "xfs" => ("modprobe xfs", "mkfs.xfs -q --unsupported"),
            _ => ("true", "mkfs.ext4 -q"),
        };
        guest.say(module);
        guest.say(&format!("nbd-client -unix /run/disk.nbd /dev/nbd0 -name {resource}"));
        guest.say(&format!("{make} /dev/nbd0"));
        guest.say(&format!("mount -t {file_system} /dev/nbd0 /mnt"));
        // Pages are written back all the time, so that there is always something acknowledged and not flushed.
        guest.say("sysctl -w vm.dirty_writeback_centisecs=10 vm.dirty_expire_centisecs=20");
        self.load = Some(guest.begin("lull-lab-files /mnt /run/until /run/progress"));
    }

    fn done(&self) -> u64 {
        self.guest.run("cat /run/progress").stdout.trim().parse().unwrap_or(0)
    }

    /// Waits until the load has gone on for a while.
    fn wait_progress(&self) {
        let before = self.done();
        wait_until(&format!("the load of {} goes on", self.guest.name()), SOON, || {
            self.done() > before + 100
        });
    }

    /// No error, every block right, and the file system clean.
    fn end(&mut self) {
        let Self { guest, file_system, load } = self;
        guest.say("touch /run/until");
        let finished = load.take().expect("a load").finish(LAST_PASS).ok();
        let report: FilesReport = serde_json::from_value(finished.json()).expect("a report");
        guest.say("umount /mnt");
        let check = match *file_system {
            "xfs" => "xfs_repair -n /dev/nbd0",
            _ => "e2fsck -f -n /dev/nbd0",
        };
        guest.say(check);
        guest.assert_quiet();
        let report = report.clean();
        eprintln!(
            "{}: {file_system}, {} calls, {} syncs, {} blocks right, longest call {} ms; its kernel said:\n{}",
            guest.name(),
            report.done,
            report.syncs,
            report.verified,
            report.longest_ms,
            guest.say("dmesg | grep -Ei 'nbd|ext4|xfs' || true")
        );
    }
}

/// [CONN-3] [SAFE-1] Through the kernel's NBD device: a real reboot and a real power cut of the target's system are waits.
#[test]
fn file_systems_outlive_reboots_and_power_cuts_of_the_system_that_has_their_disks() {
    let lab = Lab::new();
    let resources = "db1=file:/data/db1.img,size=64M db2=file:/data/db2.img,size=64M";
    let mut stor = target(&lab, "stor", resources).prepare();
    let web1 = initiator(&lab, "web1", "stor", "db1", FACE).kernel(Kernel::V6_1);
    let web2 = initiator(&lab, "web2", "stor", "db2", FACE).kernel(Kernel::V6_12);
    let mut webs = [Mounted::prepare(web1, "ext4"), Mounted::prepare(web2, "xfs")];
    stor.power_on();
    webs.iter_mut().for_each(|web| web.guest.power_on());
    stor.wait_up();
    webs.iter().for_each(|web| web.guest.wait_up());
    webs.iter_mut().zip(["db1", "db2"]).for_each(|(web, resource)| web.begin(resource));
    for _ in 0..rounds(1) {
        webs.iter().for_each(Mounted::wait_progress);
        stor.reboot();
        webs.iter().for_each(Mounted::wait_progress);
        stor.cut();
        stor.start();
    }
    webs.iter().for_each(Mounted::wait_progress);
    webs.iter_mut().for_each(Mounted::end);
}
