//! One unit of a disk as a register: which writes its content may come from.

use crate::checker::FaultKind;

/// What a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This number.
    Number(u64),
    /// Something from before the history that no read has shown yet.
    Before,
    /// A discard was there: it reads as anything, and not twice as the same.
    Anything,
}

/// A change of one unit. Its instants are moments of the history.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub id: u64,
    /// Who asked for it.
    pub by: u64,
    pub value: Value,
    /// It takes effect after this.
    pub begun: u64,
    /// It cannot take effect any more after this.
    pub ended: Option<u64>,
    /// It has certainly taken effect by then.
    pub certain: Option<u64>,
    /// When it was answered with success, if the cache that took it is still there.
    pub answered: Option<u64>,
    /// It was asked to be on stable storage by itself.
    pub durable: bool,
    /// A loss of the cache cannot touch it.
    pub kept: bool,
    /// A read has returned it.
    pub seen: bool,
    /// It was not written back and never will be: it may go at any moment.
    pub doomed: bool,
    /// A loss of the cache left it on the medium or not, and nobody will do it again.
    pub in_doubt: bool,
}

impl Write {
    /// Whether a loss of the cache now would leave it; `flushed`: the begin of the newest flush that is done.
    fn is_kept(&self, flushed: u64) -> bool {
        self.kept
            || (self.certain.is_some()
                && self.answered.is_some_and(|at| self.durable || at < flushed))
    }

    /// Whether `later` certainly took effect after this one, and before the moment `by`.
    fn is_followed_by(&self, later: &Self, by: u64) -> bool {
        self.id != later.id
            && later.certain.is_some_and(|certain| certain < by)
            && self.ended.is_some_and(|ended| later.begun > ended)
    }
}

/// One unit.
#[derive(Clone, Debug)]
pub struct Cell {
    pub writes: Vec<Write>,
    /// Begins of the reads that are under way.
    pub reads: Vec<u64>,
    /// The last changes that no read can return any more, with what they held: only so that one that does is called by
    /// its right name.
    forgotten: Vec<Forgotten>,
}

#[derive(Clone, Copy, Debug)]
struct Forgotten {
    id: u64,
    value: Value,
}

/// How many of them.
const REMEMBERED: usize = 8;

/// What a unit found wrong is like.
pub struct Wrong {
    pub kind: FaultKind,
    /// The write that was found, and the one that should have been there.
    pub found: Option<u64>,
    pub newer: Option<u64>,
}

impl Cell {
    /// A unit that holds `value` from before the history.
    pub fn new(value: Value) -> Self {
        let before = Write {
            id: 0,
            by: 0,
            value,
            begun: 0,
            ended: Some(0),
            certain: Some(0),
            answered: None,
            durable: false,
            kept: true,
            seen: false,
            doomed: false,
            in_doubt: false,
        };
        Self { writes: vec![before], reads: Vec::new(), forgotten: Vec::new() }
    }

    pub fn write_mut(&mut self, id: u64) -> Option<&mut Write> {
        self.writes.iter_mut().find(|write| write.id == id)
    }

    fn follower(&self, write: &Write, by: u64) -> Option<&Write> {
        self.writes.iter().find(|later| write.is_followed_by(later, by))
    }

    /// Judges a read from `begun` until `now` that returned `number`. `lost`: the last loss of the cache.
    pub fn judge(
        &mut self,
        number: u64,
        begun: u64,
        now: u64,
        lost: u64,
        flushed: u64,
    ) -> Result<(), Wrong> {
        let mut fits = Vec::new();
        let mut anything = false;
        for (at, write) in self.writes.iter().enumerate() {
            if self.follower(write, begun).is_some() {
                continue;
            }
            match write.value {
                Value::Anything => anything = true,
                Value::Number(held) if held == number => fits.push(at),
                Value::Number(_) | Value::Before => {}
            }
        }
        if anything {
            return Ok(());
        }
        if fits.is_empty() {
            let before = |write: &Write| {
                write.value == Value::Before && self.follower(write, begun).is_none()
            };
            match self.writes.iter().position(before) {
                Some(at) => {
                    self.writes[at].value = Value::Number(number);
                    fits.push(at);
                }
                None => return Err(self.explain(number, begun, flushed)),
            }
        }
        if let [only] = *fits
            && begun > lost
        {
            self.saw(only, begun, now);
        }
        Ok(())
    }

