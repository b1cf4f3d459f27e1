//! Who appears in these tests: targets and initiators that are operating systems.

use std::time::Duration;

use lull_admin::{
    AttachmentPhase, InitiatorStatus, Outcome, OutcomeKind, RestartKind, RestartRecord, Status,
};
use lull_e2e::lab::{Guest, GuestBuilder, Lab};
use lull_e2e::{wait_for, wait_until};

/// Where initiators reach a target.
pub const PORT: u16 = 10820;
/// Where NBD clients reach a target or an initiator.
pub const NBD: u16 = 10809;

/// How long an attachment may take to share again, on emulated processors.
pub const SOON: Duration = Duration::from_secs(90);

/// The flags of a target or initiator in a guest; its system comes up with it.
const AT: &str = "--insecure --keep-alive 5s";

/// A target with these resources, which starts with its system. Its state is on `/data`.
pub fn target(lab: &Lab, name: &str, resources: &str) -> GuestBuilder {
    let line = format!(
        "lull target --name {name} {AT} --listen tcp:0.0.0.0:{PORT} --nbd tcp:0.0.0.0:{NBD} \
         --state /data/state --admin unix:/run/target.sock {resources}"
    );
    lab.guest(name).ext4("data", 512).memory_mib(768).service("target", &line)
}

/// An initiator of one resource, which starts with its system, with the address of its face. Its state is in memory, as all
/// of its system is.
pub fn initiator(lab: &Lab, name: &str, of: &str, resource: &str, nbd: &str) -> GuestBuilder {
    let line = format!(
        "lull attach lull://{of}/{resource} --name {name} {AT} --nbd {nbd} --retain 256M \
         --state /var/lib/lull --admin unix:/run/initiator.sock"
    );
    lab.guest(name).service("initiator", &line)
}

/// How a guest gets its disk.
#[derive(Clone, Copy, Debug)]
pub enum Door {
    /// The device of its kernel's NBD.
    KernelNbd,
    /// A block device of ublk.
    Ublk,
    /// A loop device, past the page cache, on a file of FUSE.
    FuseLoop,
    /// A disk of a virtual machine's: its daemon runs on this machine.
    VhostUser,
}

impl Door {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::KernelNbd => "kernel NBD",
            Self::Ublk => "ublk",
            Self::FuseLoop => "FUSE and loop",
            Self::VhostUser => "vhost-user-blk",
        }
    }

    /// Where it is.
    pub fn device(self) -> &'static str {
        match self {
            Self::KernelNbd => "/dev/nbd0",
            Self::Ublk => "/dev/ublkb0",
            Self::FuseLoop => "/dev/loop0",
            Self::VhostUser => "/dev/vda",
        }
    }

    /// Whether a write can be asked to be durable at once; otherwise a flush follows.
    pub fn takes_durable_writes(self) -> bool {
        matches!(self, Self::KernelNbd | Self::Ublk)
    }

    /// What makes the device of a file, `/run/disk`.
    pub fn on_file(self) -> Option<&'static str> {
        match self {
            Self::KernelNbd | Self::Ublk | Self::VhostUser => None,
            Self::FuseLoop => Some("/sbin/losetup --direct-io=on /dev/loop0 /run/disk"),
        }
    }
}

/// An initiator whose disk is a device of its own kernel. Its state is in memory.
///
/// # Panics
/// Where its daemon would not be the guest's own.
pub fn device(lab: &Lab, name: &str, of: &str, resource: &str, door: Door) -> GuestBuilder {
    let line = device_line(name, &format!("lull://{of}/{resource}"), door, "/run/lull");
    lab.guest(name).service("initiator", &line)
}

