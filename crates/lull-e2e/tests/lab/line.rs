//! Three operating systems in a line: what the first has, the second shares on, and the third uses.

use lull_admin::AttachmentPhase;
use lull_e2e::lab::Lab;
use lull_e2e::{outcome, rounds, wait_for};

use crate::cast::{Door, HISTORY, SOON, assert_clean_reboot, device, initiator_status, target};
use crate::mounted::Mounted;

/// [CHAIN-1] [CHAIN-2] [CHAIN-4]
#[test]
fn a_file_system_at_the_end_of_a_line_outlives_the_system_in_its_middle_and_waits_for_the_first() {
    let lab = Lab::new();
    let mut top = target(&lab, "top", "d=file:/data/d.img,size=64M").prepare();
    let mut middle = target(&lab, "middle", "d=lull://top/d").prepare();
    let leaf = device(&lab, "leaf", "middle", "d", Door::KernelNbd);
    let mut leaf = Mounted::prepare(leaf, "ext4", Door::KernelNbd);
    for guest in [&mut top, &mut middle, &mut leaf.guest] {
        guest.power_on();
    }
    [&top, &middle, &leaf.guest].into_iter().for_each(|guest| guest.wait_up());
    leaf.begin();
    for _ in 0..rounds(1) {
        leaf.wait_progress();
        middle.reboot();
        leaf.wait_progress();
        assert_eq!(assert_clean_reboot(&middle, HISTORY).rows.len(), 1);
        middle.cut();
        middle.start();
        leaf.wait_progress();
        top.cut();
        let held = wait_for("the leaf is told to hold", SOON, || {
            let one = initiator_status(&leaf.guest)?.attachments.pop()?;
            (one.phase == AttachmentPhase::Held).then_some(one)
        });
        let waits = held.waits_for.expect("whom it waits for");
        assert_eq!(waits.for_whom, "top/d", "{waits:?}");
        top.start();
        leaf.wait_progress();
    }
    let report = leaf.close();
    outcome(&format!("{} calls, longest {} ms", report.done, report.longest_ms));
    middle.assert_quiet();
}
