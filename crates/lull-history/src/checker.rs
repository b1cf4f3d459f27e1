//! The judge: takes a history event by event.

use crate::cell::{Cell, Value, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the system under test promises about changes that were answered and that no flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// They stay, whatever happens.
    Acknowledged,
    /// They stay as long as somebody keeps them for the one who asked, which ends with [`Checker::forsaken`]; then a
    /// loss may take them.
    Retained,
    /// A loss may take any of them, each by itself.
    Flushed,
}

/// What a request asks for. Places are units; `first` is the first of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Op {
    /// The content.
    Read { first: u64, count: u64 },
    /// The unit `first + n` is to hold `content + n`: numbers that no other write uses, and none is 0. `durable`: it
    /// is answered only when it is on stable storage.
    Write { first: u64, count: u64, content: u64, durable: bool },
    /// Each unit is to hold 0.
    Zero { first: u64, count: u64, durable: bool },
    /// Each unit may hold anything from now on.
    Discard { first: u64, count: u64 },
    /// What was answered before is to be on stable storage.
    Flush,
}

impl Op {
    /// The kind, for people.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Write { .. } | Self::Zero { .. } | Self::Discard { .. } => Kind::Change,
            Self::Flush => Kind::Flush,
        }
    }

    fn range(&self) -> std::ops::Range<u64> {
        match *self {
            Self::Read { first, count }
            | Self::Write { first, count, .. }
            | Self::Zero { first, count, .. }
            | Self::Discard { first, count } => first..first + count,
            Self::Flush => 0..0,
        }
    }
}

/// Sorts of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks for content.
    Read,
    /// It changes content.
    Change,
    /// It makes content durable.
    Flush,
}

/// What took changes along that no flush covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The whole cache is gone, as in a power cut: what is seen after it is on the medium.
    Cache,
    /// A write-back failed: pages that it dropped may be seen for some time still, and no later flush covers them.
    Pages,
}

/// How a request ended for its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With success.
    Done,
    /// With an error: it has happened, wholly or in part, or not, and will not happen later.
    Failed,
    /// With an error or not at all, and it may still happen until [`Checker::settle`].
    Unknown,
}

/// What is wrong with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A change was acknowledged, and what stood there before is there.
    Lost,
    /// The same for one that a flush had covered.
    FlushedLost,
    /// A change had been read, and what it replaced is there again.
    CameBack,
    /// Content that nobody wrote there.
    Corrupt,
}

impl FaultKind {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::FlushedLost => "flushed_lost",
            Self::CameBack => "came_back",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A read that the changes do not explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the read.
    pub read: u64,
    /// The unit.
    pub unit: u64,
    /// What kind.
    pub kind: FaultKind,
    /// What it held.
    pub number: u64,
    /// The change that wrote that, 0 for what stood there before the history; `None`: nobody did, or it is forgotten.
    pub found: Option<u64>,
    /// A change that should have been there.
    pub newer: Option<u64>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, unit, number, .. } = self;
        write!(f, "{}: request {read} read {number} in unit {unit}", self.kind.as_str())?;
        match self.found {
            Some(0) => write!(f, ", which stood there before everything")?,
            Some(id) => write!(f, ", which request {id} wrote")?,
            None => write!(f, ", which nobody wrote there that could still be seen")?,
        }
        match self.newer {
            Some(id) => write!(f, "; request {id} came after it"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug)]
struct Open {
    op: Op,
    begun: u64,
}

/// The judge of one disk.
///
/// Each unit is a register of its own: a change of several units may be seen in part while it is under way. A read may
/// return any change that was not certainly replaced when it began, and none that began after its end.
#[derive(Clone, Debug)]
pub struct Checker {
    promise: Promise,
    before: Value,
    cells: BTreeMap<u64, Cell>,
    open: BTreeMap<u64, Open>,
    /// Orders begins and ends.
    moment: u64,
    /// The begin of the newest flush that is done.
    flushed: u64,
    /// The last loss of the whole cache.
    lost: u64,
    /// Those for whom nothing is kept any more.
    forsaken: BTreeSet<u64>,
}

impl Checker {
    /// The judge of a disk that promises `promise` and whose units hold `before` at first; `None`: something that the
    /// first read of each shows.
    pub fn new(promise: Promise, before: Option<u64>) -> Self {
        Self {
            promise,
            before: before.map_or(Value::Before, Value::Number),
            cells: BTreeMap::new(),
            open: BTreeMap::new(),
            moment: 0,
            flushed: 0,
            lost: 0,
            forsaken: BTreeSet::new(),
        }
    }

    fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// A consumer asks. `id` is a number of its own, and not 0; `by` tells for whom it may be kept.
    pub fn begin(&mut self, id: u64, by: u64, op: Op) {
        let begun = self.tick();
        let before = self.before;
        let cells = &mut self.cells;
        let mut each = |with: &dyn Fn(u64, &mut Cell)| {
            for unit in op.range() {
                with(unit, cells.entry(unit).or_insert_with(|| Cell::new(before)));
            }
        };
        let change = |value, durable| Write {
            id,
            by,
            value,
            begun,
            ended: None,
            certain: None,
            answered: None,
            durable,
            kept: false,
            seen: false,
            doomed: false,
            in_doubt: false,
        };
        match op {
            Op::Read { .. } => each(&|_, cell| cell.reads.push(begun)),
            Op::Write { first, content, durable, .. } => each(&|unit, cell| {
                cell.writes.push(change(Value::Number(content + (unit - first)), durable));
            }),
            Op::Zero { durable, .. } => {
                each(&|_, cell| cell.writes.push(change(Value::Number(0), durable)))
            }
            Op::Discard { .. } => each(&|_, cell| cell.writes.push(change(Value::Anything, false))),
            Op::Flush => {}
        }
        self.open.insert(id, Open { op, begun });
    }

    /// A consumer is answered; `content` is what a read that is done returned, a number for each unit.
    ///
    /// # Errors
    /// The first unit of a read that the changes do not explain.
    pub fn end(&mut self, id: u64, outcome: Outcome, content: &[u64]) -> Result<(), Fault> {
        let now = self.tick();
        let Some(Open { op, begun }) = self.open.get(&id).cloned() else { return Ok(()) };
        let unsettled = outcome == Outcome::Unknown && op.kind() == Kind::Change;
        if !unsettled {
            self.open.remove(&id);
        }
        match op.kind() {
            Kind::Read => {
                self.end_read(id, &op, begun, now, (outcome == Outcome::Done).then_some(content))
            }
            Kind::Flush => {
                if outcome == Outcome::Done {
                    self.flushed = self.flushed.max(begun);
                }
                Ok(())
            }
            Kind::Change => {
                if !unsettled {
                    self.end_change(id, &op, now, outcome == Outcome::Done);
                }
                Ok(())
            }
        }
    }

    /// A change that ended as unknown cannot happen any more.
    pub fn settle(&mut self, id: u64) {
        let now = self.tick();
        if let Some(Open { op, .. }) = self.open.remove(&id) {
            self.end_change(id, &op, now, false);
        }
    }

    /// Changes that no flush covered may be lost from here on.
    pub fn lost(&mut self, loss: Loss) {
        if self.promise == Promise::Acknowledged {
            return;
        }
        let now = self.tick();
        let pages = loss == Loss::Pages;
        if !pages {
            self.lost = now;
        }
        let (promise, forsaken) = (self.promise, &self.forsaken);
        for cell in self.cells.values_mut() {
            let may_go = |by| promise == Promise::Flushed || forsaken.contains(&by);
            cell.lose(self.flushed, pages, may_go);
        }
    }

    /// Changes that failed or were never answered may be undone from here on: older ones are done again.
    pub fn redone(&mut self) {
        self.tick();
        for cell in self.cells.values_mut() {
            cell.redo();
        }
    }

    /// Nothing is kept any more for this one: what it was answered is safe from the next flush on only.
    pub fn forsaken(&mut self, by: u64) {
        self.forsaken.insert(by);
    }

    fn end_change(&mut self, id: u64, op: &Op, now: u64, done: bool) {
        for unit in op.range() {
            let Some(cell) = self.cells.get_mut(&unit) else { continue };
            if let Some(write) = cell.write_mut(id) {
                write.ended = Some(now);
                if done {
                    write.certain.get_or_insert(now);
                    write.answered = Some(now);
                    write.doomed = false;
                }
            }
            cell.forget(self.flushed, self.promise != Promise::Acknowledged);
        }
    }

    fn end_read(
        &mut self,
        id: u64,
        op: &Op,
        begun: u64,
        now: u64,
        content: Option<&[u64]>,
    ) -> Result<(), Fault> {
        let mut fault = None;
        for (at, unit) in op.range().enumerate() {
            let Some(cell) = self.cells.get_mut(&unit) else { continue };
            if let Some(&number) = content.and_then(|content| content.get(at))
                && let Err(wrong) = cell.judge(number, begun, now, self.lost, self.flushed)
            {
                let (kind, found, newer) = (wrong.kind, wrong.found, wrong.newer);
                fault.get_or_insert(Fault { read: id, unit, kind, number, found, newer });
            }
            if let Some(place) = cell.reads.iter().position(|&read| read == begun) {
                cell.reads.swap_remove(place);
            }
        }
        fault.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
