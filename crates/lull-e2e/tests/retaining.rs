//! What an initiator keeps, as its operator sees it: within its bound, and counted.

use lull_e2e::{Consumer, Use, World};

/// [SAFE-1] What is sent again after a power cut is counted, and so is what the medium was asked for.
#[test]
fn a_replay_is_counted_and_costs_the_medium_one_flush() {
    let world = World::new();
    let path = world.path("db1.img");
    let disk = format!("faulty:volatile:file:{},size=16M", path.display());
    let mut target = world.target("stor").backend("db1", &disk).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let consumer = Consumer::connect(&web.nbd());
    consumer.write(300);
    let kept = web.attachment().retaining;
    assert_eq!((kept.changes, kept.counted), (300, 300 * Consumer::BLOCK));
    assert_eq!((kept.replayed_changes, kept.own_flushes, kept.waited), (0, 0, 0));
    let resource = |target: &lull_e2e::Target| target.status().resources.remove(0);
    assert_eq!((resource(&target).flushes, resource(&target).durable_writes), (0, 0));
    target.kill();
    target.start();
    assert_eq!(consumer.lost(300), 0);
    let sent = web.attachment().retaining;
    assert_eq!((sent.replayed_changes, sent.replayed_bytes), (300, 300 * Consumer::BLOCK));
    assert_eq!((sent.changes, sent.replay_faults), (300, 0), "it is kept until it is flushed");
    consumer.flush();
    assert_eq!(web.attachment().retaining.changes, 0);
    assert_eq!(resource(&target).flushes, 1);
    let said = web.lull(&["status"]).ok().stdout;
    assert!(said.contains("300 changes sent again"), "{said}");
}

/// [SAFE-3] Whoever never flushes is kept within the bound by flushes that nobody asked for, of which there are few.
#[test]
fn endless_unflushed_writes_stay_within_the_bound() {
    const BOUND: u64 = 1 << 20;
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let one = Use::of(&target, "db1").set("retain", "1M");
    let web = world.initiator("web1").uses(one).start();
    let consumer = Consumer::connect(&web.nbd());
    for _ in 0..8 {
        consumer.write(2048);
        let kept = web.attachment().retaining;
        assert_eq!(kept.bound, BOUND);
        assert!(kept.counted <= BOUND, "{kept:?}");
    }
    let (written, kept) = (8 * 2048 * Consumer::BLOCK, web.attachment().retaining);
    assert!(kept.own_flushes >= written / BOUND - 1, "{kept:?}");
    // A flush is due when half of the room is used: each makes at least that much.
    assert!(kept.own_flushes <= 4 * written / BOUND, "{kept:?}");
    assert_eq!(target.status().resources[0].flushes, kept.own_flushes);
    assert_eq!(target.status().resources[0].durable_writes, 0, "nothing is written through");
}
