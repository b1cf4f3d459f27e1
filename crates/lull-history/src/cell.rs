//! One unit of a disk as a register: which writes its content may come from.

use crate::fault::FaultKind;
use crate::request::{Held, Part};

/// What a write leaves in a unit.
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
    /// A flush, or its own durability, covered it before a loss of the cache.
    pub covered: bool,
    /// A read has returned it.
    pub seen: bool,
    /// It was not written back and never will be: it may go at any moment.
    pub doomed: bool,
    /// A loss of the cache left it on the medium or not, and nobody will do it again.
    pub in_doubt: bool,
}

impl Write {
    /// Whether a flush covers it, or it covers itself.
    fn is_covered(&self, flushes: &Flushes) -> bool {
        let now = self.certain.is_some()
            && self.answered.is_some_and(|at| self.durable || flushes.cover(at));
        self.covered || now
    }

    /// Whether a loss of the cache now would leave it.
    fn is_kept(&self, flushes: &Flushes) -> bool {
        self.kept || self.is_covered(flushes)
    }

    /// Whether `later` certainly took effect after this one, and before the moment `by`.
    fn is_followed_by(&self, later: &Self, by: u64) -> bool {
        self.id != later.id
            && later.certain.is_some_and(|certain| certain < by)
            && self.over().is_some_and(|over| later.begun > over)
    }

    /// When it cannot take effect any more: after its end; and once it certainly has, since nothing happens twice,
    /// however often it is sent.
    fn over(&self) -> Option<u64> {
        let done = self.certain.filter(|_| !self.doomed);
        [self.ended, done].into_iter().flatten().min()
    }
}

/// Which flushes were done, and what came between them.
#[derive(Clone, Debug, Default)]
pub struct Flushes {
    /// The begin of the newest one that is done.
    newest: u64,
    /// Losses of the cache that excuse nothing, each with the begin of the newest flush that was done by then.
    losses: Vec<(u64, u64)>,
}

impl Flushes {
    /// One that began at `begun` is done.
    pub fn done(&mut self, begun: u64) {
        self.newest = self.newest.max(begun);
    }

    /// The cache is lost, which excuses nothing; but a later flush says nothing about what was answered before.
    pub fn lost(&mut self, now: u64) {
        self.losses.push((now, self.newest));
    }

    /// Whether one of them covers what was answered at this moment.
    fn cover(&self, answered: u64) -> bool {
        let next = self.losses.partition_point(|(loss, _)| *loss < answered);
        answered < self.losses.get(next).map_or(self.newest, |(_, newest)| *newest)
    }
}

/// One unit that requests are under way for, or that several contents are possible for.
#[derive(Clone, Debug)]
pub struct Cell {
    pub writes: Vec<Write>,
    /// Begins of the reads that are under way.
    pub reads: Vec<u64>,
    /// What stood there before the history, once it is known.
    before: Option<u64>,
}

/// A unit with one possible content: what is left of a [`Cell`] once it is at rest.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    pub id: u64,
    by: u64,
    value: Value,
    answered: Option<u64>,
    before: Option<u64>,
    marks: Marks,
}

#[derive(Clone, Copy, Debug)]
struct Marks {
    kept: bool,
    covered: bool,
    seen: bool,
}

/// What a unit found wrong is like.
pub struct Wrong {
    pub kind: FaultKind,
    /// The write that was found, and the one that should have been there.
    pub found: Option<u64>,
    pub newer: Option<u64>,
}

