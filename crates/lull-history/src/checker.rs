//! The judge: takes a history event by event.

use crate::cell::{Cell, Flushes, Settled, Sight, Value, Write, Wrong};
use crate::fault::Fault;
use crate::request::{Held, Kind, Loss, Op, Outcome, Promise};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Units with requests under way or several possible contents.
    cells: BTreeMap<u64, Cell>,
    /// All others that were ever asked for and of which something is known.
    settled: BTreeMap<u64, Settled>,
    /// Numbers that writes have: the first of each run of them, and the one after its last.
    used: BTreeMap<u64, u64>,
    open: BTreeMap<u64, Open>,
    /// Orders begins and ends.
    moment: u64,
    flushes: Flushes,
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
            settled: BTreeMap::new(),
            used: BTreeMap::new(),
            open: BTreeMap::new(),
            moment: 0,
            flushes: Flushes::default(),
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
        let (cells, settled) = (&mut self.cells, &mut self.settled);
        let mut each = |with: &dyn Fn(u64, &mut Cell)| {
            for unit in op.range() {
                let wake = || match settled.remove(&unit) {
                    Some(settled) => Cell::wake(settled),
                    None => Cell::new(before),
                };
                with(unit, cells.entry(unit).or_insert_with(wake));
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
            covered: false,
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
        match op {
            Op::Write { content, count, .. } => self.use_up(content, count),
            Op::Zero { .. } if !is_in(&self.used, 0) => self.use_up(0, 1),
            Op::Zero { .. } | Op::Read { .. } | Op::Discard { .. } | Op::Flush => {}
        }
        self.open.insert(id, Open { op, begun });
    }

    /// A consumer is answered; `content` is what a read that is done returned, for each unit.
    ///
    /// # Errors
    /// The first unit of a read that the changes do not explain.
    pub fn end(&mut self, id: u64, outcome: Outcome, content: &[Held]) -> Result<(), Fault> {
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
                    self.flushes.done(begun);
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

    /// Changes that no flush covered may be lost from here on, as far as the promise lets them; and no later flush
    /// covers them.
    pub fn lost(&mut self, loss: Loss) {
        let now = self.tick();
        if self.promise == Promise::Acknowledged {
            return self.flushes.lost(now);
        }
        let pages = loss == Loss::Pages;
        if !pages {
            self.lost = now;
        }
        let (promise, forsaken) = (self.promise, &self.forsaken);
        for cell in self.cells.values_mut() {
            let may_go = |by| promise == Promise::Flushed || forsaken.contains(&by);
            cell.lose(&self.flushes, pages, may_go);
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
            self.rest(unit);
        }
    }

    fn end_read(
        &mut self,
        id: u64,
        op: &Op,
        begun: u64,
        now: u64,
        content: Option<&[Held]>,
    ) -> Result<(), Fault> {
        let mut fault = None;
        let (lost, flushes, used) = (self.lost, &self.flushes, &self.used);
        let is_used = |number| is_in(used, number);
        let sight = Sight { begun, now, lost, flushes, is_used: &is_used };
        for (at, unit) in op.range().enumerate() {
            let Some(cell) = self.cells.get_mut(&unit) else { continue };
            if let Some(held) = content.and_then(|content| content.get(at))
                && let Err(Wrong { kind, found, newer }) = cell.judge(held, sight)
            {
                let held = held.clone();
                fault.get_or_insert(Fault { read: id, unit, kind, held, found, newer });
            }
            if let Some(place) = cell.reads.iter().position(|&read| read == begun) {
                cell.reads.swap_remove(place);
            }
        }
        for unit in op.range() {
            self.rest(unit);
        }
        fault.map_or(Ok(()), Err)
    }

    /// Forgets what it can of a unit at which a request has ended.
    fn rest(&mut self, unit: u64) {
        let excused = self.promise != Promise::Acknowledged;
        let Some(cell) = self.cells.get_mut(&unit) else { return };
        cell.forget(&self.flushes, excused);
        if let Some(settled) = cell.settle(&self.flushes, excused) {
            self.cells.remove(&unit);
            self.settled.insert(unit, settled);
        }
    }

    fn use_up(&mut self, content: u64, count: u64) {
        let end = content.saturating_add(count);
        match self.used.range_mut(..=content).next_back() {
            Some((_, last)) if *last == content => *last = end,
            _ => {
                self.used.insert(content, end);
            }
        }
    }

    /// How many contents are possible in a unit.
    pub fn possible(&self, unit: u64) -> usize {
        self.cells.get(&unit).map_or(1, |cell| cell.writes.len())
    }

    /// The units that were changed, or may have been.
    pub fn changed(&self) -> Vec<u64> {
        let ours = |cell: &Cell| cell.writes.iter().any(|write| write.id != 0);
        let open = self.cells.iter().filter(|(_, cell)| ours(cell)).map(|(unit, _)| *unit);
        let settled = self.settled.iter().filter(|(_, settled)| settled.id != 0);
        let mut all: Vec<u64> = open.chain(settled.map(|(unit, _)| *unit)).collect();
        all.sort_unstable();
        all
    }
}

fn is_in(runs: &BTreeMap<u64, u64>, number: u64) -> bool {
    runs.range(..=number).next_back().is_some_and(|(_, end)| number < *end)
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
