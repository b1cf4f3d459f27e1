//! Operating systems with file systems on disks of another one, which reboots and loses its power.

use std::time::Duration;

use lull_e2e::lab::files::FilesReport;
use lull_e2e::lab::{Guest, GuestBuilder, Kernel, Lab, Order};
use lull_e2e::{rounds, wait_until};

use crate::cast::{Door, SOON, daemon_status, device, target, wait_sharing};

/// How long a load may take to read all of its files in the end.
const LAST_PASS: Duration = Duration::from_secs(120);

/// A file system on a shared disk.
pub struct Mounted {
    pub guest: Guest,
    file_system: &'static str,
    door: Door,
    load: Option<Order>,
}

impl Mounted {
    /// A guest that is not started.
    pub fn prepare(builder: GuestBuilder, file_system: &'static str, door: Door) -> Self {
        Self { guest: builder.prepare(), file_system, door, load: None }
    }

    fn device(&self) -> &'static str {
        self.door.parts().2
    }

    /// Makes and mounts it, and starts to work on it.
    pub fn begin(&mut self) {
        self.wait_device();
        // Only a test has xfs on a disk that small.
        let (module, make) = match self.file_system {
            "xfs" => ("modprobe xfs", "mkfs.xfs -q --unsupported"),
            _ => ("true", "mkfs.ext4 -q"),
        };
        self.guest.say(module);
        self.guest.say(&format!("{make} {}", self.device()));
        self.mount();
    }

    /// After a boot: mounts what is there, and starts to work on it.
    pub fn come_back(&mut self) {
        self.wait_device();
        self.mount();
    }

    fn wait_device(&self) {
        let (guest, device) = (&self.guest, self.device());
        wait_sharing(guest);
        wait_until(&format!("{} has {device}", guest.name()), SOON, || {
            guest.run(&format!("blockdev --getsize64 {device} | grep -v '^0$'")).status.success()
        });
    }

    fn mount(&mut self) {
        self.guest.say(&format!("mount -t {} {} /mnt", self.file_system, self.device()));
        self.work("/mnt");
    }

    /// Starts to work in a folder on it.
    pub fn work(&mut self, folder: &str) {
        let guest = &self.guest;
        // Pages are written back all the time, so that there is always something acknowledged and not flushed.
        guest.say("sysctl -w vm.dirty_writeback_centisecs=10 vm.dirty_expire_centisecs=20");
        self.load = Some(guest.begin(&format!("lull-lab-files {folder} /run/until /run/progress")));
    }

    /// What is done so far, and the longest call that is remembered.
    fn progress(&self) -> (u64, u64) {
        let said = self.guest.run("cat /run/progress").stdout;
        let mut words = said.split_whitespace().map(|word| word.parse().unwrap_or(0));
        (words.next().unwrap_or(0), words.next().unwrap_or(0))
    }

    fn done(&self) -> u64 {
        self.progress().0
    }

    /// Kills the daemon under it, which is started again. What the longest call took, in milliseconds.
    pub fn kill(&self) -> u64 {
        let Self { guest, .. } = self;
        let before = daemon_status(guest).expect("a daemon that answers");
        guest.say("touch /run/progress.mark");
        wait_until("the load forgets long calls", SOON, || {
            !guest.run("test -e /run/progress.mark").status.success()
        });
        guest.say(&format!("kill -KILL {}", before.pid));
        wait_until("another daemon is there", SOON, || {
            daemon_status(guest).is_some_and(|now| now.pid != before.pid)
        });
        wait_sharing(guest);
        self.wait_progress();
        self.progress().1
    }

    /// Waits until the load has gone on for a while.
    pub fn wait_progress(&self) {
        let before = self.done();
        wait_until(&format!("the load of {} goes on", self.guest.name()), SOON, || {
            self.done() > before + 100
        });
    }

    /// Ends the work: no error, and every block right.
    pub fn finish(&mut self) -> FilesReport {
        self.guest.say("touch /run/until");
        let finished = self.load.take().expect("a load").finish(LAST_PASS).ok();
        let report: FilesReport = serde_json::from_value(finished.json()).expect("a report");
        report.clean()
    }

    /// The same, and the file system is clean.
    pub fn close(&mut self) -> FilesReport {
        let report = self.finish();
        let device = self.device();
        let Self { guest, file_system, .. } = self;
        guest.say("fstrim /mnt && umount /mnt");
        let check = match *file_system {
            "xfs" => "xfs_repair -n",
            _ => "e2fsck -f -n",
        };
        guest.say(&format!("{check} {device}"));
        guest.assert_quiet();
        report
    }

    /// The same, and the device goes.
    fn end(&mut self) {
        let report = self.close();
        let device = self.device();
        let Self { guest, file_system, .. } = self;
        let seen = guest.say(&format!(
            "cd /sys/block/{}; cat size ro queue/logical_block_size queue/write_cache queue/fua; \
             test $(cat queue/discard_max_bytes) -gt 0",
            device.trim_start_matches("/dev/")
        ));
        assert_eq!(seen, "131072\n0\n512\nwrite back\n1\n", "what {device} says of itself");
        let name = daemon_status(guest).and_then(|one| one.initiator).expect("an initiator");
        let name = &name.attachments[0].name;
        guest.say(&format!("lull detach {name} --admin unix:/run/initiator.sock"));
        wait_until(&format!("{device} is let go"), SOON, || {
            let size = format!("cat /sys/block/{}/size", device.trim_start_matches("/dev/"));
            matches!(guest.run(&size).stdout.trim(), "" | "0")
        });
        guest.assert_quiet();
        eprintln!(
            "{}: {file_system} on {device}, {} calls, {} syncs, {} blocks right, longest call {} ms; its kernel said:\n{}",
            guest.name(),
            report.done,
            report.syncs,
            report.verified,
            report.longest_ms,
            guest.say("dmesg | grep -Ei 'nbd|ublk|ext4|xfs' || true")
        );
    }
}

