//! Files: who may open them, and what becomes of their space.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process;
use std::time::Duration;

use lull_block::{BackendSpec, Context, Holder, IoStatus, Op, OpenError, check, open};

use crate::{Bench, context, open_text, spec};

fn refused(text: &str) -> String {
    let error = match open_text(text) {
        Ok(_) => panic!("{text} was opened"),
        Err(error) => error.to_string(),
    };
    // A successor's check sees what can be seen without an open.
    if let Err(seen) = check(&spec(text)) {
        assert_eq!(seen.to_string(), error);
    }
    error
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn a_second_open_refuses_and_names_the_holder() {
    // [SAFE-6] one owner of the medium.
    let dir = tempfile::tempdir().unwrap();
    let text = format!("file:{}/disk,size=1M", dir.path().display());
    let first = open_text(&text).unwrap();
    let Err(OpenError::Locked { path, holder }) = open_text(&text) else {
        panic!("opened twice");
    };
    assert_eq!(path, dir.path().join("disk"));
    assert!(matches!(holder, Holder::Process { pid, .. } if pid == process::id()));
    assert!(refused(&text).contains(&process::id().to_string()));
    assert!(check(&spec(&text)).is_ok(), "a check takes no lock");
    drop(first);
    open_text(&text).unwrap();
}

#[test]
fn a_successor_waits_until_the_holder_is_gone() {
    // [SAFE-6] a dead holder keeps the lock while its I/O is in flight.
    let dir = tempfile::tempdir().unwrap();
    let text = format!("file:{}/disk,size=1M", dir.path().display());
    let first = open_text(&text).unwrap();
    let patient = Context { lock_wait: Duration::from_secs(60), ..context() };
    let wanted: BackendSpec = spec(&text);
    let successor = std::thread::spawn(move || open(&wanted, &patient).map(drop));
    drop(first);
    successor.join().unwrap().unwrap();
}

#[test]
fn readers_share_and_keep_writers_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("file:{}/disk", dir.path().display());
    drop(open_text(&format!("{path},size=1M")).unwrap());
    let reader = Bench::open(&format!("{path},read-only"));
    let _another = Bench::open(&format!("{path},read-only"));
    assert!(matches!(open_text(&path), Err(OpenError::Locked { .. })));
    let write = Op::Write { fua: false };
    assert_eq!(reader.plain(write, 0, 512), Err(IoStatus::ReadOnly));
    assert_eq!(reader.plain(Op::Discard, 0, 512), Err(IoStatus::ReadOnly));
    assert_eq!(reader.plain(Op::Flush, 0, 0), Ok(()));
    assert_eq!(reader.read(0, 512).unwrap(), [0; 512]);
    assert!(reader.backend.set_identity([1; 16]).is_err());
}

#[test]
fn paths_that_cannot_be_served_are_refused_with_a_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    File::create(dir.path().join("empty")).unwrap();
    fs::write(dir.path().join("odd"), [0; 1000]).unwrap();
    fs::write(dir.path().join("block"), [0; 1024]).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    for (text, next) in [
        (format!("file:{at}/none"), "add size=…"),
        (format!("file:{at}/dangling"), "add size=…"),
        (format!("file:{at}/none/x,size=1M"), "mkdir -p"),
        (format!("file:{at}"), "name a file in it"),
        (format!("file:{at}/empty"), "truncate --size=1G"),
        (format!("file:{at}/odd"), "truncate --size=%512"),
        (format!("file:{at}/block,size=1M"), "leave size= out"),
        (format!("file:{at}/block/x"), "check the path"),
        ("file:/dev/null".into(), "a regular file or a block device"),
    ] {
        let error = refused(&text);
        assert!(error.contains(next), "{text}: {error}");
    }
    assert!(!dir.path().join("none").exists());
}

#[test]
fn size_creates_a_sparse_file_and_fits_an_existing_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a,b");
    let text = format!("file:{}/a\\,b,size=1G", dir.path().display());
    assert_eq!(check(&spec(&text)).unwrap().unwrap().size, 1 << 30);
    assert!(!path.exists(), "a check creates nothing");
    drop(open_text(&text).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 30);
    assert!(allocated(&path) < 1 << 20);
    let again = open_text(&text).unwrap();
    assert_eq!(Some(again.geometry()), check(&spec(&text)).unwrap());
}

