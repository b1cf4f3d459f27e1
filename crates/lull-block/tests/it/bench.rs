//! What every backend refuses and promises alike.

use lull_block::{Geometry, IoStatus, Op};

use crate::{Bench, every_backend};

const WRITE: Op = Op::Write { fua: false };

#[test]
fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let block = bench.backend.geometry().block;
        let data: Vec<u8> = (0..block * 24).map(|n| n as u8).collect();
        let offset = u64::from(block);
        bench.write(offset, &data, false).unwrap();
        bench.plain(Op::Flush, 0, 0).unwrap();
        assert_eq!(bench.read(offset, block * 24).unwrap(), data, "{text}");
        assert_eq!(bench.read(0, block).unwrap(), vec![0; block as usize]);
    }
}

#[test]
fn durable_writes_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        bench.write(8192, &[7; 4096], true).unwrap();
        assert_eq!(bench.read(8192, 4096).unwrap(), [7; 4096], "{text}");
        let op = Op::WriteZeroes { fua: true, keep_allocated: true, fast: false };
        bench.plain(op, 8192, 4096).unwrap();
        assert_eq!(bench.read(8192, 4096).unwrap(), [0; 4096], "{text}");
    }
}

#[test]
fn requests_beyond_the_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let Geometry { size, block, .. } = bench.backend.geometry();
        for op in [Op::Read, WRITE, Op::Discard] {
            let refused = |offset, length| bench.plain(op, offset, length);
            assert_eq!(refused(size, block), Err(IoStatus::OutOfRange), "{text}");
            let across = size - u64::from(block);
            assert_eq!(refused(across, block * 2), Err(IoStatus::OutOfRange));
            let wraps = u64::MAX / u64::from(block) * u64::from(block);
            assert_eq!(refused(wraps, block), Err(IoStatus::OutOfRange));
            assert_eq!(refused(across, block), Ok(()));
        }
    }
}

#[test]
fn malformed_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let block = bench.backend.geometry().block;
        assert_eq!(bench.plain(Op::Read, 1, block), Err(IoStatus::Invalid));
        assert_eq!(bench.plain(WRITE, 0, block + 1), Err(IoStatus::Invalid));
        assert_eq!(bench.plain(Op::Discard, 0, 0), Err(IoStatus::Invalid));
        let mut short = bench.request(WRITE, 0, block * 2, 9);
        short.buffer.truncate(block as usize);
        assert_eq!(bench.run(short).result, Err(IoStatus::Invalid), "{text}");
    }
}

#[test]
fn many_requests_at_once_are_each_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let ops = [Op::Write { fua: true }, WRITE, Op::Flush, Op::Read, Op::Discard];
        let mut tags = Vec::new();
        let mut later = 0;
        for tag in 0..60u64 {
            let op = ops[tag as usize % ops.len()];
            let length = if op == Op::Flush { 0 } else { 4096 };
            match bench.backend.start(bench.request(op, tag * 4096, length, tag)) {
                Some(done) => tags.push((done.tag, done.result)),
                None => later += 1,
            }
        }
        if later > 0 {
            let done = bench.wait(later);
            tags.extend(done.iter().map(|done| (done.tag, done.result)));
        }
        tags.sort_by_key(|(tag, _)| *tag);
        let expected: Vec<_> = (0..60).map(|tag| (tag, Ok(()))).collect();
        assert_eq!(tags, expected, "{text}");
        assert_eq!(bench.pool.in_use(), 0, "{text}: every buffer came back");
    }
}

#[test]
fn null_reads_as_zeroes_and_not_as_old_data() {
    let bench = Bench::open("null:1G");
    bench.write(0, &[1; 4096], false).unwrap();
    assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096]);
    assert_eq!(bench.backend.geometry().size, 1 << 30);
}

#[test]
fn a_backend_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    let bench = Bench::open(&format!("file:{at}/disk,size=1M"));
    assert_eq!(bench.backend.describe(), format!("file:{at}/disk"));
    assert_eq!(Bench::open("mem:64M").backend.describe(), "mem:64M");
    assert_eq!(Bench::open("null:512").backend.engine(), "null");
    for (options, engine) in [
        ("", "page cache, io_uring behind"),
        (",engine=threads", "page cache, threads behind"),
        (",direct=on,engine=uring", "io_uring, direct"),
        (",direct=on,engine=threads", "threads, direct"),
    ] {
        let text = format!("file:{at}/another,size=1M{options}");
        assert_eq!(Bench::open(&text).backend.engine(), engine);
    }
}