/// [CONN-3] [SAFE-1] [SAFE-10] Through devices of their kernels: a real reboot and a real power cut of the target's
/// system are waits, and so is an initiator's daemon that is killed and started again.
#[test]
fn file_systems_outlive_reboots_and_power_cuts_of_the_system_that_has_their_disks() {
    let lab = Lab::new();
    let disks = [1, 2, 3].map(|disk| format!("db{disk}=file:/data/db{disk}.img,size=64M"));
    let mut stor = target(&lab, "stor", &disks.join(" ")).prepare();
    let web = |name, resource, door, kernel, file_system| {
        let guest = device(&lab, name, "stor", resource, door).kernel(kernel);
        Mounted::prepare(guest, file_system, door)
    };
    let mut webs = [
        web("web1", "db1", Door::KernelNbd, Kernel::V6_1, "ext4"),
        web("web2", "db2", Door::KernelNbd, Kernel::V6_12, "xfs"),
        web("web3", "db3", Door::Ublk, Kernel::V6_12, "ext4"),
    ];
    stor.power_on();
    webs.iter_mut().for_each(|web| web.guest.power_on());
    stor.wait_up();
    webs.iter().for_each(|web| web.guest.wait_up());
    webs.iter_mut().for_each(Mounted::begin);
    for _ in 0..rounds(1) {
        webs.iter().for_each(Mounted::wait_progress);
        stor.reboot();
        webs.iter().for_each(Mounted::wait_progress);
        stor.cut();
        stor.start();
        webs.iter().for_each(Mounted::wait_progress);
        for web in &webs {
            let stall = web.kill();
            eprintln!("{}: its daemon killed, longest call {stall} ms", web.guest.name());
        }
    }
    webs.iter_mut().for_each(Mounted::end);
}
