//! One round: a target and an initiator are started, the target's system is disturbed under load, and what everybody said
//! is laid down.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::raw::{self, Disturbance, Notes};
use super::system::System;
use crate::clock::now;
use crate::lab::{Guest, Kernel, Lab, Order};
use crate::wait::wait_until;

/// How long each step of setting up may take.
const STEP: Duration = Duration::from_secs(90);

/// How long is waited for a load to go on once the target serves again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it then still works.
const AFTER: Duration = Duration::from_secs(4);

/// How long a load may need to end, and each look at what it has left.
const END: Duration = Duration::from_secs(120);

/// So many requests are a load that has begun, or has gone on.
const SOME: u64 = 150;

/// Makes the disks, before they are served. They are written once, so that no later write waits for the file system below
/// to note that there is something.
const SERVE: &str = "\
for disk in 1 2; do
    [ -e /data/db$disk.img ] || dd if=/dev/zero of=/data/db$disk.img bs=1M count=64 2>/dev/null
done
sync
";

/// Runs a round of `system`; its logs come to lie in `dir`.
///
/// # Errors
/// Where a log cannot be written.
///
/// # Panics
/// Where the lab itself fails, or the disks are not there before anything has disturbed them.
pub(super) fn run(system: &System, disturbance: Disturbance, round: u32, dir: &Path) -> Result<()> {
    let keep = |name: &str, text: String| {
        fs::write(dir.join(name), text).with_context(|| format!("writing {name}"))
    };
    let (mut stage, said_at_first) = Stage::set_up(system);
    keep("connect.log", said_at_first)?;
    let loads = stage.load();
    // Not always at the same place between two flushes.
    std::thread::sleep(Duration::from_millis(u64::from(round) * 370 % 1000));
    let outage = stage.disturb(system, disturbance);
    let Stage { stor, web, .. } = &stage;
    let before = done(web, "blocks");
    comes(PATIENCE, || done(web, "blocks") > before + SOME);
    std::thread::sleep(AFTER);
    web.say("touch /run/until");
    let [blocks, files] = loads.map(|load| said(load, END));
    keep(raw::BLOCKS, blocks.unwrap_or_default())?;
    keep(raw::FILES, files.unwrap_or_default())?;
    keep(raw::HISTORY, content(web, "/run/blocks.history"))?;
    let probe = "dd if=/etc/hosts of=/mnt/probe conv=fsync 2>&1; echo exit status $?";
    keep(raw::PROBE, said(web.begin(probe), END).unwrap_or_default())?;
    let check = "umount /mnt; e2fsck -f -n /dev/db2 2>&1; echo exit status $?";
    keep(raw::CHECK, said(web.begin(check), END).unwrap_or_default())?;
    for guest in [stor, web] {
        let name = guest.name();
        keep(&raw::kernel_log(name), guest.run("dmesg").stdout)?;
        keep(&format!("{name}-services.log"), guest.services())?;
    }
    let outage_ms = outage.as_millis() as u64;
    let system = system.name.to_owned();
    let notes = Notes { system, disturbance, round, outage_ms };
    keep(raw::NOTES, serde_json::to_string_pretty(&notes)?)
}

/// The two guests. The lab goes last.
struct Stage {
    stor: Guest,
    web: Guest,
    _lab: Lab,
}

impl Stage {
    /// Starts both; the initiator has its disks, and what was said when it took them.
    fn set_up(system: &System) -> (Self, String) {
        let lab = Lab::new();
        let serve = format!("{SERVE}{}", system.script(system.target));
        let stor = lab.guest("stor").kernel(Kernel::V6_12).others().memory_mib(768);
        let stor = stor.ext4("data", 512).service("target", "sh /etc/lab/serve");
        let stor = stor
            .file("/etc/lab/serve", &serve)
            .file("/etc/lab/stopping", &system.script(system.stop));
        let web = lab.guest("web").kernel(Kernel::V6_12).others();
        let web = web.file("/etc/lab/connect", &system.script(system.initiator));
        let (mut stor, mut web) = (stor.prepare(), web.prepare());
        stor.power_on();
        web.power_on();
        stor.wait_up();
        web.wait_up();
        stor.begin(&serving(system.port)).finish(STEP).ok();
        let said = web.begin("sh -x /etc/lab/connect 2>&1").finish(STEP).ok().stdout;
        (Self { stor, web, _lab: lab }, said)
    }

    /// One load writes blocks, the other has a file system; both are at work.
    fn load(&self) -> [Order; 2] {
        let web = &self.web;
        web.say("mkfs.ext4 -q /dev/db2 && mount -t ext4 -o errors=remount-ro /dev/db2 /mnt");
        // Pages are written back all the time, so that there is always something acknowledged and not flushed.
        web.say("sysctl -w vm.dirty_writeback_centisecs=10 vm.dirty_expire_centisecs=20");
        let blocks = "lull-lab-blocks /dev/db1 /run/until /run/blocks.history /run/blocks.progress";
        let files = "lull-lab-files /mnt /run/until /run/files.progress";
        let loads = [blocks, files].map(|line| web.begin(line));
        for load in ["blocks", "files"] {
            wait_until(&format!("{load} are being written"), STEP, || done(web, load) > SOME);
        }
        loads
    }

    /// Does it; how long it took until the target served again.
    fn disturb(&mut self, system: &System, disturbance: Disturbance) -> Duration {
        let begun = now();
        match disturbance {
            Disturbance::Reboot => self.stor.reboot(),
            Disturbance::Cut => {
                self.stor.cut();
                self.stor.start();
            }
        }
        self.stor.begin(&serving(system.port)).finish(STEP).ok();
        now() - begun
    }
}

/// A shell's line that ends when somebody listens at a TCP port.
fn serving(port: u16) -> String {
    let listens = format!("grep -qsE ':{port:04X} 0+:0000 0A' /proc/net/tcp /proc/net/tcp6");
    format!("until {listens}; do usleep 20000; done")
}

/// How many requests of a load have succeeded.
fn done(web: &Guest, load: &str) -> u64 {
    let said = web.run(&format!("cat /run/{load}.progress")).stdout;
    said.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Whether something comes to pass within a span.
fn comes(within: Duration, mut look: impl FnMut() -> bool) -> bool {
    let deadline = now() + within;
    while now() < deadline {
        if look() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// What a line has printed, if it ends within a span.
fn said(line: Order, within: Duration) -> Option<String> {
    comes(within, || line.has_ended()).then(|| line.finish(END).stdout)
}

/// A guest's file, however long; it is text.
fn content(guest: &Guest, path: &str) -> String {
    let part = |number| guest.run(&format!("dd if={path} bs=256k skip={number} count=1")).stdout;
    (0..).map(part).take_while(|part: &String| !part.is_empty()).collect()
}
