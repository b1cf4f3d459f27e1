//! What a guest's handle promises.

use std::time::Duration;

use lull_e2e::lab::{Kernel, Lab};

#[test]
fn guests_of_both_kernels_boot_reach_each_other_reboot_and_lose_their_power() {
    let lab = Lab::new();
    let mut one = lab.guest("one").ext4("data", 64).prepare();
    let mut two = lab.guest("two").kernel(Kernel::V6_12).prepare();
    one.power_on();
    two.power_on();
    one.wait_up();
    two.wait_up();
    assert!(one.say("uname -r").starts_with("6.1."));
    assert!(two.say("uname -r").starts_with("6.12."));
    two.say("ping -c 1 -W 20 one");
    one.run("exit 7").code(7);
    one.say("echo kept > /data/kept; sync; echo lost > /data/lost; echo gone > /gone");
    one.cut();
    two.run("ping -c 1 -W 1 one").code(1);
    one.start();
    assert_eq!(one.say("cat /data/kept; ls / | grep -c gone || true"), "kept\n0\n");
    one.run("cat /data/lost").code(1);
    one.say("echo here > /data/here");
    one.reboot();
    assert_eq!(one.say("cat /data/here"), "here\n");
    two.freeze();
    let order = two.begin("true");
    one.run("ping -c 1 -W 1 two").code(1);
    assert!(!order.has_ended());
    two.thaw();
    order.finish(Duration::from_secs(20)).ok();
    one.unplug();
    two.run("ping -c 1 -W 1 one").code(1);
    one.plug();
    two.say("ping -c 1 -W 20 one");
    one.assert_quiet();
    two.assert_quiet();
}
