//! An attachment that is to end while its target is away.

use std::os::unix::fs::symlink;

use lull_e2e::lab::{Guest, Kernel, Lab};
use lull_e2e::{Target, wait_until};

use crate::cast::{Door, PORT, SOON, device_line, initiator_status, wait_sharing};

/// Blocks that are read, and one that is written durably, each by a process of its own.
const ASK: &str = "cd /run; for n in $(seq 16); do \
     dd if=/dev/nbd0 of=/dev/null bs=4k skip=$((n * 64)) count=1 iflag=direct 2>/dev/null || echo read $n & \
     done; echo kept | dd of=/dev/nbd0 bs=4k conv=sync,fsync oflag=direct 2>/dev/null || echo written & wait";

const ADMIN: &str = "--admin unix:/run/initiator.sock";

/// A target on this host, and a guest that has its disk as a device, and how it calls the attachment.
fn scene(lab: &Lab) -> (Target, Guest, String) {
    let host = lab.world().target("host").file("db1", "64M").start();
    // A door that is seen to be closed.
    let uri = "lull+vsock://2/db1 --nbd unix:/run/also.nbd";
    let line = device_line("web", uri, Door::KernelNbd, "/run/lull");
    let guest = lab.guest("web").kernel(Kernel::V6_12).vsock().service("initiator", &line);
    let mut web = guest.before("initiator", "modprobe vmw_vsock_virtio_transport").prepare();
    let listens = host.listen().trim_start_matches("unix:");
    symlink(listens, web.host_socket(PORT.into())).expect("a name for the socket");
    web.start();
    let name = wait_sharing(&web).attachments.remove(0).name;
    wait_until("the guest has its device, as it is to be", SOON, || {
        web.run("grep -qx 1000 /sys/block/nbd0/queue/io_timeout").status.success()
    });
    (host, web, name)
}

fn wait_let_go(web: &Guest) {
    wait_until("the device is let go", SOON, || {
        matches!(web.run("cat /sys/block/nbd0/size").stdout.trim(), "" | "0")
    });
}

/// [CONN-5] What was asked before is answered when the target is back, however long it had been away: the kernel, which has got
/// its requests back by then, asks them again.
#[test]
fn what_a_device_was_asked_outlives_the_end_of_its_attachment_in_an_outage() {
    let lab = Lab::new();
    let (mut host, web, name) = scene(&lab);
    host.kill();
    let asked = web.begin(ASK);
    wait_until("requests are held", SOON, || {
        initiator_status(&web).is_some_and(|status| status.attachments[0].held > 0)
    });
    wait_until("the kernel has them back", SOON, || {
        web.kernel_log().contains("reconnected socket")
    });
    let detached = web.begin(&format!("lull detach {name} {ADMIN}"));
    wait_until("the attachment is to end", SOON, || {
        !web.run("test -e /run/also.nbd").status.success()
    });
    assert!(!asked.has_ended(), "there is nobody who could have answered");
    host.start();
    assert_eq!(asked.finish(SOON).ok().stdout, "", "what got an error");
    detached.finish(SOON).ok();
    wait_let_go(&web);
}

/// [CONN-5] Who was asked nothing waits for nobody, though the kernel has another connection and another process serves it.
#[test]
fn an_idle_device_of_a_replaced_daemon_ends_in_an_outage_at_once() {
    let lab = Lab::new();
    let (mut host, web, name) = scene(&lab);
    host.kill();
    wait_until("the kernel has another connection", SOON, || {
        web.kernel_log().contains("reconnected socket")
    });
    web.run(&format!("lull restart initiator {ADMIN}")).ok();
    web.run(&format!("timeout 30 lull detach {name} {ADMIN}")).code(3);
    wait_let_go(&web);
}