/// What a read is judged by.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    pub begun: u64,
    pub now: u64,
    /// The last loss of the cache.
    pub lost: u64,
    pub flushes: &'a Flushes,
    /// Whether a write of this history has this number, wherever.
    pub is_used: &'a dyn Fn(u64) -> bool,
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
            covered: false,
            seen: false,
            doomed: false,
            in_doubt: false,
        };
        let known = match value {
            Value::Number(number) => Some(number),
            Value::Before | Value::Anything => None,
        };
        Self { writes: vec![before], reads: Vec::new(), before: known }
    }

    /// A unit at rest that is asked for again.
    pub fn wake(settled: Settled) -> Self {
        let Settled { id, by, value, answered, before, marks } = settled;
        let Marks { kept, covered, seen } = marks;
        let mut cell = Self { before, ..Self::new(value) };
        let only = &mut cell.writes[0];
        (only.id, only.by, only.answered) = (id, by, answered);
        (only.kept, only.covered, only.seen) = (kept, covered, seen);
        cell
    }

    /// What is left of it where nothing is under way and one content is possible, whatever comes; `excused`: the
    /// promise lets changes go that no flush covered.
    pub fn settle(&self, flushes: &Flushes, excused: bool) -> Option<Settled> {
        let ([only], []) = (&*self.writes, &*self.reads) else { return None };
        let sure = only.ended.is_some() && only.certain.is_some();
        let (kept, covered) = (only.is_kept(flushes), only.is_covered(flushes));
        let safe = if excused { kept } else { kept || only.answered.is_some() };
        (sure && safe && !only.doomed && !only.in_doubt).then_some(Settled {
            id: only.id,
            by: only.by,
            value: only.value,
            answered: only.answered,
            before: self.before,
            marks: Marks { kept, covered, seen: only.seen },
        })
    }

    pub fn write_mut(&mut self, id: u64) -> Option<&mut Write> {
        self.writes.iter_mut().find(|write| write.id == id)
    }

    fn is_followed(&self, write: &Write, by: u64) -> bool {
        self.writes.iter().any(|later| write.is_followed_by(later, by))
    }

    /// Judges what a read found.
    pub fn judge(&mut self, held: &Held, sight: Sight<'_>) -> Result<(), Wrong> {
        let possible = |write: &&Write| !self.is_followed(write, sight.begun);
        if self.writes.iter().filter(possible).any(|write| write.value == Value::Anything) {
            return Ok(());
        }
        match held {
            Held::Whole(number) | Held::Before(number) => {
                let only = match (self.explain(*number, sight), held) {
                    (Ok(only), _) => only,
                    (Err(_), Held::Before(_))
                        if self.before.is_none_or(|before| before == *number) =>
                    {
                        return Err(self.missing(None, Some(0), sight));
                    }
                    (Err(wrong), _) => return Err(wrong),
                };
                if let Some(only) = only
                    && sight.begun > sight.lost
                {
                    self.saw(only, sight.begun, sight.now);
                }
                Ok(())
            }
            Held::Parts(parts) => parts.iter().try_for_each(|part| match part {
                Part::Number(number) => self.explain(*number, sight).map(|_| ()),
                Part::Before => self.explain_before(sight),
            }),
            Held::Strange => Err(Wrong { kind: FaultKind::Corrupt, found: None, newer: None }),
        }
    }

    /// The place of the write that a number comes from, where it is one alone.
    fn explain(&mut self, number: u64, sight: Sight<'_>) -> Result<Option<usize>, Wrong> {
        let holds = |write: &Write| {
            write.value == Value::Number(number) && !self.is_followed(write, sight.begun)
        };
        let mut fits = (0..self.writes.len()).filter(|at| holds(&self.writes[*at]));
        if let Some(first) = fits.next() {
            return Ok(fits.next().is_none().then_some(first));
        }
        let before =
            |write: &Write| write.value == Value::Before && !self.is_followed(write, sight.begun);
        // What this history writes cannot have stood there before it.
        match self.writes.iter().position(before).filter(|_| !(sight.is_used)(number)) {
            Some(at) => {
                self.writes[at].value = Value::Number(number);
                self.before = Some(number);
                Ok(Some(at))
            }
            None => Err(self.wrong(number, sight)),
        }
    }

    fn explain_before(&self, sight: Sight<'_>) -> Result<(), Wrong> {
        match self.writes.iter().find(|write| write.id == 0) {
            Some(before) if !self.is_followed(before, sight.begun) => Ok(()),
            before => Err(self.missing(before, Some(0), sight)),
        }
    }

    fn wrong(&self, number: u64, sight: Sight<'_>) -> Wrong {
        let held = |write: &&Write| write.value == Value::Number(number);
        match self.writes.iter().rfind(held) {
            Some(found) => self.missing(Some(found), Some(found.id), sight),
            None if self.before == Some(number) => self.missing(None, Some(0), sight),
            // A write that is forgotten because it was replaced. A recorder that can tell says `?` where it finds one
            // of another unit.
            None if (sight.is_used)(number) => self.missing(None, None, sight),
            None => Wrong { kind: FaultKind::Corrupt, found: None, newer: None },
        }
    }

    /// What should have been there instead of `found`; `None`: instead of something long gone.
    fn missing(&self, found: Option<&Write>, id: Option<u64>, sight: Sight<'_>) -> Wrong {
        let newer = |write: &&Write| match found {
            Some(found) => found.is_followed_by(write, sight.begun),
            None => write.id != 0 && write.certain.is_some(),
        };
        let kind = |write: &Write| match () {
            () if write.is_covered(sight.flushes) => FaultKind::FlushedLost,
            () if write.seen => FaultKind::CameBack,
            () => FaultKind::Lost,
        };
        let newer = self.writes.iter().filter(newer).max_by_key(|write| kind(write));
        let kind = newer.map_or(FaultKind::Corrupt, kind);
        Wrong { kind, found: id, newer: newer.map(|write| write.id) }
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
    pub fn lose(&mut self, flushes: &Flushes, pages: bool, may_go: impl Fn(u64) -> bool) {
        for write in &mut self.writes {
            // What nobody was told is nobody's loss, not even if a read has shown it.
            if write.answered.is_some() && !may_go(write.by) {
                continue;
            }
            write.covered = write.is_covered(flushes);
            if write.is_kept(flushes) {
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

    /// Forgets what no read can return any more, not even after a loss of the cache where that is `excused`.
    pub fn forget(&mut self, flushes: &Flushes, excused: bool) {
        if self.writes.len() < 2 {
            return;
        }
        let horizon = self.reads.iter().copied().min().unwrap_or(u64::MAX);
        let all = self.writes.clone();
        self.writes.retain(|write| {
            let gone = |later: &Write| {
                write.is_followed_by(later, horizon) && (!excused || later.is_kept(flushes))
            };
            !all.iter().any(gone)
        });
    }
}
