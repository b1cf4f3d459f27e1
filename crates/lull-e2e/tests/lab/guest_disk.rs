//! A virtual machine whose disk is an attachment of its host, over vhost-user-blk: the guest needs nothing at all.

use std::time::Duration;

use lull_e2e::lab::files::FilesReport;
use lull_e2e::lab::{Guest, Lab, Order};
use lull_e2e::{Initiator, PROMPT, Target, Use, World, rounds, wait_until};

use crate::cast::SOON;

/// How long a load may take to read all of its files in the end.
const LAST_PASS: Duration = Duration::from_secs(120);

/// A target and an initiator on this machine, at whose socket a guest finds its disk.
fn host(world: &World, size: &str) -> (Target, Initiator, std::path::PathBuf) {
    let file = world.path("db1.img");
    // What its medium had not written is gone with it.
    let backend = format!("faulty:volatile:file:{},size={size}", file.display());
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
        self.guest.run("cat /run/progress").stdout.trim().parse().unwrap_or(0)
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
    let (mut target, mut web, socket) = host(lab.world(), "64M");
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
    eprintln!("{} calls, longest {} ms\n{}", report.done, report.longest_ms, web.log());
}
