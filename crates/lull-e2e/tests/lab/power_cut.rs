//! The power of a target's operating system is cut: its page cache is gone, what was acknowledged is not.

use lull_e2e::lab::{Guest, Lab};
use lull_e2e::{Consumer, Initiator, Use, World};

use crate::cast::{
    NBD, PORT, SOON, initiator, initiator_status, nbd_uri, never_write_back, target, wait_serving,
    wait_sharing,
};

/// A target's operating system that writes nothing back by itself.
fn forgetful(lab: &Lab) -> Guest {
    let target = target(lab, "stor", "db1=file:/data/db1.img,size=64M");
    let guest = target.forward(PORT).forward(NBD).start();
    never_write_back(&guest);
    guest
}

fn attached(world: &World, target: &Guest) -> Initiator {
    let one = Use::at(&target.forwarded(PORT), "db1").set("retain", "256M");
    let mut initiator = world.initiator("web1").uses(one).prepare();
    initiator.spawn();
    initiator.wait_sharing_within(SOON);
    initiator
}

/// [SAFE-1] [SAFE-2] Acknowledged, not flushed, and the power is cut: every write is there.
fn all_are_kept(blocks: u64) {
    let lab = Lab::new();
    let mut stor = forgetful(&lab);
    let web = attached(lab.world(), &stor);
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(blocks);
    assert_eq!(
        web.attachment().unflushed,
        blocks * Consumer::BLOCK,
        "nothing was flushed on the way"
    );
    stor.cut();
    stor.start();
    assert_eq!(consumer.lost(blocks), 0);
    consumer.flush();
    assert_eq!(web.attachment().unflushed, 0);
    assert_eq!(web.attachment().errors, 0);
    stor.assert_quiet();
    tell_replay(&web.log());
}

fn tell_replay(log: &str) {
    let said = log.lines().find(|line| line.contains("sent again"));
    eprintln!("{}", said.expect("the replay is told"));
}

#[test]
fn a_hundred_and_forty_nine_unflushed_writes_outlive_their_targets_system() {
    all_are_kept(149);
}

#[test]
fn ten_thousand_unflushed_writes_outlive_their_targets_system() {
    all_are_kept(10_000);
}

/// What the tests above see is there to be seen: a client that retains nothing loses what it did not flush.
#[test]
fn a_client_without_an_agent_loses_what_a_page_cache_held() {
    let lab = Lab::new();
    let mut stor = forgetful(&lab);
    let uri = nbd_uri(&stor.forwarded(NBD), "db1");
    wait_serving(&stor);
    Consumer::connect(&uri).write(149);
    stor.cut();
    stor.start();
    wait_serving(&stor);
    assert_eq!(Consumer::connect(&uri).lost(149), 149);
}

/// [SAFE-1] [SAFE-2] The same with both daemons in guests: the initiator hears nothing of the power cut but silence.
#[test]
fn unflushed_writes_of_a_guest_outlive_the_system_of_their_target() {
    let lab = Lab::new();
    let stor = target(&lab, "stor", "db1=file:/data/db1.img,size=64M").prepare();
    let web =
        initiator(&lab, "web", "stor", "db1", &format!("tcp:0.0.0.0:{NBD}")).forward(NBD).prepare();
    let (mut stor, mut web) = (stor, web);
    stor.power_on();
    web.power_on();
    stor.wait_up();
    never_write_back(&stor);
    web.wait_up();
    wait_sharing(&web);
    let consumer = Consumer::connect(&nbd_uri(&web.forwarded(NBD), "db1"));
    consumer.write(149);
    stor.cut();
    stor.start();
    assert_eq!(consumer.lost(149), 0);
    consumer.flush();
    let status = initiator_status(&web).expect("an initiator that answers");
    assert_eq!((status.attachments[0].errors, status.attachments[0].unflushed), (0, 0));
    tell_replay(&web.services());
    web.assert_quiet();
}
