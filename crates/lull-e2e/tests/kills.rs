//! The target is killed again and again under the load of a program that is not ours.

use lull_e2e::{Fio, FioRounds, Initiator, PROMPT, Use, World, now, outcome, rounds, wait_until};
use std::time::Duration;

const DISKS: [&str; 3] = ["db1", "db2", "db3"];

/// What fio uses of each disk: a new round every few seconds.
const REGION: &str = "8M";

/// How long the rest of a round of fio may take on a busy machine.
const ROUND: Duration = Duration::from_secs(90);

/// How long the target stays away after the `n`th kill: every second time it is started at once, else up to 5 s later.
fn away(n: usize) -> Duration {
    match n % 2 {
        0 => Duration::ZERO,
        _ => Duration::from_millis((n as u64).wrapping_mul(2_654_435_761) % 5_000),
    }
}

/// [SAFE-1] [SAFE-2] [CONN-3] The medium's own cache is lost with each kill, which is worse than a kill does.
#[test]
fn kills_under_three_fios_fail_nothing_and_every_block_is_right() {
    let world = World::new();
    let medium = |disk: &str| {
        format!("faulty:volatile:file:{},size=64M", world.path(&format!("{disk}.img")).display())
    };
    let builder = world.target("stor");
    let builder = DISKS.iter().fold(builder, |builder, disk| builder.backend(disk, &medium(disk)));
    let mut target = builder.start();
    let started = |(number, disk): (usize, &&str)| {
        world.initiator(&format!("web{}", number + 1)).uses(Use::of(&target, disk)).start()
    };
    let webs: Vec<Initiator> = DISKS.iter().enumerate().map(started).collect();
    let job = |what: &str, web: &Initiator| Fio::new(&format!("{what}-{}", web.name()), &web.nbd());
    let layouts: Vec<_> = webs
        .iter()
        .map(|web| job("layout", web).lay_out(REGION))
        .map(|job| (job.start(), job))
        .collect();
    for (running, job) in layouts {
        job.judge(running);
    }
    let loads: Vec<FioRounds> =
        webs.iter().map(|web| job("mixed", web).mixed(REGION).arg("--fsync=64").rounds()).collect();
    let (mut replayed, mut stall) = (0, 0);
    for kill in 0..rounds(3) {
        wait_until("requests are in flight", PROMPT, || {
            webs.iter().any(|web| web.attachment().in_flight > 8)
        });
        target.kill();
        let back = now() + away(kill);
        wait_until("the target has been away for its time", PROMPT, || now() >= back);
        let before: Vec<u32> = loads.iter().map(FioRounds::rounds).collect();
        target.start();
        target.wait_all_sharing();
        // The next kill strikes other rounds of all of them.
        wait_until("each fio has ended a round", ROUND, || {
            loads.iter().zip(&before).all(|(load, before)| load.rounds() > *before)
        });
    }
    for (load, web) in loads.into_iter().zip(&webs) {
        load.finish();
        let status = web.attachment();
        assert_eq!(status.errors, 0, "{} counted errors", web.name());
        replayed += status.retaining.replayed_changes;
        stall = stall.max(status.longest_stall_ms);
    }
    let kills = rounds(3);
    outcome(&format!("{kills} kills, {replayed} changes replayed, longest stall {stall} ms"));
    assert!(replayed > 0, "kills that found nothing to replay prove nothing");
    for web in &webs {
        let report = job("verify", web).verify_all(REGION).run();
        assert_eq!(report.reads, 8 * 256, "every block was read and right");
    }
}
