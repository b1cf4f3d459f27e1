//! PostgreSQL on a disk whose target is restarted and killed, and so is the daemon that has the disk. It needs root, /dev/fuse
//! and Debian's PostgreSQL.

use lull_e2e::postgres::OnDisk;
use lull_e2e::{World, outcome, rounds};

/// How many transactions are under way at a time.
const CLIENTS: u32 = 8;

/// [SAFE-1] [SAFE-2] [PAUSE-7] [INIT-1] What the target's medium has not stored dies with each kill.
#[test]
fn a_database_fails_no_transaction_whoever_is_restarted_or_killed_below_it() {
    let world = World::new();
    let medium = world.path("db1.img");
    let medium = format!("faulty:volatile:file:{},size=160M", medium.display());
    let mut database = OnDisk::start(&world, &medium, 1);
    let mut load = database.server.load(CLIENTS);
    let (mut stalls, mut kills) = (Vec::new(), Vec::new());
    for _ in 0..rounds(1) {
        load.wait_progress();
        let record = database.target.restart(&["--daemon"]);
        stalls.push(record.rows[0].stall_ms.unwrap_or_default());
        load.wait_progress();
        kills.push(database.kill_target_unflushed());
    }
    assert_eq!(database.web.attachment().errors, 0);
    load.wait_progress();
    database.web.restart();
    load.wait_progress();
    database.web.wait_mount_kept();
    database.web.kill();
    database.web.start();
    load.wait_progress();
    let report = load.finish();
    let longest = report.transactions.iter().map(|one| one.took_us).max().unwrap_or_default();
    let replayed: u64 = kills.iter().map(|one| one.replayed).sum();
    assert!(replayed > 0, "kills that found nothing to replay prove nothing");
    outcome(&format!(
        "{} restarts of the target (longest stall of a request {} ms) and {} kills of it ({replayed} changes replayed), \
         one of each of the initiator: {} transactions, none failed, the longest took {} ms",
        stalls.len(),
        stalls.iter().max().unwrap_or(&0),
        kills.len(),
        report.done,
        longest / 1000
    ));
    database.judge(&world, report.done);
}
