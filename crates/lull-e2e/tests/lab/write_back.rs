//! A disk in a target's operating system that cannot write back what it took.

use lull_e2e::lab::Lab;
use lull_e2e::{Consumer, Use, wait_until};

use crate::cast::{NBD, PORT, SOON, never_write_back, target};

/// Sectors of the disk below the failing one.
const SECTORS: u64 = 64 << 11;

/// [SAFE-4] Write-backs fail in the kernel: another life of the resource, and no acknowledged write is lost.
#[test]
fn a_device_that_fails_to_write_back_loses_nothing() {
    let lab = Lab::new();
    let works = format!("0 {SECTORS} flakey /dev/medium 0 3600 0");
    let fails = format!("0 {SECTORS} flakey /dev/medium 0 0 3600 1 error_writes");
    let change = |table: &str| {
        format!(
            "dmsetup reload flaky --table '{table}' && dmsetup resume --noudevsync --nolockfs flaky"
        )
    };
    let make = format!(
        "modprobe dm_flakey && dmsetup create --noudevsync flaky --table '{works}' && dmsetup mknodes"
    );
    let stor = target(&lab, "stor", "db1=file:/dev/mapper/flaky").disk("medium", 64);
    let stor = stor.before("target", &make).forward(PORT).forward(NBD).start();
    never_write_back(&stor);
    let one = Use::at(&stor.forwarded(PORT), "db1").set("retain", "256M");
    let mut web = lab.world().initiator("web1").uses(one).prepare();
    web.spawn();
    web.wait_sharing_within(SOON);
    let before = web.attachment().incarnation;
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(500);
    stor.say(&change(&fails));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("the target has failed to write back", SOON, || {
                stor.services().contains("could not be written back")
            });
            stor.say(&change(&works));
        });
        consumer.flush();
    });
    assert_eq!(consumer.lost(500), 0);
    let now = web.attachment();
    assert_ne!(now.incarnation, before, "it is another life");
    assert_eq!((now.unflushed, now.errors), (0, 0));
    assert!(stor.kernel_log().contains("I/O error"), "the disk has failed:\n{}", stor.kernel_log());
}
