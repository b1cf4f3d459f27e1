//! What consumers ask for.

use crate::chance::Chance;
use crate::node::slots::Wanted;
use crate::target::MOST_SECTORS;
use lull_wire::{OpCode, RequestFlags};
use std::time::Duration;

/// The habits of one attachment's consumers.
#[derive(Clone, Debug)]
pub struct Load {
    /// Requests still to be made.
    pub left: u64,
    /// The most at the same time.
    pub depth: usize,
    /// The longest span between two bursts.
    pub think: Duration,
    /// The sectors that they prefer, from 0.
    pub hot: u64,
    /// Flushes in a hundred.
    pub flushes: u64,
    /// Changes with FUA in a hundred.
    pub durable: u64,
    /// Only reads.
    pub reads_only: bool,
}

impl Load {
    /// Nothing at all.
    pub fn none() -> Self {
        Self {
            left: 0,
            depth: 4,
            think: Duration::from_millis(10),
            hot: 8,
            flushes: 6,
            durable: 15,
            reads_only: false,
        }
    }

    /// Any habits.
    pub fn any(chance: &mut Chance, left: u64, think: Duration) -> Self {
        Self {
            left,
            depth: *chance.pick(&[1, 2, 4, 8, 16, 32]),
            think,
            hot: *chance.pick(&[4, 16, 64]),
            flushes: *chance.pick(&[0, 2, 8, 25]),
            durable: *chance.pick(&[0, 10, 40]),
            reads_only: false,
        }
    }

    /// The next request on a disk of so many sectors; its number and content are still to be given.
    pub fn next(&self, chance: &mut Chance, sectors: u64) -> Wanted {
        if !self.reads_only && chance.percent(self.flushes) {
            return Wanted {
                request: 0,
                op: OpCode::Flush,
                flags: RequestFlags::none(),
                first: 0,
                count: 0,
                content: 0,
            };
        }
        let longest = if chance.one_in(16) { 2 * MOST_SECTORS } else { 8 };
        let count = chance.between(1, longest.min(sectors));
        let room = sectors - count;
        let bound = if chance.percent(60) { self.hot.min(room) } else { room };
        let first = chance.between(0, bound);
        let op = match chance.below(100) {
            _ if self.reads_only => OpCode::Read,
            0..45 => OpCode::Write,
            45..53 => OpCode::WriteZeroes,
            53..56 => OpCode::Discard,
            _ => OpCode::Read,
        };
        let durable =
            matches!(op, OpCode::Write | OpCode::WriteZeroes) && chance.percent(self.durable);
        let flags = RequestFlags::none().with_if(durable, RequestFlags::FUA);
        Wanted { request: 0, op, flags, first, count, content: 0 }
    }
}
