//! Guests and their host, over vsock.

use lull_admin::{AttachmentPhase, Status};
use lull_e2e::lab::{Guest, Kernel, Lab};
use lull_e2e::{now, outcome, rounds, wait_until};

use crate::cast::{
    Door, HISTORY, SOON, assert_clean_reboot, device_line, initiator_status, wait_serving,
    wait_sharing,
};
use crate::mounted::Mounted;

const LISTEN: &str = "vsock:any:10820";
const STATE: &str = "--state /data/state --admin unix:/run/target.sock --keep-alive 5s";

/// The device of an initiator's disk, in its guest.
fn connect(guest: &Guest) {
    wait_sharing(guest);
    guest.say("modprobe nbd && nbd-client -unix /run/disk.nbd /dev/nbd0 -name db1");
}

fn attach(of: u32, name: &str) -> String {
    format!(
        "lull attach lull+vsock://{of}/db1 --name {name} --nbd unix:/run/disk.nbd --keep-alive 5s \
         --state /var/lib/lull --admin unix:/run/initiator.sock"
    )
}

fn write(guest: &Guest, block: u32, text: &str) {
    guest.say(&format!(
        "echo {text} | dd of=/dev/nbd0 bs=4k seek={block} conv=sync,fsync oflag=direct 2>/dev/null"
    ));
}

fn read(guest: &Guest, block: u32) -> String {
    guest.say(&format!(
        "dd if=/dev/nbd0 bs=4k skip={block} count=1 iflag=direct 2>/dev/null | tr -d '\\0'"
    ))
}

/// [SEC-1] The kernel's own loopback, the host behind the number 2, and another guest that is not on the list.
#[test]
fn a_guest_uses_its_hosts_disk_and_its_own_over_vsock_and_others_stay_out() {
    let lab = Lab::new();
    let guest = lab.guest("one").kernel(Kernel::V6_12).ext4("data", 128).vsock();
    let target =
        format!("lull target --name one --listen {LISTEN} {STATE} db1=file:/data/db1.img,size=16M");
    let own = attach(1, "one");
    let stranger = lab.guest("stranger").vsock();
    let other = attach(guest.cid().expect("a number"), "stranger");
    let load = "modprobe vmw_vsock_virtio_transport";
    let mut stranger = stranger.service("initiator", &other).before("initiator", load).prepare();
    let one = guest.service("target", &target).service("initiator", &own);
    let mut one = one
        .before("target", "modprobe vsock_loopback && modprobe vmw_vsock_virtio_transport")
        .prepare();
    one.start();
    wait_serving(&one);
    connect(&one);
    write(&one, 1, "own");
    one.say("lull restart --admin unix:/run/target.sock");
    assert_eq!(read(&one, 1), "own\n");
    let mut host = lab.world().target("host").file("far", "16M").start();
    let listens = host.listen().trim_start_matches("unix:");
    std::os::unix::fs::symlink(listens, one.host_socket(10820)).expect("a name for the socket");
    let far = "lull attach lull+vsock://2/far --name far --nbd unix:/run/far.nbd --state /var/lib/far \
               --admin unix:/run/far.sock";
    let attached = one.begin(far);
    one.say("until nbd-client -unix /run/far.nbd /dev/nbd1 -name far; do sleep 1; done");
    one.say("echo far | dd of=/dev/nbd1 bs=4k seek=1 conv=sync,fsync oflag=direct 2>/dev/null");
    host.kill();
    host.start();
    let read = "dd if=/dev/nbd1 bs=4k skip=1 count=1 iflag=direct 2>/dev/null | tr -d '\\0'";
    assert_eq!(one.say(read), "far\n");
    assert!(!attached.has_ended());
    // Only now: the carrier loses what is dialled before there is a guest at the other end.
    stranger.start();
    wait_until("the target tells of the stranger", SOON, || {
        one.services().contains("came over vsock and is not on the list")
    });
    assert!(
        initiator_status(&stranger)
            .is_some_and(|status| { status.attachments[0].phase != AttachmentPhase::Sharing })
    );
    one.assert_quiet();
}

