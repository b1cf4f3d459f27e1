//! Restarts that pass under clients.

use std::process::Command;
use std::str::FromStr as _;
use std::time::Duration;

use lull_e2e::tools::{patterned, qemu_io, qemu_io_args, run, start, through_restarts};
use lull_e2e::{Finished, PROMPT, Running, Use, World, wait_until};
use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;

use crate::{Disk, MIB, read};

/// How long a program may take that restarts pass under.
const LONG: Duration = Duration::from_secs(120);

/// A disk that takes its time for each request, so that a restart passes under a program of a few dozen requests.
fn slow(world: &World, delay: &str) -> Disk {
    let path = world.path("db1.img");
    let backend = format!("faulty:delay={delay}:file:{},size=32M", path.display());
    let target = world.target("stor").backend("db1", &backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    Disk { target, web: Some(web) }
}

impl Disk {
    /// Runs a program through so many restarts.
    fn through(&self, count: usize, program: Running) -> Finished {
        through_restarts(&self.target, program, || self.is_in_use(), count)
    }
}

/// [PAUSE-7] Restarts pass under a copy in each direction.
#[test]
fn nbdcopy_does_not_notice_restarts() {
    let world = World::new();
    let disk = Disk::attached(&world, "32M");
    let source = patterned(&world, "source.img", 32 * MIB);
    let (uri, back) = (disk.uri(), world.path("back.img").display().to_string());
    for (from, to) in [(&source, &uri), (&uri, &back)] {
        let slowly = ["--request-size=4096", "--requests=1", "--connections=1", "--flush"];
        disk.through(1, start("nbdcopy", &[slowly.as_slice(), &[from, to]].concat())).ok();
    }
    assert!(read(&source) == read(&back), "the copy differs from its source");
}

/// [PAUSE-7]
#[test]
fn qemu_img_does_not_notice_restarts() {
    let world = World::new();
    let disk = slow(&world, "100ms");
    let source = patterned(&world, "source.img", 32 * MIB);
    let (uri, back) = (disk.uri(), world.path("back.img").display().to_string());
    let raw = ["convert", "-m", "1", "-f", "raw", "-O", "raw"];
    disk.through(1, start("qemu-img", &[&raw[..], &["-n", &source, &uri]].concat())).ok();
    disk.through(1, start("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri])).ok();
    disk.through(1, start("qemu-img", &[&raw[..], &[&uri, &back]].concat())).ok();
    assert!(read(&source) == read(&back), "the copy differs from its source");
}

/// [PAUSE-7] Of every kind of request some are under way or held.
#[test]
fn qemu_io_does_not_notice_restarts() {
    let world = World::new();
    let disk = slow(&world, "50ms");
    let orders: Vec<String> = (0..12)
        .flat_map(|turn| {
            let (at, pattern) = (turn * 2, turn + 1);
            [
                format!("aio_write -P {pattern} {at}M 64k"),
                format!("write -f -P {pattern} {at}M 1M"),
                format!("write -z {at}M 64k"),
                format!("write -z -u {}k 64k", at * 1024 + 64),
                format!("discard {}k 64k", at * 1024 + 128),
                "flush".into(),
                format!("read -P 0 {at}M 128k"),
                format!("read -P {pattern} {}k 832k", at * 1024 + 192),
            ]
        })
        .collect();
    let orders: Vec<_> = orders.iter().map(String::as_str).collect();
    let uri = disk.uri();
    let said = disk.through(2, start("qemu-io", &qemu_io_args(&[&uri], &orders))).ok();
    assert!(!said.stdout.contains("failed"), "{said:?}");
    assert_eq!(said.stdout.matches("read 851968/851968").count(), 12, "{said:?}");
}

/// [PAUSE-7] Whoever comes while the target is away is told everything, and waits for what it reads.
#[test]
fn nbdinfo_is_answered_while_the_target_restarts() {
    let world = World::new();
    let disk = Disk::attached(&world, "16M");
    let mut restart = disk.target.begin(&["restart", "--daemon"]);
    let mut asked = 0;
    while !restart.has_ended() {
        let said = run("nbdinfo", &[&disk.uri()]).ok().stdout;
        assert!(said.contains("export-size: 16777216"), "{said}");
        asked += 1;
    }
    restart.finish(PROMPT).ok();
    assert!(asked > 0, "the restart was too short");
}

/// libnbd's Python client on a disk until it is told to stop.
fn libnbd(world: &World, disk: &Disk, options: &[&str]) -> (Running, std::path::PathBuf) {
    let stop = world.path("stop");
    // The system's own interpreter has the module of the system's package.
    let mut command = Command::new("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/libnbd.py"));
    command.arg(disk.uri()).arg(&stop).args(options);
    (Running::start(command), stop)
}

/// [PAUSE-7] Many requests at once, extents, zeroes and discards: everything is right, and the connection is one.
#[test]
fn libnbd_in_python_does_not_notice_restarts() {
    let world = World::new();
    let disk = Disk::attached(&world, "32M");
    let (program, stop) = libnbd(&world, &disk, &[]);
    wait_until("the program is connected", PROMPT, || disk.is_in_use());
    for _ in 0..3 {
        disk.target.restart(&["--daemon"]);
    }
    std::fs::write(stop, "").expect("a file can be written");
    let told = program.finish(LONG).ok().json();
    assert_eq!(told["connections"], 1, "{told:#}");
    assert_eq!(told["context"], true, "{told:#}");
    assert!(told["extents"].as_u64() > Some(0), "{told:#}");
}

/// [PAUSE-7] A client at the target loses its connection, and nothing that was acknowledged: neither is it told an
/// error before, nor is it refused when it connects again.
#[test]
fn libnbd_at_the_target_finds_everything_when_it_connects_again() {
    let world = World::new();
    let disk = Disk::direct(&world, "32M");
    let (mut program, stop) = libnbd(&world, &disk, &["--again"]);
    for _ in 0..3 {
        wait_until("the program is connected", PROMPT, || program.has_ended() || disk.is_in_use());
        assert!(!program.has_ended(), "{:?}", program.finish(PROMPT));
        disk.target.restart(&["--daemon"]);
    }
    std::fs::write(stop, "").expect("a file can be written");
    let told = program.finish(LONG).ok().json();
    assert_eq!(told["connections"], 4, "{told:#}");
    assert_eq!(told["context"], true, "{told:#}");
    assert!(told["extents"].as_u64() > Some(0), "{told:#}");
}

/// [PAUSE-7] QEMU connects again by itself where it is told to, and sends again what was not answered.
#[test]
fn qemu_at_the_target_carries_on_when_it_may_connect_again() {
    let world = World::new();
    let path = world.path("db1.img");
    let backend = format!("faulty:delay=100ms:file:{},size=32M", path.display());
    let target = world.target("stor").backend("db1", &backend).nbd().start();
    let disk = Disk { target, web: None };
    let source = patterned(&world, "source.img", 32 * MIB);
    let socket = world.path("stor-nbd.sock").display().to_string();
    let options = format!(
        "driver=raw,file.driver=nbd,file.export=db1,file.reconnect-delay=60,\
         file.server.type=unix,file.server.path={socket}"
    );
    let convert = ["convert", "-m", "1", "-n", "-f", "raw", "--target-image-opts"];
    let copying = start("qemu-img", &[&convert[..], &[&source, &options]].concat());
    disk.through(1, copying).ok();
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &disk.uri()]).ok();
}

