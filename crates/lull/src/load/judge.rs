//! What a load makes of a disk's answers: a history, which is judged at once and recorded where that is wanted.
//!
//! A unit of the history is a block of the load.

use std::collections::HashSet;

use lull_history::file::{self, Event};
use lull_history::{Checker, FaultKind, Held, Loss, Op, Outcome, Part, Promise};

use super::pattern::{self, SECTOR, Sector};
use super::recorder::{Recorded, Recorder};

/// Contents that a block may have; beyond it, it is read instead of written, which shows which one it is.
const MOST_POSSIBLE: usize = 64;

/// Wrong blocks that are remembered, so that each counts once; beyond it, each wrong read counts.
const MOST_WRONG: usize = 1 << 16;

/// The one consumer of a load's history.
const CONSUMER: u64 = 1;

/// In the number of what stood there before: no write of a load has it.
const BEFORE: u64 = 1 << 63;

/// What a load takes from its disk.
const PROMISE: Promise = Promise::Acknowledged;

/// A read that the writes do not explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the block.
    pub block: u64,
    /// What kind.
    pub kind: FaultKind,
    /// What is wrong, as a sentence.
    pub text: String,
}

/// The judge of one disk.
#[derive(Debug)]
pub struct Judge {
    run: u64,
    sectors: u64,
    checker: Checker,
    recorder: Option<Recorder>,
    wrong: HashSet<u64>,
    /// Requests so far; each has its number, which is that of a write's content too.
    requests: u64,
}

impl Judge {
    /// A judge of blocks of `block` bytes (a multiple of 512). `run` is a number that no other run has.
    pub fn new(run: u64, block: u32, recorder: Option<Recorder>) -> Self {
        Self {
            run,
            sectors: u64::from(block) / SECTOR as u64,
            checker: Checker::new(PROMISE, None),
            recorder,
            wrong: HashSet::new(),
            requests: 0,
        }
    }

    /// The two lines that a record of this judge begins with.
    pub fn head() -> String {
        file::head(PROMISE, None)
    }

    fn begin(&mut self, op: Op) -> u64 {
        self.requests += 1;
        let id = self.requests;
        self.record(&Event::Begin { id, by: CONSUMER, op });
        self.checker.begin(id, CONSUMER, op);
        id
    }

    fn record(&mut self, event: &Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(event);
        }
    }

    /// Begins a write and fills `content` with what is to be written; `None` where the block has too many possible
    /// contents already. Gives the request's number.
    pub fn begin_write(&mut self, block: u64, content: &mut [u8]) -> Option<u64> {
        if self.checker.possible(block) >= MOST_POSSIBLE {
            return None;
        }
        let number = self.requests + 1;
        pattern::fill(content, self.run, block * self.sectors, number);
        Some(self.begin(Op::Write { first: block, count: 1, content: number, durable: false }))
    }

    /// Begins a read. Gives the request's number.
    pub fn begin_read(&mut self, block: u64) -> u64 {
        self.begin(Op::Read { first: block, count: 1 })
    }

    /// Begins a flush. Gives the request's number.
    pub fn begin_flush(&mut self) -> u64 {
        self.begin(Op::Flush)
    }

    /// Ends a write, a flush, or a read that returned nothing.
    pub fn end(&mut self, id: u64, outcome: Outcome) {
        self.record(&Event::End { id, outcome, content: Vec::new() });
        // Only a read's content can be wrong.
        let _ = self.checker.end(id, outcome, &[]);
    }

    /// Ends a read with the block's content.
    ///
    /// # Errors
    /// What is wrong with it, once for each block.
    pub fn end_read(&mut self, id: u64, block: u64, content: &[u8]) -> Result<(), Fault> {
        let held = self.held(block, content);
        let judged = self.checker.end(id, Outcome::Done, std::slice::from_ref(&held));
        self.record(&Event::End { id, outcome: Outcome::Done, content: vec![held] });
        let Err(fault) = judged else { return Ok(()) };
        if self.wrong.contains(&block) {
            return Ok(());
        }
        if self.wrong.len() < MOST_WRONG {
            self.wrong.insert(block);
        }
        let found = self.found(block, content, &fault.held);
        let newer = fault.newer.map(|newer| match fault.kind {
            FaultKind::Lost => format!(", and write {newer} was acknowledged; no flush covered it"),
            FaultKind::FlushedLost => {
                format!(", and write {newer} was acknowledged, and a flush covered it")
            }
            FaultKind::CameBack => format!(", and write {newer} had been read already"),
            FaultKind::Corrupt => String::new(),
        });
        let text = format!("it holds {found}{}", newer.unwrap_or_default());
        Err(Fault { block, kind: fault.kind, text })
    }

    /// The connection is lost, and what died with it nobody can tell.
    pub fn lost(&mut self) {
        let loss = Loss::Cache;
        self.record(&Event::Lost(loss));
        self.checker.lost(loss);
    }

    /// Every block that was written, or may have been.
    pub fn written(&self) -> Vec<u64> {
        self.checker.changed()
    }

    /// Blocks that were found wrong.
    pub fn wrong(&self) -> u64 {
        self.wrong.len() as u64
    }

    /// Ends the record: how it went; `None`: there was none.
    pub fn end_record(&mut self) -> Option<std::io::Result<Recorded>> {
        Some(self.recorder.take()?.finish())
    }

    /// A block's content as a history has it.
    fn held(&self, block: u64, content: &[u8]) -> Held {
        let mut parts: Vec<Part> = Vec::new();
        let mut strange = false;
        for (place, sector) in (block * self.sectors..).zip(content.chunks_exact(SECTOR)) {
            let part = match pattern::inspect(sector, self.run) {
                Sector::Ours { place: there, sequence } if there == place => Part::Number(sequence),
                Sector::Ours { .. } | Sector::Damaged => return Held::Strange,
                Sector::Strange => {
                    strange = true;
                    Part::Before
                }
                Sector::Earlier => Part::Before,
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        match *parts {
            [Part::Number(number)] => Held::Whole(number),
            [Part::Before] if strange => Held::Whole(BEFORE | pattern::digest(content)),
            [Part::Before] => Held::Before(BEFORE | pattern::digest(content)),
            _ => Held::Parts(parts),
        }
    }

    /// What a block holds, for people.
    fn found(&self, block: u64, content: &[u8], held: &Held) -> String {
        let part = |part: &Part| match part {
            Part::Number(number) => format!("write {number}"),
            Part::Before => "what stood there before".to_owned(),
        };
        match held {
            Held::Whole(number) if number & BEFORE == 0 => part(&Part::Number(*number)),
            Held::Whole(_) => "something that was never written".to_owned(),
            Held::Before(_) => part(&Part::Before),
            Held::Parts(parts) => {
                format!("parts of {}", parts.iter().map(part).collect::<Vec<_>>().join(" and "))
            }
            Held::Strange => self.misplaced(block, content),
        }
    }

    fn misplaced(&self, block: u64, content: &[u8]) -> String {
        for (place, sector) in (block * self.sectors..).zip(content.chunks_exact(SECTOR)) {
            match pattern::inspect(sector, self.run) {
                Sector::Ours { place: there, .. } if there != place => {
                    let (block, at) = (there / self.sectors, there % self.sectors);
                    return format!("sector {at} of block {block}");
                }
                Sector::Damaged => return "one of our writes, damaged".to_owned(),
                Sector::Ours { .. } | Sector::Earlier | Sector::Strange => {}
            }
        }
        "something that was never written".to_owned()
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
