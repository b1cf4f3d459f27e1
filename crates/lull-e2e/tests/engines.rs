//! Every way of reading and writing a medium, seen from the consumer: the same content, through restarts.

use std::process::Command;
use std::time::Duration;

use lull_e2e::{Fio, LoopDevice, PROMPT, Running, Target, Use, World, lull, wait_until};

/// Each engine's name as `lull status` has it, with the options that choose it.
const ENGINES: [(&str, &str); 4] = [
    ("page cache, io_uring behind", "engine=uring"),
    ("page cache, threads behind", "engine=threads"),
    ("io_uring, direct", "direct=on,engine=uring"),
    ("threads, direct", "direct=on,engine=threads"),
];

/// What fio uses of each disk.
const REGION: &str = "12M";

fn engine_of(target: &Target, resource: &str) -> String {
    let all = target.status().resources;
    all.into_iter().find(|one| one.name == resource).expect("the resource").engine
}

/// One resource for each engine, on what `medium` says; fio verifies all of them while the target is restarted.
fn verified_through_a_restart(world: &World, medium: impl Fn(usize) -> String) {
    let mut builder = world.target("stor");
    for (place, (_, options)) in ENGINES.iter().enumerate() {
        builder = builder.backend(&format!("db{place}"), &format!("{},{options}", medium(place)));
    }
    let target = builder.start();
    for (place, (name, _)) in ENGINES.iter().enumerate() {
        assert_eq!(engine_of(&target, &format!("db{place}")), *name);
    }
    let disks: Vec<String> = (0..ENGINES.len()).map(|place| format!("db{place}")).collect();
    let using = disks
        .iter()
        .fold(world.initiator("web"), |web, disk| web.uses(Use::of(&target, disk).named(disk)));
    let web = using.start();
    let job = |what: &str, disk: &String| Fio::new(&format!("{what}-{disk}"), &web.nbd_of(disk));
    let all = |make: &dyn Fn(&String) -> Fio| {
        let running: Vec<_> = disks.iter().map(make).map(|job| (job.start(), job)).collect();
        for (running, job) in running {
            job.judge(running);
        }
    };
    all(&|disk| job("layout", disk).lay_out(REGION));
    let mixed = |disk| job("mixed", disk).mixed(REGION).arg("--fsync=8").rounds();
    let loads: Vec<_> = disks.iter().map(mixed).collect();
    wait_until("requests are in flight on each engine", PROMPT, || {
        disks.iter().all(|disk| web.attachment_named(disk).in_flight > 0)
    });
    target.restart(&["--daemon"]);
    target.wait_all_sharing();
    for load in loads {
        load.finish();
    }
    for disk in &disks {
        assert_eq!(web.attachment_named(disk).errors, 0, "{disk} counted errors");
    }
    all(&|disk| job("verify", disk).verify_all(REGION));
}

#[test]
fn every_engine_keeps_a_file_on_ext4_right_through_a_restart() {
    let world = World::new();
    let disk = LoopDevice::ext4(&world, "disk", 256 << 20);
    let at = disk.path().display();
    verified_through_a_restart(&world, |place| format!("file:{at}/{place}.img,size=16M"));
}

#[test]
fn every_engine_keeps_a_block_device_right_through_a_restart() {
    let world = World::new();
    let device = |place| LoopDevice::new(&world, &format!("disk{place}"), 16 << 20);
    let devices: Vec<_> = (0..ENGINES.len()).map(device).collect();
    verified_through_a_restart(&world, |place| format!("file:{}", devices[place].path().display()));
}

fn qemu_io(uri: &str, orders: &[&str]) -> lull_e2e::Finished {
    let mut command = Command::new("qemu-io");
    command.args(["-f", "raw", "-t", "none"]).current_dir(std::env::temp_dir());
    for order in orders {
        command.args(["-c", order]);
    }
    command.arg(uri);
    Running::start(command).finish(Duration::from_secs(60))
}

#[test]
fn a_full_file_system_fails_what_does_not_fit_and_nothing_else() {
    let world = World::new();
    for (place, (_, options)) in ENGINES.iter().enumerate() {
        let disk = LoopDevice::ext4(&world, &format!("small{place}"), 16 << 20);
        let backend = format!("file:{}/db.img,size=64M,{options}", disk.path().display());
        let name = format!("stor{place}");
        let target = world.target(&name).backend("db1", &backend).nbd().start();
        let uri = target.nbd_uri("db1");
        qemu_io(&uri, &["write -P 0x5a 0 1M", "flush"]).ok();
        let said = qemu_io(&uri, &["write -P 1 8M 32M"]);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("No space left on device"), "{options}: {text}");
        qemu_io(&uri, &["read -P 0x5a 0 1M", "write -P 0x5b 0 1M", "read -P 0x5b 0 1M"]).ok();
    }
}

/// Runs `lull` where the three calls of io_uring are refused, as many containers do.
const FORBIDDING: &str = r#"#!/usr/bin/env python3
import ctypes, os, struct, sys
SETUP, REGISTER, NO_NEW_PRIVS, SECCOMP, FILTER = 425, 427, 38, 22, 2
steps = [(0x20, 0, 0, 0), (0x35, 0, 2, SETUP), (0x25, 1, 0, REGISTER), (6, 0, 0, 0x00050001), (6, 0, 0, 0x7FFF0000)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
program = Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert prctl(SECCOMP, FILTER, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()
os.execv("LULL", ["LULL"] + sys.argv[1:])
"#;

#[test]
fn where_io_uring_is_not_permitted_threads_serve_and_status_says_so() {
    let world = World::new();
    let text = FORBIDDING.replace("LULL", &lull().display().to_string());
    let forbidding = world.write("forbidding.py", &text);
    let made = Command::new("chmod").arg("+x").arg(&forbidding).status();
    assert!(made.expect("chmod").success());
    let at = world.path("disk");
    let builder = |name: &str| world.target(name).binary(&forbidding).nbd();
    let refused =
        builder("strict").backend("db1", &format!("file:{},size=16M,engine=uring", at.display()));
    let refused = Running::start(refused.prepare().command()).finish(PROMPT).code(1);
    refused.says("io_uring").says("engine=auto");
    let target = builder("stor")
        .backend("cached", &format!("file:{}-cached,size=16M", at.display()))
        .backend("direct", &format!("file:{}-direct,size=16M,direct=on", at.display()))
        .start();
    assert_eq!(
        engine_of(&target, "cached"),
        "page cache, threads behind (io_uring is not permitted here)"
    );
    assert_eq!(engine_of(&target, "direct"), "threads, direct (io_uring is not permitted here)");
    for disk in ["cached", "direct"] {
        Fio::new(disk, &target.nbd_uri(disk)).lay_out(REGION).run();
    }
}
