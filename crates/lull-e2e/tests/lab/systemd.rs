//! A target that is a whole Debian: systemd, logind and the journal, with the package as it is installed.

use lull_e2e::lab::{Guest, GuestBuilder, Lab};
use lull_e2e::{Load, Shape, Use, wait_until};

use crate::cast::{PORT, SOON, assert_clean_reboot};

/// Where a consumer's load stands in time, so that the machine's pace does not matter.
const GOES_ON: u64 = 200;

/// The configuration of a target that shares one disk.
const TARGET: &str = r#"
[target]
name = "stor"
listen = ["tcp:0.0.0.0:10820", "vsock:any:10820"]
insecure = true

[[resource]]
name = "db1"
backend = "file:/data/lull/db1.img,size=64M"
"#;

/// What the units of the daemons say, of all boots, as it is told to people.
const JOURNAL: &str =
    "journalctl --no-pager --quiet --output short-monotonic --unit lull-target --boot";

fn debian(lab: &Lab, name: &str) -> GuestBuilder {
    let guest = lab.guest(name).debian().memory_mib(768).ext4("data", 256);
    guest.file("/etc/lull/lull.toml", TARGET).forward(PORT)
}

/// Starts the target's unit once and for all boots to come.
fn enable(stor: &Guest) {
    stor.say("install --directory --owner lull --group lull /data/lull");
    stor.say("systemctl enable --now --quiet lull-target");
}

/// [PAUSE-1] [PAUSE-7] The initiators pause first, then it goes, and
/// when it is back they go on without anybody's help.
#[test]
fn a_debian_that_is_told_to_reboot_pauses_its_initiators_first_and_resumes_them_after() {
    let lab = Lab::new();
    let stor = debian(&lab, "stor").start();
    enable(&stor);
    let disk = Use::at(&stor.forwarded(PORT), "db1");
    let web = lab.world().initiator("web1").uses(disk).start();
    let load = Load::start(&web.nbd(), Shape::default());
    load.wait_progress(GOES_ON);
    // A moment after its start logind does not know it yet, and the pause comes when the unit is stopped.
    wait_until("logind waits for the daemon", SOON, || {
        stor.say("systemd-inhibit --list --no-pager --no-legend").contains("lull")
    });
    let (line, story) = ("systemctl reboot", "this host goes down");
    stor.reboot_by(line);
    let before = load.done();
    wait_until("the load goes on", SOON, || load.done() > before + GOES_ON);
    let record = assert_clean_reboot(&stor, "lull history --json");
    let row = &record.rows[0];
    let journal = stor.say(&format!("{JOURNAL} -1"));
    let at = |what: &str| {
        journal.find(what).unwrap_or_else(|| panic!("no `{what}` in the journal:\n{journal}"))
    };
    let order = [story, "web1: paused", "Stopping", "every session is closed", "Stopped"].map(at);
    assert!(order.is_sorted(), "{order:?}\n{journal}");
    eprintln!(
        "{line}: away for {} ms, a stall of {} ms; the journal, before and after:",
        row.away_us / 1000,
        row.stall_us / 1000
    );
    eprintln!("{journal}{}", stor.say(&format!("{JOURNAL} 0")));
    load.finish().clean();
    stor.assert_quiet();
}
