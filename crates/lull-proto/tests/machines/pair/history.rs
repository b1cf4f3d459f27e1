//! The judge: every read is explained by the writes.

use lull_wire::StatusCode;

/// A write of one value to some blocks.
#[derive(Clone, Debug)]
struct Write {
    blocks: core::ops::Range<usize>,
    value: u64,
    asked: u64,
    /// When it was answered with success; never for one that failed: it may come to pass at any time.
    done: Option<u64>,
}

/// What consumers saw of one resource. Its instants are the order of events.
#[derive(Clone, Debug, Default)]
pub struct History {
    clock: u64,
    values: u64,
    writes: Vec<Write>,
}

impl History {
    /// The instant of what happens next.
    pub fn instant(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A value that nobody wrote yet.
    pub fn fresh_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    /// A consumer asks for a write; the answer names it.
    pub fn write(&mut self, blocks: core::ops::Range<usize>, value: u64) -> usize {
        let asked = self.instant();
        self.writes.push(Write { blocks, value, asked, done: None });
        self.writes.len() - 1
    }

    /// A write was answered.
    pub fn written(&mut self, which: usize, status: StatusCode) {
        let now = self.instant();
        if status == StatusCode::Done {
            self.writes[which].done = Some(now);
        }
    }

    /// A read that was asked for at `asked` is answered now with this value of a block.
    pub fn check(&self, block: usize, value: u64, asked: u64) {
        let here = || self.writes.iter().filter(|write| write.blocks.contains(&block));
        // Overwritten: something was written wholly after it and wholly before the read.
        let stale = |done: Option<u64>| {
            done.is_some_and(|done| {
                here().any(|later| later.asked > done && later.done.is_some_and(|at| at < asked))
            })
        };
        let first = value == 0 && !stale(Some(0));
        let explained = first || here().any(|write| write.value == value && !stale(write.done));
        assert!(
            explained,
            "block {block} read as {value}, which no write explains: {:?}",
            here().collect::<Vec<_>>()
        );
    }
}

#[test]
fn an_old_value_after_an_acknowledged_write_is_not_explained() {
    let mut history = History::default();
    for value in [1, 2] {
        let write = history.write(0..1, value);
        history.written(write, StatusCode::Done);
    }
    let asked = history.instant();
    history.check(0, 2, asked);
    assert!(std::panic::catch_unwind(|| history.check(0, 1, asked)).is_err());
    assert!(std::panic::catch_unwind(|| history.check(0, 0, asked)).is_err());
}