/// A shell's line for such an initiator, whose state is in `state`. A daemon that is killed is started again.
///
/// # Panics
/// As there.
pub fn device_line(name: &str, uri: &str, door: Door, state: &str) -> String {
    let (module, words) = match door {
        Door::KernelNbd => ("nbd", "--nbd-device /dev/nbd0"),
        Door::Ublk => ("ublk_drv", "--ublk"),
        Door::FuseLoop => ("loop", "--fuse /run/disk"),
        Door::VhostUser => panic!("the daemon of a virtual machine's disk runs on its host"),
    };
    let daemon = format!(
        "lull attach {uri} --name {name} {AT} {words} --retain 256M --state {state} \
         --admin unix:/run/initiator.sock"
    );
    // 137: ended by SIGKILL.
    format!("sh -c 'modprobe {module}; while {daemon}; [ $? = 137 ]; do :; done'")
}

/// Leaves what is written in the guest's page cache until somebody flushes it.
pub fn never_write_back(guest: &Guest) {
    guest.say(
        "cd /proc/sys/vm && echo 0 > dirty_writeback_centisecs && \
         echo 80 > dirty_background_ratio && echo 90 > dirty_ratio",
    );
}

/// Where a target in a guest is asked, and how.
pub const HISTORY: &str = "lull history --json --admin unix:/run/target.sock";

/// What the target in a guest has on record of its system's reboot, once it has come to an end.
///
/// # Panics
/// Where that is a failure, or the record of something else.
#[track_caller]
pub fn reboot_record(guest: &Guest, history: &str) -> RestartRecord {
    let record = wait_for(&format!("{} knows what its reboot came to", guest.name()), SOON, || {
        let said = guest.run(history);
        let records: Vec<RestartRecord> = serde_json::from_str(&said.stdout).ok()?;
        records.into_iter().next_back().filter(|record| record.outcome.is_some())
    });
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    let good = [Some(OutcomeKind::Completed), Some(OutcomeKind::Proceeded)].contains(&kind);
    assert!(record.kind == RestartKind::Host && good, "{record:#?}");
    record
}

/// The same where everybody had paused for it, and has told since how long its consumers waited.
///
/// # Panics
/// Where the record says anything else.
#[track_caller]
pub fn assert_clean_reboot(guest: &Guest, history: &str) -> RestartRecord {
    let record = reboot_record(guest, history);
    let completed = Outcome { kind: OutcomeKind::Completed, ..Outcome::default() };
    assert_eq!(record.outcome.as_ref(), Some(&completed), "{record:#?}");
    for row in &record.rows {
        assert!(row.pause_complete_ms.is_some() && row.stall_ms.is_some(), "{row:#?}");
    }
    record
}

/// Waits until the target in a guest serves.
#[track_caller]
pub fn wait_serving(guest: &Guest) {
    wait_until(&format!("{} serves", guest.name()), SOON, || {
        guest.run("lull status --admin unix:/run/target.sock").status.success()
    });
}

/// The state of an initiator in a guest, if it answers.
pub fn initiator_status(guest: &Guest) -> Option<InitiatorStatus> {
    daemon_status(guest)?.initiator
}

/// The same with that of its daemon.
pub fn daemon_status(guest: &Guest) -> Option<Status> {
    status_at(guest, "/run/initiator.sock")
}

/// The state of the daemon in a guest whose admin socket this is, if it answers.
pub fn status_at(guest: &Guest, socket: &str) -> Option<Status> {
    let said = guest.run(&format!("lull status --json --admin unix:{socket}"));
    serde_json::from_str(&said.stdout).ok()
}

/// Waits until all attachments of an initiator in a guest share.
#[track_caller]
pub fn wait_sharing(guest: &Guest) -> InitiatorStatus {
    wait_for(&format!("{} shares", guest.name()), SOON, || {
        let status = initiator_status(guest)?;
        let shares = status.attachments.iter().all(|one| one.phase == AttachmentPhase::Sharing);
        (shares && !status.attachments.is_empty()).then_some(status)
    })
}

/// The NBD URI of an export at a forwarded port: `tcp:127.0.0.1:PORT`.
pub fn nbd_uri(forwarded: &str, export: &str) -> String {
    format!("nbd://{}/{export}", forwarded.trim_start_matches("tcp:"))
}
