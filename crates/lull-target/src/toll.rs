//! What a medium is asked to do that costs, counted by every thread that asks it.

use lull_block::{Completion, IoStatus, Op};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one medium, in this life of the daemon.
#[derive(Debug, Default)]
pub struct Toll {
    flushes: AtomicU64,
    durable: AtomicU64,
    full: AtomicU64,
}

impl Toll {
    /// A request goes to the medium.
    pub fn starts(&self, op: Op) {
        match op {
            Op::Flush => self.flushes.fetch_add(1, Ordering::Relaxed),
            Op::Write { fua: true } | Op::WriteZeroes { fua: true, .. } => {
                self.durable.fetch_add(1, Ordering::Relaxed)
            }
            Op::Read
            | Op::Write { fua: false }
            | Op::WriteZeroes { fua: false, .. }
            | Op::Discard
            | Op::Extents
            | Op::ReadAhead => 0,
        };
    }

    /// It came back. Says whether the medium was full for the first time.
    pub fn ended(&self, done: &Completion) -> bool {
        let full = done.result == Err(IoStatus::NoSpace);
        full && self.full.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Flushes.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Changes that are on stable storage when they are answered, each by itself.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    /// Changes for which there was no room.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }
}
