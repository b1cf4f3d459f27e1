//! The field's own NBD clients at an attachment, where they do not notice a restart, and at a target, where a restart
//! ends their connection.

mod restarts;

use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use lull_e2e::tools::{patterned, qemu_io, run};
use lull_e2e::{Initiator, Target, Use, World};

const MIB: usize = 1 << 20;

/// A disk as a client finds it.
struct Disk {
    target: Target,
    /// Where it is attached; without it the client is at the target.
    web: Option<Initiator>,
}

impl Disk {
    fn attached(world: &World, size: &str) -> Self {
        let target = world.target("stor").file("db1", size).start();
        let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
        Self { target, web: Some(web) }
    }

    fn direct(world: &World, size: &str) -> Self {
        Self { target: world.target("stor").file("db1", size).nbd().start(), web: None }
    }

    fn uri(&self) -> String {
        match &self.web {
            Some(web) => web.nbd(),
            None => self.target.nbd_uri("db1"),
        }
    }

    fn is_in_use(&self) -> bool {
        match &self.web {
            Some(web) => web.attachment().clients > 0,
            None => !self.target.status().agentless.is_empty(),
        }
    }
}

/// Runs a test in both places.
fn in_both_places(size: &str, test: impl Fn(&World, &Disk)) {
    for place in [Disk::direct, Disk::attached] {
        let world = World::new();
        test(&world, &place(&world, size));
    }
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[test]
fn nbdinfo_learns_what_a_disk_is_and_can_do() {
    in_both_places("16M", |_, disk| {
        let uri = disk.uri();
        let told = run("nbdinfo", &["--json", "--no-content", &uri]).ok().json();
        assert_eq!(told["protocol"], "newstyle-fixed", "{told:#}");
        assert_eq!(told["structured"], true, "{told:#}");
        let export = &told["exports"][0];
        assert_eq!(export["export-name"], "db1", "{told:#}");
        assert_eq!(export["export-size"], 16 << 20, "{told:#}");
        assert_eq!(export["is_read_only"], false, "{told:#}");
        assert!(export["description"].as_str().is_some_and(|text| !text.is_empty()), "{told:#}");
        let sizes =
            ["minimum", "preferred", "maximum"].map(|one| &export[format!("block_size_{one}")]);
        assert_eq!(sizes.map(|size| size.as_u64()), [Some(512), Some(4096), Some(32 << 20)]);
        for able in ["flush", "fua", "trim", "zero", "fast-zero", "cache", "multi-conn", "df"] {
            run("nbdinfo", &["--can", able, &uri]).ok();
        }
        assert_eq!(export["contexts"][0], "base:allocation", "{told:#}");
        run("nbdinfo", &["--is", "read-only", &uri]).code(2);
        assert_eq!(run("nbdinfo", &["--size", &uri]).ok().stdout.trim(), "16777216");
        let listed = run("nbdinfo", &["--list", "--json", "--no-content", &uri]).ok().json();
        assert_eq!(listed["exports"][0]["export-name"], "db1", "{listed:#}");
    });
}

/// The stretches of a disk as `nbdinfo --map` tells them: offset, length and kind, neighbours of a kind as one.
fn map(uri: &str) -> Vec<(u64, u64, u64)> {
    let told = run("nbdinfo", &["--map", "--json", uri]).ok().json();
    let mut map: Vec<(u64, u64, u64)> = Vec::new();
    for entry in told.as_array().expect("a list") {
        let number = |key: &str| entry[key].as_u64().expect("a number");
        let (offset, length, kind) = (number("offset"), number("length"), number("type"));
        match map.last_mut() {
            Some(last) if last.2 == kind => last.1 += length,
            _ => map.push((offset, length, kind)),
        }
    }
    map
}

#[test]
fn tools_see_which_parts_of_a_disk_hold_data() {
    in_both_places("1G", |_, disk| {
        let (uri, mib) = (disk.uri(), MIB as u64);
        let (data, hole) = (0, 3);
        assert_eq!(map(&uri), [(0, 1024 * mib, hole)]);
        let orders =
            ["write -P 1 1M 2M", "write -P 2 512M 1M", "write -z -u 2M 1M", "discard 512M 512k"];
        qemu_io(&uri, &[], &orders).ok();
        let half = mib / 2;
        let written = [
            (0, mib, hole),
            (mib, mib, data),
            (2 * mib, 510 * mib + half, hole),
            (512 * mib + half, half, data),
            (513 * mib, 511 * mib, hole),
        ];
        assert_eq!(map(&uri), written);
        let told = run("qemu-img", &["map", "--output=json", "-f", "raw", &uri]).ok().json();
        let told = told.as_array().expect("a list");
        let kinds: Vec<_> =
            told.iter().map(|one| (one["start"].as_u64(), one["data"].as_bool())).collect();
        let expected: Vec<_> =
            written.iter().map(|(start, _, kind)| (Some(*start), Some(*kind == data))).collect();
        assert_eq!(kinds, expected, "{told:#?}");
    });
}

/// A gigabyte with a megabyte in it is copied by its megabyte: the copy is as sparse, and right.
#[test]
fn sparse_disks_are_copied_sparsely() {
    in_both_places("1G", |world, disk| {
        let uri = disk.uri();
        qemu_io(&uri, &[], &["write -P 7 300M 1M", "flush"]).ok();
        let by_nbdcopy = world.path("nbdcopy.img").display().to_string();
        let by_qemu = world.path("qemu.img").display().to_string();
        run("nbdcopy", &[&uri, &by_nbdcopy]).ok();
        run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &uri, &by_qemu]).ok();
        for copy in [&by_nbdcopy, &by_qemu] {
            let found = std::fs::metadata(copy).expect("a copy");
            assert_eq!(found.len(), 1 << 30);
            assert!(found.blocks() * 512 < 16 << 20, "{copy} has {} blocks", found.blocks());
            run("qemu-img", &["compare", "-f", "raw", "-F", "raw", copy, &uri]).ok();
        }
    });
}

