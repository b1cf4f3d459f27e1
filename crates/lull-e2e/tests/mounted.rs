//! An attachment as a plain file: what uses it sees waits, and never an error. These need root and /dev/fuse.

use lull_admin::AttachmentPhase;
use lull_e2e::{
    Fio, Initiator, LoopDevice, PROMPT, Signal, Target, Use, World, rounds, send, tools::run,
    wait_until,
};
use std::path::{Path, PathBuf};

fn one(world: &World) -> (Target, Initiator, PathBuf) {
    let backend = format!("faulty:volatile:file:{},size=64M", world.path("db1.img").display());
    let target = world.target("stor").backend("db1", &backend).start();
    let file = world.path("db1.disk");
    let web = world.initiator("web1").uses(Use::of(&target, "db1").mounted(&file)).start();
    wait_until("the file is there", PROMPT, || file.metadata().is_ok_and(|meta| meta.len() > 0));
    (target, web, file)
}

/// [PAUSE-7] [SAFE-2] A file system on a loop device, the longest way that a request can take here.
#[test]
fn a_file_system_on_the_file_outlives_restarts_and_power_cuts_of_its_target() {
    let world = World::new();
    let (mut target, web, file) = one(&world);
    let disk = LoopDevice::ext4_on(&world, "db1", &file);
    let job = |name| Fio::on_file(name, &disk.path().join("data"));
    job("layout").lay_out("8M").run();
    let load = job("mixed").mixed("8M").arg("--fsync=32").rounds();
    for _ in 0..rounds(2) {
        wait_until("requests are in flight", PROMPT, || web.attachment().in_flight > 0);
        target.restart(&["--daemon"]);
        target.wait_all_sharing();
        wait_until("requests are in flight", PROMPT, || web.attachment().in_flight > 0);
        // What its medium had not written is gone with it.
        target.kill();
        target.start();
        web.wait_sharing();
    }
    load.finish();
    job("verify").verify_all("8M").run();
    ends_well(&web, disk, &file);
}

/// Nobody got an error, and the file system is whole.
#[track_caller]
fn ends_well(web: &Initiator, disk: LoopDevice, file: &Path) {
    assert_eq!(web.attachment().errors, 0);
    drop(disk);
    let checked = run("fsck.ext4", &["-fn", &file.display().to_string()]);
    assert!(checked.status.success(), "{}{}", checked.stdout, checked.stderr);
}

/// [PAUSE-2] A plain file under a plain program.
#[test]
fn a_file_that_is_written_and_synced_through_a_restart_holds_what_was_written() {
    let world = World::new();
    let (target, web, file) = one(&world);
    let job = |name| Fio::on_file(name, &file);
    job("layout").lay_out("8M").run();
    let load = job("mixed").mixed("8M").arg("--fsync=16").rounds();
    wait_until("requests are in flight", PROMPT, || web.attachment().in_flight > 0);
    target.restart(&["--daemon"]);
    target.wait_all_sharing();
    load.finish();
    job("verify").verify_all("8M").run();
    let status = web.attachment();
    assert_eq!(status.errors, 0);
    assert!(status.front_end.ends_with(&format!("fuse {}", file.display())), "{status:?}");
}

/// [CONN-5] The file is a consumer's like any other.
#[test]
fn whoever_detaches_takes_the_file_away_and_whoever_unmounts_it_keeps_its_nbd() {
    let world = World::new();
    let (_target, web, file) = one(&world);
    let umounted = run("umount", &[&file.display().to_string()]);
    assert!(umounted.status.success(), "{}", umounted.stderr);
    wait_until("the file has gone", PROMPT, || !file.exists());
    assert_eq!(web.attachment().phase, AttachmentPhase::Sharing);
    assert!(web.log().contains("was unmounted: the other ways to it go on"), "{}", web.log());
    // [INIT-1] What is left is served, here and by the next process, which has the file again.
    assert!(web.attachment().front_end.starts_with("nbd "), "{:?}", web.attachment());
    web.restart();
    wait_until("the file is there again", PROMPT, || file.exists());

    let world = World::new();
    let (target, web, file) = one(&world);
    let open = std::fs::File::open(&file).expect("the file can be opened");
    web.lull(&["detach", "db1"]).code(3).says("is in use");
    drop(open);
    wait_until("nobody has it open", PROMPT, || web.attachment().clients == 0);
    let detached = web.lull(&["detach", "db1"]);
    assert!(detached.status.success(), "{}", detached.stderr);
    assert!(!file.exists(), "it was made for the attachment");
    assert!(target.session("web1").is_none(), "nobody is left on the roster");
}

/// [INIT-1] The longest way that a request can take, under daemons that are killed and replaced on both sides.
#[test]
fn a_file_system_on_the_file_outlives_kills_and_restarts_of_its_own_daemon() {
    let world = World::new();
    let (mut target, mut web, file) = one(&world);
    let disk = LoopDevice::ext4_on(&world, "db1", &file);
    let job = |name| Fio::on_file(name, &disk.path().join("data"));
    job("layout").lay_out("8M").run();
    let load = job("mixed").mixed("8M").arg("--fsync=32").rounds();
    let busy = |web: &Initiator| {
        wait_until("requests are in flight", PROMPT, || web.attachment().in_flight > 0);
    };
    for _ in 0..rounds(3) {
        busy(&web);
        web.wait_mount_kept();
        web.kill();
        web.start();
        busy(&web);
        let record = web.restart();
        eprintln!("replaced: the longest wait was {:?} ms", record.rows[0].stall_ms);
        busy(&web);
        target.restart(&["--daemon"]);
        target.wait_all_sharing();
    }
    // Killed while its target is away: what it held and kept is there when both are back.
    busy(&web);
    web.wait_mount_kept();
    target.kill();
    web.kill();
    web.spawn();
    wait_until("its users are held", PROMPT, || {
        let status = web.try_status().and_then(|status| status.initiator);
        status.is_some_and(|one| one.attachments[0].held > 0)
    });
    target.start();
    web.wait_sharing();
    load.finish();
    job("verify").verify_all("8M").run();
    ends_well(&web, disk, &file);
}

/// What a killed daemon and its killed keeper leave behind stands in nobody's way.
#[test]
fn a_daemon_that_was_killed_with_its_keeper_mounts_its_file_again() {
    let world = World::new();
    let (_target, mut web, file) = one(&world);
    web.wait_mount_kept();
    let keepers = web.keepers();
    web.kill();
    keepers.into_iter().for_each(|keeper| send(keeper, Signal::KILL));
    wait_until("the file is dead", PROMPT, || file.metadata().is_err());
    web.start();
    wait_until("it lives", PROMPT, || file.metadata().is_ok_and(|meta| meta.len() == 64 << 20));
}
