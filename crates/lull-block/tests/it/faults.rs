//! The backend that fails on request.

use lull_block::{IoStatus, Op};

use crate::Bench;

#[test]
fn the_nth_flush_fails_as_a_failed_write_back() {
    // [SAFE-4] seen from the one who asked.
    let bench = Bench::open("faulty:fail-flush=2:mem:1M");
    let flushes: Vec<_> = (0..4).map(|_| bench.plain(Op::Flush, 0, 0)).collect();
    assert_eq!(flushes, [Ok(()), Err(IoStatus::WriteBackFailed), Ok(()), Ok(())]);
    let bench = Bench::open("faulty:fail-flush-after=1:mem:1M");
    let flushes: Vec<_> = (0..3).map(|_| bench.plain(Op::Flush, 0, 0)).collect();
    let failed = Err(IoStatus::WriteBackFailed);
    assert_eq!(flushes, [Ok(()), failed, failed]);
}

#[test]
fn a_bad_range_fails_whoever_touches_it() {
    let bench = Bench::open("faulty:fail-writes-at=4K+512,fail-reads-at=8K:mem:1M");
    assert_eq!(bench.write(0, &[1; 8192], false), Err(IoStatus::Io));
    assert_eq!(bench.read(0, 4096).unwrap(), [0; 4096]);
    assert_eq!(bench.write(4608, &[1; 512], false), Ok(()));
    assert_eq!(bench.zero(4096, 512, false), Err(IoStatus::Io));
    assert_eq!(bench.read(8192, 512), Err(IoStatus::Io));
    assert_eq!(bench.read(8704, 512).unwrap(), [0; 512]);
}

#[test]
fn a_delay_never_holds_the_caller() {
    let bench = Bench::open("faulty:delay=20ms:mem:1M");
    for tag in 0..8 {
        let request = bench.request(Op::Read, 0, 4096, tag);
        assert!(bench.backend.start(request).is_none());
    }
    assert!(bench.wait(8).iter().all(|done| done.result == Ok(())));
}

#[test]
fn a_volatile_file_keeps_what_was_flushed_and_loses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("faulty:volatile:file:{}/disk,size=1M", dir.path().display());
    let bench = Bench::open(&text);
    bench.write(0, &[1; 8192], false).unwrap();
    bench.plain(Op::Flush, 0, 0).unwrap();
    bench.write(0, &[2; 4096], false).unwrap();
    bench.write(8192, &[3; 4096], true).unwrap();
    bench.zero(4096, 4096, false).unwrap();
    assert_eq!(bench.read(0, 4096).unwrap(), [2; 4096]);
    drop(bench);
    let bench = Bench::open(&text);
    assert_eq!(bench.read(0, 8192).unwrap(), [1; 8192]);
    assert_eq!(bench.read(8192, 4096).unwrap(), [3; 4096]);
}

#[test]
fn a_flush_that_fails_loses_what_a_volatile_file_had_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let bench = Bench::open(&format!("faulty:volatile,fail-flush=2:file:{path}/disk,size=1M"));
    bench.write(0, &[1; 4096], false).unwrap();
    bench.plain(Op::Flush, 0, 0).unwrap();
    bench.write(0, &[2; 4096], false).unwrap();
    assert_eq!(bench.plain(Op::Flush, 0, 0), Err(IoStatus::WriteBackFailed));
    assert_eq!(bench.read(0, 4096).unwrap(), [1; 4096]);
}
