//! Other people's servers as media.

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lull_block::{IoStatus, Op};
use lull_upstream::Notice;

use crate::{Bench, open_noticed};

/// A program that serves until this is dropped.
struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

thread_local! {
    static RUNNING: RefCell<Vec<Foreign>> = const { RefCell::new(Vec::new()) };
}

/// Starts a server that ends with this thread.
fn start(program: &str, arguments: &[&str]) {
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).spawn();
    let child =
        child.unwrap_or_else(|error| panic!("{program} must be installed for this test: {error}"));
    RUNNING.with_borrow_mut(|running| running.push(Foreign(child)));
}

/// Starts nbdkit at a socket of this name; `words` are filters, `--`, plugin and parameters.
fn nbdkit(at: &Path, name: &str, words: &[&str]) -> String {
    let socket = at.join(name).display().to_string();
    let (filters, rest) = words.split_at(words.iter().position(|word| *word == "--").unwrap());
    start("nbdkit", &[&["-f", "-U", &socket], filters, &rest[1..]].concat());
    format!("nbd+unix:///?socket={socket}")
}

pub fn every_server(at: &Path) -> Vec<String> {
    let limits = "blocksize-minimum=4096";
    let (disk, socket) = (at.join("disk.img"), at.join("qemu"));
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let (disk, socket) = (disk.display().to_string(), socket.display().to_string());
    start("qemu-nbd", &["-t", "-f", "raw", "--discard=unmap", "-k", &socket, &disk]);
    vec![
        nbdkit(at, "memory", &["--", "memory", "1M"]),
        nbdkit(at, "no-fua", &["--filter=fua", "--", "memory", "1M"]),
        nbdkit(at, "large-blocks", &["--filter=blocksize-policy", "--", "memory", "1M", limits]),
        nbdkit(at, "slow", &["--filter=delay", "--", "memory", "1M", "delay-write=1ms"]),
        format!("nbd+unix:///?socket={socket}"),
    ]
}

#[test]
fn a_servers_own_limits_become_the_mediums() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["blocksize-minimum=1024", "blocksize-preferred=8192", "blocksize-maximum=128K"];
    let all = [&["--filter=blocksize-policy", "--", "memory", "1M"], &words[..]].concat();
    let bench = Bench::open(&nbdkit(dir.path(), "limits", &all));
    let geometry = bench.backend.geometry();
    assert_eq!((geometry.size, geometry.block), (1 << 20, 1024));
    assert_eq!((geometry.preferred, geometry.max_length), (8192, 128 << 10));
    assert_eq!(bench.read(0, 128 << 10), Ok(vec![0; 128 << 10]));
    assert_eq!(bench.read(0, 256 << 10), Err(IoStatus::Invalid));
    assert_eq!(bench.read(512, 1024), Err(IoStatus::Invalid));
    assert_eq!(bench.zero(0, 1 << 20, false), Ok(()), "only payload is limited");
}

#[test]
fn a_read_only_export_takes_no_changes() {
    let dir = tempfile::tempdir().unwrap();
    for text in [
        nbdkit(dir.path(), "ro", &["-r", "--", "memory", "1M"]),
        format!("{},read-only", nbdkit(dir.path(), "rw", &["--", "memory", "1M"])),
    ] {
        let bench = Bench::open(&text);
        assert_eq!(bench.write(0, &[1; 4096], false), Err(IoStatus::ReadOnly), "{text}");
        assert_eq!(bench.plain(Op::Discard, 0, 4096), Err(IoStatus::ReadOnly));
        assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096]);
        assert_eq!(bench.plain(Op::Flush, 0, 0), Ok(()));
    }
}

#[test]
fn a_failure_of_the_medium_is_told_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |name, what| {
        let words = ["--filter=error", "--", "memory", "1M", what, "error-rate=100%"];
        Bench::open(&nbdkit(dir.path(), name, &words))
    };
    let bench = fails("full", "error=ENOSPC");
    assert_eq!(bench.write(0, &[1; 4096], false), Err(IoStatus::NoSpace));
    let bench = fails("bad", "error=EIO");
    assert_eq!(bench.read(0, 4096), Err(IoStatus::Io));
    // [SAFE-4] Whatever the server calls it.
    assert_eq!(bench.write(0, &[1; 4096], true), Err(IoStatus::WriteBackFailed));
    assert_eq!(bench.plain(Op::Flush, 0, 0), Err(IoStatus::Faulted));
}

#[test]
fn a_server_without_flush_is_taken_at_its_word_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk.img");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let disk = disk.display();
    let read =
        format!("pread=dd if={disk} skip=$4 count=$3 iflag=count_bytes,skip_bytes status=none");
    let write = format!("pwrite=dd of={disk} seek=$4 conv=notrunc oflag=seek_bytes status=none");
    let words = ["--", "eval", "get_size=echo 1M", "can_write=exit 0", &read, &write];
    let text = nbdkit(dir.path(), "eval", &words);
    let (backend, notices) = open_noticed(&text, Duration::from_secs(20));
    let bench = Bench::of(backend.unwrap());
    assert_eq!(bench.write(4096, &[7; 4096], true), Ok(()));
    assert_eq!(bench.plain(Op::Flush, 0, 0), Ok(()));
    assert_eq!(bench.read(4096, 4096).unwrap(), [7; 4096]);
    assert_eq!(bench.plain(Op::Discard, 0, 4096), Err(IoStatus::NotSupported));
    let notices = notices.lock().unwrap();
    assert!(
        matches!(notices[..], [Notice::NeverFlushes { durable_writes: false, .. }]),
        "{notices:?}"
    );
}
