//! A file system on a shared disk, used by an operating system that has it through one of the doors that there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lull_admin::{AttachmentStatus, OutcomeKind, RestartRecord, Status};
use lull_e2e::lab::files::FilesReport;
use lull_e2e::lab::{Guest, GuestBuilder, Order};
use lull_e2e::{Initiator, wait_for, wait_until};

use crate::cast::{Door, SOON, daemon_status, wait_sharing};

/// How long a load may take to read all of its files in the end.
const LAST_PASS: Duration = Duration::from_secs(120);

/// How many ask for a block at once, and how many of them are waited for.
const CROWD: u32 = 160;
const THERE: u32 = 130;

/// Where the script lies that starts a guest's daemon, and what becomes of its output.
const DAEMON: &str = "sh /etc/lab/services/initiator </dev/null >/dev/ttyS1 2>&1";

/// A file system on a shared disk.
pub struct Mounted {
    pub guest: Guest,
    door: Door,
    file_system: &'static str,
    /// The daemon, where it runs on this machine and not in the guest.
    here: Option<Initiator>,
    /// A successor of the guest's daemon runs: nobody starts that one again when it is killed.
    replaced: bool,
    load: Option<Order>,
    /// The longest call of each time, by what was done meanwhile, in milliseconds.
    longest: BTreeMap<&'static str, Vec<u64>>,
}

impl Mounted {
    /// On a disk that the guest's own daemon brings it.
    pub fn prepare(builder: GuestBuilder, file_system: &'static str, door: Door) -> Self {
        let (here, load, longest) = Default::default();
        let guest = builder.prepare();
        Self { guest, door, file_system, here, replaced: false, load, longest }
    }

    /// On a disk that this daemon, on this machine, shows the guest.
    pub fn above(builder: GuestBuilder, file_system: &'static str, daemon: Initiator) -> Self {
        Self { here: Some(daemon), ..Self::prepare(builder, file_system, Door::VhostUser) }
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
        self.guest.say(&format!("{make} {}", self.door.device()));
        self.mount();
    }

    /// After a boot: mounts what is there, and starts to work on it.
    pub fn come_back(&mut self) {
        self.wait_device();
        self.mount();
    }

    fn wait_device(&self) {
        let (guest, device) = (&self.guest, self.door.device());
        self.wait_sharing();
        if let Some(line) = self.door.on_file() {
            let file = format!("{} has its file", guest.name());
            wait_until(&file, SOON, || guest.run("test -s /run/disk").status.success());
            guest.say(line);
        }
        wait_until(&format!("{} has {device}", guest.name()), SOON, || {
            guest.run(&format!("blockdev --getsize64 {device} | grep -v '^0$'")).status.success()
        });
    }