/// [CONN-3] [PAUSE-7] No network and no host between them. The carrier cuts short what is longer than a page on its way
/// between guests, so requests are short, one at a time, and nothing is kept that would be sent again in one piece. Only the
/// target goes and comes, since the carrier loses a guest for which anything comes while that one reboots.
#[test]
fn a_guest_uses_another_guests_disk_over_vsock_through_a_kill_and_a_restart() {
    let lab = Lab::new();
    let one = lab.guest("one").kernel(Kernel::V6_12).ext4("data", 128).vsock();
    let peer = lab.guest("peer").vsock();
    let [one_cid, peer_cid] = [&one, &peer].map(|guest| guest.cid().expect("a number"));
    // 137: ended by SIGKILL.
    let target = format!(
        "sh -c 'while lull target --name one --listen {LISTEN} {STATE} --vsock-peer {peer_cid} \
         db1=file:/data/db1.img,size=1M; [ $? = 137 ]; do :; done'"
    );
    let initiator = format!("{} --write-through", attach(one_cid, "peer"));
    let load = "modprobe vmw_vsock_virtio_transport";
    let mut one = one.service("target", &target).before("target", load).prepare();
    let mut peer = peer.service("initiator", &initiator).before("initiator", load).prepare();
    one.start();
    wait_serving(&one);
    peer.start();
    wait_sharing(&peer);
    let load = || {
        let bench = peer.begin(
            "lull bench 'nbd+unix:///db1?socket=/run/disk.nbd' --write --block-size 1K --depth 1 --count 3000",
        );
        wait_until("the load is there", SOON, || {
            initiator_status(&peer).is_some_and(|status| status.attachments[0].clients > 0)
        });
        bench
    };
    let bench = load();
    let status = one.say("lull status --json --admin unix:/run/target.sock");
    let status: Status = serde_json::from_str(&status).expect("a status");
    one.say(&format!("kill -KILL {}", status.pid));
    bench.finish(SOON).ok();
    let bench = load();
    one.say("lull restart --admin unix:/run/target.sock");
    bench.finish(SOON).ok();
    one.assert_quiet();
}

/// [PAUSE-7] [CONN-1] [CONN-3] By way of their host, as where no hypervisor lets guests speak to each other: each of them has
/// vsock to the machine below it and nothing else. Neither has a newer kernel, whose long packets the carrier loses.
#[test]
fn a_file_system_over_vsock_outlives_a_reboot_of_the_system_that_has_its_disk() {
    let lab = Lab::new();
    let load = "modprobe vmw_vsock_virtio_transport";
    let target = format!(
        "lull target --name one --listen {LISTEN} {STATE} --vsock-peer 2 db1=file:/data/db1.img,size=64M"
    );
    let one = lab.guest("one").ext4("data", 128).vsock();
    let mut one = one.service("target", &target).before("target", load).prepare();
    let line = device_line("peer", "lull+vsock://2/db1", Door::KernelNbd, "/run/lull");
    let peer = lab.guest("peer").vsock().service("initiator", &line).before("initiator", load);
    let mut peer = Mounted::prepare(peer, "ext4", Door::KernelNbd);
    let passage = peer.guest.passage(10820, &one);
    passage.shut();
    one.power_on();
    peer.guest.power_on();
    one.wait_up();
    wait_serving(&one);
    passage.reopen();
    peer.guest.wait_up();
    peer.begin();
    for _ in 0..rounds(1) {
        peer.wait_progress();
        // Who is told to end is not the process that this system started.
        one.say("lull restart --admin unix:/run/target.sock");
        peer.wait_progress();
        passage.shut();
        let begun = now();
        one.reboot();
        wait_serving(&one);
        passage.reopen();
        peer.wait_progress();
        let record = assert_clean_reboot(&one, HISTORY);
        let stall = record.rows[0].stall_ms;
        eprintln!("away for {:?}, a stall of {stall:?} ms", now() - begun);
    }
    let report = peer.close();
    outcome(&format!("over vsock: {} calls, longest {} ms", report.done, report.longest_ms));
    one.assert_quiet();
}
