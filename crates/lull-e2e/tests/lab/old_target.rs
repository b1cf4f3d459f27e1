//! A target that speaks the first version of the protocol and nothing else, and a guest with a file system on its disk.

use std::os::unix::fs::symlink;
use std::path::Path;

use lull_admin::AttachmentPhase;
use lull_e2e::lab::Lab;
use lull_e2e::{FrozenTarget, Signal, outcome, rounds, wait_until};

use crate::cast::{Door, PORT, SOON, device_line, initiator_status};
use crate::mounted::Mounted;

/// [CONN-8] [PAUSE-7] [CONN-2] Its restart and its end are waits, as they are with a target of today. It is on this machine, which the
/// guest reaches over vsock.
#[test]
fn a_file_system_outlives_the_restart_and_the_end_of_a_target_of_the_first_version() {
    let lab = Lab::new();
    let mut target = FrozenTarget::start(lab.world(), 1);
    let line = device_line("web1", "lull+vsock://2/db1", Door::KernelNbd, "/run/lull");
    let guest = lab.guest("web1").vsock().service("initiator", &line);
    let guest = guest.before("initiator", "modprobe vmw_vsock_virtio_transport");
    let mut web = Mounted::prepare(guest, "ext4", Door::KernelNbd);
    let listens = target.addr();
    let listens = Path::new(listens.trim_start_matches("unix:"));
    symlink(listens, web.guest.host_socket(PORT.into())).expect("a name for the socket");
    web.guest.start();
    web.begin();
    for round in 1..=rounds(1) {
        web.wait_progress();
        target.signal(Signal::USR1);
        target.wait_said("web1 completed", round);
        target.wait_gone();
        target.again(&[]);
        web.wait_progress();
        target.kill();
        wait_until("the guest has noticed", SOON, || {
            initiator_status(&web.guest)
                .is_some_and(|status| status.attachments[0].phase == AttachmentPhase::Away)
        });
        target.again(&[]);
        web.wait_progress();
    }
    let report = web.close();
    outcome(&format!("{} calls, longest {} ms", report.done, report.longest_ms));
}