    fn mount(&mut self) {
        self.guest.say(&format!("mount -t {} {} /mnt", self.file_system, self.door.device()));
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

    /// Waits until the load has gone on for a while.
    pub fn wait_progress(&self) {
        let (before, _) = self.progress();
        wait_until(&format!("the load of {} goes on", self.guest.name()), SOON, || {
            self.progress().0 > before + 100
        });
    }

    /// From here on only new calls count.
    pub fn forget(&self) {
        self.guest.say("touch /run/progress.mark");
        wait_until("the load forgets long calls", SOON, || {
            !self.guest.run("test -e /run/progress.mark").status.success()
        });
    }

    /// Waits until the load goes on, and notes what its longest call since [`Mounted::forget`] took, in milliseconds.
    pub fn note(&mut self, what: &'static str) -> u64 {
        self.wait_progress();
        let (_, took) = self.progress();
        self.longest.entry(what).or_default().push(took);
        took
    }

    /// Has many ask for a block each, beside the load and while the disk answers nothing; what comes back says which of them
    /// could not be had in the end.
    pub fn crowd(&self) -> Order {
        let (guest, device) = (&self.guest, self.door.device());
        let read =
            format!("dd if={device} of=/dev/null bs=4096 count=1 skip=$((n * 64)) 2>/dev/null");
        let line = format!("for n in $(seq {CROWD}); do {read} || echo block $n & done; wait");
        let crowd = guest.begin(&line);
        wait_until(&format!("all have asked for blocks of {}", guest.name()), SOON, || {
            guest.run(&format!("test $(pidof dd | wc -w) -gt {THERE}")).status.success()
        });
        crowd
    }

    /// The state of the daemon, if it answers.
    pub fn status(&self) -> Option<Status> {
        match &self.here {
            Some(daemon) => daemon.try_status(),
            None => daemon_status(&self.guest),
        }
    }

    /// The state of the attachment.
    #[track_caller]
    pub fn attachment(&self) -> AttachmentStatus {
        wait_for(&format!("the daemon of {} answers", self.guest.name()), SOON, || {
            self.status()?.initiator?.attachments.pop()
        })
    }

    /// Waits until the disk is shared.
    #[track_caller]
    pub fn wait_sharing(&self) {
        match &self.here {
            Some(daemon) => daemon.wait_sharing_within(SOON),
            None => _ = wait_sharing(&self.guest),
        }
    }

    /// Waits until requests are held because the target is away.
    #[track_caller]
    pub fn wait_held(&self) {
        wait_until(&format!("requests of {} are held", self.guest.name()), SOON, || {
            self.attachment().held > 0
        });
    }

    /// Kills the daemon under it, and starts it again. Returns when the next one is there.
    pub fn kill_daemon(&mut self) {
        if let Some(daemon) = &mut self.here {
            daemon.kill();
            return daemon.spawn();
        }
        let guest = &self.guest;
        let before = daemon_status(guest).expect("a daemon that answers").pid;
        if std::mem::take(&mut self.replaced) {
            let gone = format!("while [ -e /proc/{before} ]; do :; done");
            guest.begin(&format!("kill -KILL {before}; {gone}; exec {DAEMON}"));
        } else {
            guest.say(&format!("kill -KILL {before}"));
        }
        wait_until("another daemon is there", SOON, || {
            daemon_status(guest).is_some_and(|now| now.pid != before)
        });
    }

    /// Kills the daemon under it, which is started again, while its target is there. What the longest call took, in
    /// milliseconds.
    pub fn kill(&mut self) -> u64 {
        self.forget();
        self.kill_daemon();
        self.wait_sharing();
        self.note("its daemon killed")
    }

    /// Has another process take the place of the daemon under it, as for an upgrade.
    pub fn replace_daemon(&mut self) -> RestartRecord {
        match &self.here {
            Some(daemon) => daemon.restart(),
            None => {
                self.replaced = true;
                replace(&self.guest)
            }
        }
    }

    /// The same while its target is there. What the longest call took, and what the command says of it, in milliseconds.
    pub fn replace(&mut self) -> (u64, u64) {
        self.forget();
        let record = self.replace_daemon();
        let said = record.rows[0].stall_ms.expect("the command says how long its consumers waited");
        self.longest.entry("its daemon replaced, as the command says").or_default().push(said);
        (self.note("its daemon replaced"), said)
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
        let Self { guest, door, file_system, .. } = &self;
        guest.say("fstrim /mnt && umount /mnt");
        let check = match *file_system {
            "xfs" => "xfs_repair -n",
            _ => "e2fsck -f -n",
        };
        guest.say(&format!("{check} {}", door.device()));
        guest.assert_quiet();
        report
    }

    /// The same, nothing was lost on the way, and the device goes. Returns a row of a table, in which the longest of all times
    /// is before their median, and what its kernel has said of its disks.
    pub fn end(&mut self) -> (String, Vec<String>) {
        let report = self.close();
        let Self { guest, door, file_system, .. } = &self;
        let (device, after) = (door.device(), self.attachment());
        assert_eq!((after.errors, &after.log_lost), (0, &None), "{after:#?}");
        let name = device.trim_start_matches("/dev/");
        let seen = guest.say(&format!(
            "cd /sys/block/{name}; cat size ro queue/logical_block_size queue/write_cache queue/fua; \
             test $(cat queue/discard_max_bytes) -gt 0",
        ));
        let durable = u8::from(door.takes_durable_writes());
        let wanted = format!("131072\n0\n512\nwrite back\n{durable}\n");
        assert_eq!(seen, wanted, "what {device} says of itself");
        self.let_go(&after.name);
        let guest = &self.guest;
        guest.assert_quiet();
        let name = format!("{}, {} with {file_system}", self.door.name(), guest.kernel().name());
        let mut row =
            format!("| {name} | {} | {} | {} |", report.done, report.syncs, report.verified);
        for took in self.longest.values_mut() {
            took.sort_unstable();
            _ = write!(row, " {} ({}) |", took[took.len() - 1], took[took.len() / 2]);
        }
        let words = said_of_disks(guest).into_iter();
        let words = words.map(|(said, times)| format!("* {name}, {times} times: `{said}`"));
        (row, words.collect())
    }

    /// The head of the table of which [`Mounted::end`] returns a row: two lines.
    pub fn columns(&self) -> [String; 2] {
        let whats: String = self.longest.keys().map(|what| format!(" {what} |")).collect();
        let head = format!("| door | calls | syncs | blocks right |{whats}");
        [head, format!("|{}", " --- |".repeat(4 + self.longest.len()))]
    }

    /// Its user is done with the device, and the attachment ends.
    fn let_go(&self, attachment: &str) {
        let (guest, device) = (&self.guest, self.door.device());
        if let Door::FuseLoop = self.door {
            guest.say(&format!("losetup -d {device}"));
        }
        match &self.here {
            // A virtual machine keeps its disk as long as it has power.
            Some(_) => return,
            None => {
                guest.say(&format!("lull detach {attachment} --admin unix:/run/initiator.sock"))
            }
        };
        wait_until(&format!("{device} is let go"), SOON, || {
            let size = format!("cat /sys/block/{}/size", device.trim_start_matches("/dev/"));
            matches!(guest.run(&size).stdout.trim(), "" | "0")
        });
    }
}

/// What the kernel of a guest has said of its disks, and how often; lines that differ in numbers only are one.
fn said_of_disks(guest: &Guest) -> BTreeMap<String, usize> {
    let log = guest.say("dmesg | grep -Ei 'nbd|ublk|loop[0-9]|vd[a-z]|ext4|xfs' || true");
    let mut all = BTreeMap::new();
    for line in log.lines() {
        let said = line.split_once("] ").map_or(line, |(_, said)| said);
        let words = said.split_whitespace().map(|word| {
            let plain = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
            let part = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
            let address = plain.len() >= 8 && plain.bytes().all(part);
            let word = if address { word.replace(plain, "0") } else { word.to_owned() };
            let mut shape = word.replace(|letter: char| letter.is_ascii_digit(), "#");
            while shape.contains("##") {
                shape = shape.replace("##", "#");
            }
            shape
        });
        *all.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
    }
    all
}

/// Has another process take the place of a guest's daemon.
fn replace(guest: &Guest) -> RestartRecord {
    let before = daemon_status(guest).expect("a daemon that answers").pid;
    let said = guest.run("lull restart initiator --json --admin unix:/run/initiator.sock").ok();
    let record: RestartRecord = serde_json::from_value(said.json()).expect("a record");
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    assert_eq!(kind, Some(OutcomeKind::Completed), "{record:#?}");
    let now = daemon_status(guest).expect("a successor that answers").pid;
    assert_ne!(now, before, "the process is another one");
    record
}
