//! The field's own clients against the server's half.

mod support;

use support::{Answers, MIB, Server, patterned, run, text, tool};

/// On a unix socket and on TCP, with a device that answers at once and one that answers late.
fn on_every_road(size: u64, test: impl Fn(&Server, &std::path::Path)) {
    for answers in [Answers::AtOnce, Answers::LastFirst] {
        let directory = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}", directory.path().join("nbd.sock").display());
        for addr in [unix.as_str(), "tcp:127.0.0.1:0"] {
            test(&Server::start(addr, size, answers), directory.path());
        }
    }
}

#[test]
fn nbdinfo_sees_the_export_as_it_is() {
    on_every_road(8 * MIB, |server, _| {
        let said = tool("nbdinfo", &["--no-content", &server.uri()]);
        for line in [
            "newstyle-fixed without TLS",
            "structured packets",
            "export=\"disk\"",
            "export-size: 8388608",
            "description: a disk in memory",
            "is_read_only: false",
            "can_multi_conn: true",
            "can_flush: true",
            "can_fua: true",
            "can_trim: true",
            "can_zero: true",
            "can_df: true",
            "can_fast_zero: true",
            "can_cache: true",
            "block_size_minimum: 512",
            "block_size_preferred: 4096",
            "block_size_maximum: 33554432",
        ] {
            assert!(said.contains(line), "{line} is missing in\n{said}");
        }
        assert!(tool("nbdinfo", &["--list", &server.uri()]).contains("export=\"disk\""));
    });
}

#[test]
fn qemu_prints_why_an_export_is_refused() {
    let server = Server::start("tcp:127.0.0.1:0", MIB, Answers::AtOnce);
    let output = run("qemu-img", &["info", &server.uri().replace("/disk", "/other")]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is `disk`"), "{}", text(&output.stderr));
}

#[test]
fn nbdcopy_copies_both_ways() {
    on_every_road(16 * MIB, |server, directory| {
        let source = patterned(directory, "source", 16 * MIB);
        let back = directory.join("back");
        let (source, back) = (source.to_str().unwrap(), back.to_str().unwrap());
        tool("nbdcopy", &["--flush", source, &server.uri()]);
        tool("nbdcopy", &[&server.uri(), back]);
        assert!(std::fs::read(source).unwrap() == std::fs::read(back).unwrap());
    });
}

#[test]
fn qemu_img_reads_writes_and_compares() {
    on_every_road(16 * MIB, |server, directory| {
        let source = patterned(directory, "source", 16 * MIB);
        let (source, uri) = (source.to_str().unwrap(), server.uri());
        assert!(tool("qemu-img", &["info", &uri]).contains("16 MiB (16777216 bytes)"));
        tool("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", source, &uri]);
        tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", source, &uri]);
        let back = directory.join("back.qcow2");
        tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, back.to_str().unwrap()]);
        tool("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", source, back.to_str().unwrap()]);
    });
}

#[test]
fn qemu_io_sees_writes_zeroes_discards_and_flushes() {
    on_every_road(16 * MIB, |server, _| {
        let said = tool(
            "qemu-io",
            &[
                "-f",
                "raw",
                "-c",
                "read -P 0x5a 0 8k",
                "-c",
                "write -P 0x11 1M 128k",
                "-c",
                "write -f -P 0x22 2M 4k",
                "-c",
                "write -z 1M 64k",
                "-c",
                "write -z -u 3M 64k",
                "-c",
                "discard 2M 4k",
                "-c",
                "flush",
                "-c",
                "read -P 0 1M 64k",
                "-c",
                "read -P 0x11 1088k 64k",
                "-c",
                "aio_write -P 0x33 4M 1M",
                "-c",
                "aio_write -P 0x44 5M 1M",
                "-c",
                "aio_flush",
                "-c",
                "read -P 0x33 4M 1M",
                "-c",
                "read -P 0x44 5M 1M",
                &server.uri(),
            ],
        );
        assert!(!said.contains("failed") && !said.contains("error"), "{said}");
    });
}

#[test]
fn fio_verifies_what_it_wrote_at_depth() {
    on_every_road(32 * MIB, |server, directory| {
        for (blocks, pattern) in [("4k", "randwrite"), ("512-256k", "randrw"), ("1m", "write")] {
            tool(
                "fio",
                &[
                    "--name=verify",
                    "--ioengine=nbd",
                    &format!("--uri={}", server.uri()),
                    &format!(
                        "--bsrange={}",
                        if blocks.contains('-') {
                            blocks.into()
                        } else {
                            format!("{blocks}-{blocks}")
                        }
                    ),
                    &format!("--rw={pattern}"),
                    "--size=32m",
                    "--iodepth=32",
                    "--verify=crc32c",
                    "--verify_fatal=1",
                    "--verify_state_save=0",
                    "--fsync=64",
                    &format!("--aux-path={}", directory.display()),
                ],
            );
        }
    });
}
