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
    assert_eq!((kept.changes, kept.counted), (300, 300 * (Consumer::BLOCK + 128)));
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
    assert!(said.contains("300 acknowledged changes sent again"), "{said}");
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

/// [SAFE-3] The bound is one of memory: whoever never flushes, and has it all sent again after a crash of the target, takes
/// no more than a fifth beyond it, and for connections and their buffers one MiB.
#[test]
fn what_is_retained_takes_as_much_memory_as_it_may() {
    const BOUND: u64 = 32 << 20;
    const BLOCKS: u64 = BOUND / Consumer::BLOCK;
    let world = World::new();
    let mut target = world.target("stor").file("db1", "64M").start();
    let one = Use::of(&target, "db1").set("retain", &BOUND.to_string());
    let web = world.initiator("web1").uses(one).start();
    let idle = web.process().memory();
    let consumer = Consumer::connect(&web.nbd());
    (0..3).for_each(|_| consumer.write(BLOCKS));
    assert!(web.attachment().retaining.own_flushes >= 3, "all of the room was used");
    target.kill();
    target.start();
    assert_eq!(consumer.lost(BLOCKS), 0);
    assert!(web.attachment().retaining.replayed_changes > 0, "all is sent again");
    let taken = web.process().peak_memory() - idle;
    eprintln!("{} KiB for a bound of {} KiB", taken >> 10, BOUND >> 10);
    assert!(taken <= BOUND + BOUND / 5 + (1 << 20), "{taken} bytes");
}
