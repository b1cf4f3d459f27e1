//! Random requests against the simplest thing that could be right.

use lull_block::Op;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{Bench, every_backend};

const BLOCKS: u64 = 64;

#[derive(Clone, Copy, Debug)]
struct Step {
    what: What,
    from: u64,
    blocks: u64,
    fill: u8,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Read,
    Write { fua: bool },
    Flush,
    Discard,
    Zero { keep: bool },
    WriteBack,
    Extents { most: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let what = prop_oneof![
        4 => Just(What::Read),
        6 => any::<bool>().prop_map(|fua| What::Write { fua }),
        1 => Just(What::Flush),
        1 => Just(What::Discard),
        2 => any::<bool>().prop_map(|keep| What::Zero { keep }),
        1 => Just(What::WriteBack),
        2 => (1..5usize).prop_map(|most| What::Extents { most }),
    ];
    let step = (what, 0..BLOCKS, 1..=24u64, 1..=255u8).prop_map(|(what, from, blocks, fill)| {
        Step { what, from, blocks: blocks.min(BLOCKS - from), fill }
    });
    proptest::collection::vec(step, 1..24)
}

/// Runs the steps on the backend and on a vector of bytes, and compares all that is read.
fn follow(bench: &Bench, steps: &[Step]) {
    let block = u64::from(bench.backend.geometry().block);
    let mut model = vec![0u8; (BLOCKS * block) as usize];
    // Earlier cases used the same medium.
    bench.zero(0, (BLOCKS * block) as u32, false).unwrap();
    for step in steps {
        let (offset, length) = (step.from * block, (step.blocks * block) as u32);
        let range = offset as usize..offset as usize + length as usize;
        match step.what {
            What::Read => assert_eq!(bench.read(offset, length).unwrap(), model[range]),
            What::Write { fua } => {
                let data: Vec<u8> = (0..length).map(|n| step.fill ^ n as u8).collect();
                bench.write(offset, &data, fua).unwrap();
                model[range].copy_from_slice(&data);
            }
            What::Flush => bench.plain(Op::Flush, 0, 0).unwrap(),
            What::Discard => {
                bench.plain(Op::Discard, offset, length).unwrap();
                // What it reads as is the medium's choice, but never somebody else's data.
                let now = bench.read(offset, length).unwrap();
                for (now, old) in now.iter().zip(&mut model[range]) {
                    assert!(*now == *old || *now == 0);
                    *old = *now;
                }
            }
            What::Zero { keep } => {
                bench.zero(offset, length, keep).unwrap();
                model[range].fill(0);
            }
            What::WriteBack => bench.backend.start_write_back(),
            What::Extents { most } => {
                let extents = bench.extents(offset, length, most).unwrap();
                assert!((1..=most).contains(&extents.len()));
                let mut at = offset;
                for extent in extents {
                    assert!(at < offset + u64::from(length), "only the last one reaches beyond");
                    assert!(extent.length > 0 && extent.length.is_multiple_of(block));
                    let end = at + extent.length;
                    assert!(end <= bench.backend.geometry().size);
                    let seen = at as usize..(end as usize).min(model.len());
                    assert!(!extent.zero || model[seen].iter().all(|byte| *byte == 0));
                    at = end;
                }
            }
        }
    }
    assert_eq!(bench.read(0, model.len() as u32).unwrap(), model);
}

#[test]
fn any_requests_leave_what_they_leave_in_plain_memory() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_backend(dir.path()) {
        let bench = Bench::open(&text);
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&steps(), |steps| {
                follow(&bench, &steps);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
