//! Which parts of a medium are said to be there.

use std::fs::File;

use lull_block::{Extent, IoStatus, Op};

use crate::{Bench, every_backend};

const MIB: u64 = 1 << 20;

#[test]
fn data_is_told_from_holes() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    for text in [
        "mem:8M".into(),
        format!("file:{at}/cached,size=8M"),
        format!("file:{at}/direct,size=8M,direct=on"),
        format!("faulty:delay=50us:file:{at}/late,size=8M"),
    ] {
        let bench = Bench::open(&text);
        let all = |bench: &Bench| bench.extents(0, 8 << 20, 64).unwrap();
        assert_eq!(all(&bench), [Extent::hole(8 * MIB)], "{text}");
        for offset in [2 * MIB, 5 * MIB, 7 * MIB] {
            bench.write(offset, &[1; 1 << 20], false).unwrap();
        }
        let (hole, data) = (Extent::hole, Extent::data);
        let expected = [hole(2 * MIB), data(MIB), hole(2 * MIB), data(MIB), hole(MIB), data(MIB)];
        assert_eq!(all(&bench), expected, "{text}");
        // From within an extent, and with less room than there are extents.
        let some = bench.extents(2 * MIB + 64 * 1024, 5 << 20, 2).unwrap();
        assert_eq!(some, [data(MIB - 64 * 1024), hole(2 * MIB)], "{text}");
        assert_eq!(bench.extents(5 * MIB, 1 << 20, 1).unwrap(), [data(MIB)], "{text}");
        bench.plain(Op::Discard, 5 * MIB, 1 << 20).unwrap();
        bench.zero(7 * MIB, 1 << 20, false).unwrap();
        assert_eq!(all(&bench), [hole(2 * MIB), data(MIB), hole(5 * MIB)], "{text}");
    }
}

#[test]
fn nothing_is_all_hole() {
    let bench = Bench::open("null:1T");
    assert_eq!(bench.extents(MIB, 512, 1).unwrap(), [Extent::hole((1 << 40) - MIB)]);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let block = bench.backend.geometry().block;
        assert_eq!(bench.extents(1, block, 1), Err(IoStatus::Invalid), "{text}");
        assert_eq!(bench.extents(0, 0, 1), Err(IoStatus::Invalid), "{text}");
        assert_eq!(bench.extents(0, block, 0), Err(IoStatus::Invalid), "{text}");
        assert_eq!(bench.extents(MIB, block, 1), Err(IoStatus::OutOfRange), "{text}");
        let mut odd = bench.request(Op::Extents, 0, block, 7);
        odd.buffer = bench.buffer(Extent::BYTES + 1);
        assert_eq!(bench.run(odd).result, Err(IoStatus::Invalid), "{text}");
    }
}

#[test]
fn a_file_cut_short_is_no_hole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let bench = Bench::open(&format!("file:{},size=1M", path.display()));
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert_eq!(bench.extents(0, 1 << 20, 8).unwrap(), [Extent::hole(4096)]);
    assert_eq!(bench.extents(8192, 4096, 8), Err(IoStatus::Io));
}