/// A sparse file onto a disk full of data: its holes read as zeroes there, and are holes again.
#[test]
fn sparse_files_are_copied_onto_a_used_disk() {
    in_both_places("64M", |world, disk| {
        let uri = disk.uri();
        let source = world.path("source.img").display().to_string();
        let file = std::fs::File::create(&source).expect("a file can be made");
        file.set_len(64 << 20).expect("a file can be given a size");
        file.write_all_at(&[3; MIB], 40 << 20).expect("a file can be written");
        let mib = MIB as u64;
        for copy in [
            &["nbdcopy", "--flush", &source, &uri][..],
            &["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", &source, &uri],
        ] {
            qemu_io(&uri, &[], &["write -P 9 0 64M"]).ok();
            run(copy[0], &copy[1..]).ok();
            run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]).ok();
            let copied = [(0, 40 * mib, 3), (40 * mib, mib, 0), (41 * mib, 23 * mib, 3)];
            assert_eq!(map(&uri), copied, "{copy:?}");
        }
    });
}

#[test]
fn nbdcopy_and_qemu_img_copy_both_ways() {
    in_both_places("16M", |world, disk| {
        let uri = disk.uri();
        let source = patterned(world, "source.img", 16 * MIB);
        let back = world.path("back.img").display().to_string();
        let qcow = world.path("back.qcow2").display().to_string();
        run("nbdcopy", &["--flush", &source, &uri]).ok();
        run("nbdcopy", &[&uri, &back]).ok();
        assert!(read(&source) == read(&back), "the copy differs from its source");
        qemu_io(&uri, &[], &["write -z -u 0 16M", "flush", "read -P 0 0 16M"]).ok();
        run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &source, &uri]).ok();
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &source, &uri]).ok();
        run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, &qcow]).ok();
        run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &source, &qcow]).ok();
    });
}

#[test]
fn qemu_io_writes_zeroes_discards_and_flushes() {
    in_both_places("16M", |_, disk| {
        let orders = [
            "write -P 0x11 0 16M",
            "write -z 1M 64k",
            "write -z -u 2M 64k",
            "discard 3M 64k",
            "write -f -P 0x22 3M 4k",
            "flush",
            "read -P 0 1M 64k",
            "read -P 0 2M 64k",
            "read -P 0x22 3M 4k",
            "read -P 0x11 4M 12M",
            "aio_write -P 0x33 4M 1M",
            "aio_write -P 0x44 5M 1M",
            "aio_write -z 6M 1M",
            "aio_flush",
            "read -P 0x33 4M 1M",
            "read -P 0x44 5M 1M",
            "read -P 0 6M 1M",
        ];
        let said = qemu_io(&disk.uri(), &[], &orders).ok();
        assert!(!said.stdout.contains("failed"), "{said:?}");
    });
}

/// More than 32 bits of length in one request, which QEMU's client makes of extended headers.
/// The number before the first dot of QEMU's version.
fn qemu_release() -> u32 {
    let said = run("qemu-io", &["--version"]).ok().stdout;
    let version = said.split_whitespace().nth(2).and_then(|version| version.split('.').next());
    version.and_then(|release| release.parse().ok()).expect("qemu-io tells its version")
}

fn zeroed_by_one_request(disk: &Disk, end: &str) {
    let zeroes = format!("write -z -u -n 512k {end}");
    let orders = [
        "write -P 5 0 1M",
        "write -P 6 5G 1M",
        "write -P 7 12287G 1M",
        &zeroes,
        "read -P 5 0 512k",
        "read -P 0 512k 512k",
        "read -P 0 5G 1M",
        "read -P 7 12287G 1M",
    ];
    let said = qemu_io(&disk.uri(), &[], &orders).ok();
    assert!(!said.stdout.contains("failed"), "{said:?}");
    let kinds: Vec<_> = map(&disk.uri()).into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds, [0, 3, 0, 3], "data at the beginning and at the end, and a hole between");
}

#[test]
fn more_than_32_bits_of_zeroes_are_one_request() {
    in_both_places("12T", |_, disk| zeroed_by_one_request(disk, "8G"));
    // Before release 9 QEMU has no extended headers: it asks for 2 GiB at a time, which is too many for terabytes.
    let end = if qemu_release() < 9 { "16G" } else { "11T" };
    zeroed_by_one_request(&Disk::direct(&World::new(), "12T"), end);
}