/// [PAUSE-7] What takes long is ended with its connection, and not told as an error.
#[test]
fn terabytes_to_be_zeroed_do_not_hold_a_restart_up() {
    let world = World::new();
    let path = world.path("db1.img");
    let backend = format!("faulty:delay=200ms:file:{},size=12T", path.display());
    let target = world.target("stor").backend("db1", &backend).nbd().start();
    let disk = Disk { target, web: None };
    let uri = disk.uri();
    let mut zeroing = start("qemu-io", &qemu_io_args(&[&uri], &["write -z -u -n 0 11T"]));
    wait_until("the program is connected", PROMPT, || disk.is_in_use());
    disk.target.restart(&["--daemon"]);
    wait_until("the program has ended", PROMPT, || zeroing.has_ended());
    let said = zeroing.finish(PROMPT).stderr.to_lowercase();
    assert!(!said.contains("shutdown") && !said.contains("shutting"), "{said}");
}

/// A disk grows: consumers that connect see it, and one that was connected may use it.
#[test]
fn a_disk_that_has_grown_is_seen_by_whoever_connects() {
    let world = World::new();
    let path = world.path("db1.img");
    let image = std::fs::File::create(&path).expect("a file can be made");
    image.set_len(16 << 20).expect("a file can be given a size");
    let backend = format!("file:{}", path.display());
    let target = world.target("stor").backend("db1", &backend).nbd().start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let (attached, direct) = (web.nbd(), target.nbd_uri("db1"));
    let disk = Disk { target, web: Some(web) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let uri = Uri::from_str(&attached).expect("an NBD URI");
        let old = Connection::<Vec<u8>>::connect(&uri).await.expect("a connection");
        assert_eq!(old.export().size, 16 << 20);
        image.set_len(32 << 20).expect("a file can be given a size");
        // It waits, and so does the connection, which has nothing to do.
        disk.target.restart(&["--daemon"]);
        for uri in [&attached, &direct] {
            let size = || run("nbdinfo", &["--size", uri]).ok().stdout.trim() == "33554432";
            wait_until("the new size is told", PROMPT, size);
        }
        old.write(24 << 20, vec![9; 4096], true).await.expect("a write where the disk has grown");
        old.disconnect().await;
    });
    qemu_io(&attached, &[], &["read -P 9 24M 4k"]).ok();
}