    fn explain(&self, number: u64, begun: u64, flushed: u64) -> Wrong {
        let held = |write: &&Write| write.value == Value::Number(number);
        let found = self.writes.iter().rfind(held);
        let (found, newer) = match found {
            Some(write) => (Some(write.id), self.follower(write, begun)),
            None => {
                let held = |one: &&Forgotten| one.value == Value::Number(number);
                let found = self.forgotten.iter().rfind(held).map(|one| one.id);
                (found, self.writes.iter().rfind(|write| write.certain.is_some()))
            }
        };
        let kind = match (found, newer) {
            (Some(_), Some(newer)) if newer.seen => FaultKind::CameBack,
            (Some(_), Some(newer)) if newer.is_kept(flushed) => FaultKind::FlushedLost,
            (Some(_), Some(_)) => FaultKind::Lost,
            (Some(_), None) | (None, _) => FaultKind::Corrupt,
        };
        Wrong { kind, found, newer: newer.map(|write| write.id) }
    }

    /// A read has returned this write, so it has taken effect. If it had ended before that read began, whatever else
    /// had ended by then came before it: two that were outstanding together are put in order by it, and so are those
    /// that a loss of the cache had left in doubt. What ended before that loss and is seen after it was not lost.
    fn saw(&mut self, at: usize, begun: u64, now: u64) {
        let several = self.writes.len() > 1;
        let write = &mut self.writes[at];
        write.seen = true;
        if write.doomed {
            return; // What is still there may be gone a moment later.
        }
        write.certain.get_or_insert(now);
        if let Some(ended) = write.ended
            && ended < begun
        {
            write.kept |= std::mem::take(&mut write.in_doubt);
            if several {
                write.begun = begun;
                write.certain = Some(now);
            }
        }
    }

    /// What no flush covered, of those who `may_go`, is lost: it is there or not, once and for all; or, with `pages`, it may still be seen for
    /// a while.
    pub fn lose(&mut self, flushed: u64, pages: bool, may_go: impl Fn(u64) -> bool) {
        for write in &mut self.writes {
            // What nobody was told is nobody's loss, not even if a read has shown it.
            if write.answered.is_some() && !may_go(write.by) {
                continue;
            }
            if write.is_kept(flushed) {
                write.kept = true;
            } else {
                write.certain = None;
                write.doomed = pages;
                write.in_doubt = !pages && write.ended.is_some();
            }
            write.answered = None;
        }
    }

    /// What nobody was told may have gone under what is done again.
    pub fn redo(&mut self) {
        let untold = |write: &&mut Write| !write.kept && write.answered.is_none();
        for write in self.writes.iter_mut().filter(untold) {
            write.certain = None;
        }
    }

    /// Forgets what no read can return any more, not even after a loss of the cache where that `may_be`.
    pub fn forget(&mut self, flushed: u64, may_be: bool) {
        if self.writes.len() < 2 {
            return;
        }
        let horizon = self.reads.iter().copied().min().unwrap_or(u64::MAX);
        let all = self.writes.clone();
        let forgotten = &mut self.forgotten;
        self.writes.retain(|write| {
            let gone = all.iter().any(|later| {
                write.is_followed_by(later, horizon) && (!may_be || later.is_kept(flushed))
            });
            if gone {
                if forgotten.len() == REMEMBERED {
                    forgotten.remove(0);
                }
                let Write { id, value, .. } = *write;
                forgotten.push(Forgotten { id, value });
            }
            !gone
        });
    }
}