#[test]
fn zeroes_and_discards_keep_a_sparse_file_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    for direct in ["on", "off"] {
        let text = format!("file:{},direct={direct}", path.display());
        drop(open_text(&format!("{text},size=64M")).unwrap());
        let bench = Bench::open(&text);
        let empty = allocated(&path);
        bench.zero(0, 64 << 20, false).unwrap();
        bench.plain(Op::Discard, 0, 64 << 20).unwrap();
        assert_eq!(allocated(&path), empty);
        bench.write(0, &[1; 1 << 20], true).unwrap();
        assert!(allocated(&path) >= 1 << 20);
        bench.zero(0, 1 << 20, true).unwrap();
        assert!(allocated(&path) >= 1 << 20, "the space was to be kept");
        assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096]);
        bench.zero(0, 1 << 20, false).unwrap();
        assert_eq!(allocated(&path), empty);
    }
}

#[test]
fn a_file_cut_short_fails_reads_and_gives_no_old_data() {
    let dir = tempfile::tempdir().unwrap();
    for direct in ["on", "off"] {
        let path = dir.path().join(direct);
        let text = format!("file:{},size=1M,direct={direct}", path.display());
        let bench = Bench::open(&text);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(4096).unwrap();
        assert_eq!(bench.read(0, 8192), Err(IoStatus::Io));
        assert_eq!(bench.read(8192, 4096), Err(IoStatus::Io));
        assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096]);
    }
}

#[test]
fn the_identity_stays_with_the_file() {
    // [SAFE-8] files carry a marker.
    let dir = tempfile::tempdir().unwrap();
    let text = format!("file:{}/disk,size=1M", dir.path().display());
    let backend = open_text(&text).unwrap();
    assert_eq!(backend.identity(), None);
    backend.set_identity([9; 16]).unwrap();
    assert_eq!(backend.identity(), Some([9; 16]));
    drop(backend);
    assert_eq!(open_text(&text).unwrap().identity(), Some([9; 16]));
    assert_eq!(open_text("mem:1M").unwrap().identity(), None);
}

#[test]
fn many_flushes_and_durable_writes_at_once_all_succeed() {
    // [SAFE-4] they share calls, but each is answered.
    let dir = tempfile::tempdir().unwrap();
    for direct in ["on", "off"] {
        let path = dir.path().join(direct);
        let bench = Bench::open(&format!("file:{},size=1M,direct={direct}", path.display()));
        for tag in 0..48u64 {
            let (op, length) = match tag % 3 {
                0 => (Op::Flush, 0),
                _ => (Op::Write { fua: true }, 4096),
            };
            let request = bench.request(op, tag * 4096, length, tag);
            assert!(bench.backend.start(request).is_none(), "durability waits");
        }
        assert!(bench.wait(48).iter().all(|done| done.result == Ok(())));
    }
}

#[test]
fn fast_zeroes_are_zeroes_or_nothing_at_all() {
    let dir = tempfile::tempdir().unwrap();
    for text in crate::every_backend(dir.path()) {
        let bench = Bench::open(&text);
        for keep_allocated in [false, true] {
            bench.write(0, &[1; 8192], false).unwrap();
            let op = Op::WriteZeroes { fua: false, keep_allocated, fast: true };
            match bench.plain(op, 0, 4096) {
                Ok(()) => assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096], "{text}"),
                Err(IoStatus::NotSupported) => {
                    assert_eq!(bench.read(0, 4096).unwrap(), [1; 4096], "{text}");
                }
                Err(other) => panic!("{text}: {other}"),
            }
            assert_eq!(bench.read(4096, 4096).unwrap(), [1; 4096], "{text}");
        }
    }
}

#[test]
fn reading_ahead_changes_nothing_and_takes_no_more_than_a_read() {
    let dir = tempfile::tempdir().unwrap();
    for text in crate::every_backend(dir.path()) {
        let bench = Bench::open(&text);
        bench.write(0, &[7; 1 << 20], false).unwrap();
        assert_eq!(bench.plain(Op::ReadAhead, 0, 1 << 20), Ok(()), "{text}");
        assert_eq!(bench.read(0, 1 << 20).unwrap(), [7; 1 << 20], "{text}");
        assert_eq!(bench.plain(Op::ReadAhead, 0, 2 << 20), Err(IoStatus::OutOfRange), "{text}");
    }
    let large = Bench::open("mem:1G");
    assert_eq!(large.plain(Op::ReadAhead, 0, 64 << 20), Err(IoStatus::Invalid));
}
