//! The judge: every read must be explained by the writes.
//!
//! Each block is a register. A write takes effect at some moment between its begin and its end; one
//! that failed may have taken effect or not, but not later than its failure. A read may return any
//! write that was not certainly overwritten when the read began, and none that began after its end.
//!
//! A block that nothing contests costs two words: the write that it holds, and a digest of what it
//! held before the run. Blocks with requests under way, or with several possible contents, have an
//! entry more.

use std::collections::{HashMap, HashSet};

use super::pattern::{self, SECTOR, Sector};

/// The writes that one block may owe its content to; beyond it, it is read instead of written, which
/// shows which one it was.
const MOST_CANDIDATES: usize = 64;

/// Wrong blocks that are remembered, so that each counts once; beyond it, each wrong read counts.
const MOST_WRONG: usize = 1 << 16;

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A write was acknowledged, and what stood there before is there still.
    Lost,
    /// A write is there that was overwritten by one that had been read already.
    CameBack,
    /// Content that nobody wrote there.
    Corrupt,
}

impl FaultKind {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::CameBack => "came_back",
            Self::Corrupt => "corrupt",
        }
    }
}

/// A read that the writes do not explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the block.
    pub block: u64,
    /// What kind.
    pub kind: FaultKind,
    /// What was found, as a sentence.
    pub text: String,
}

/// A read under way.
#[derive(Debug)]
#[must_use = "a read ends with end_read"]
pub struct Reading {
    block: u64,
    begun: u64,
}

/// The judge of one disk.
#[derive(Debug)]
pub struct Checker {
    run: u64,
    sectors: u64,
    /// What each block holds, a [`Settled`] each; plain numbers, so that what is not used takes no
    /// memory.
    settled: Vec<u64>,
    /// Digest of the content from before the run; 0: it has not been read.
    before: Vec<u64>,
    contested: HashMap<u64, Contest>,
    wrong: HashSet<u64>,
    /// Counts begins and ends; orders them.
    moment: u64,
    sequence: u64,
}

/// The write that a block holds, twice its number, and 1 more if a read has returned it. 0: its
/// content from before the run.
#[derive(Clone, Copy, Debug)]
struct Settled(u64);

impl Settled {
    fn sequence(self) -> u64 {
        self.0 >> 1
    }

    fn seen(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A block with requests under way or several possible contents.
#[derive(Debug)]
struct Contest {
    writes: Vec<Write>,
    /// When each read under way began.
    reads: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    sequence: u64,
    begun: u64,
    /// When it was answered, with whatever.
    ended: Option<u64>,
    /// The first moment at which it has certainly taken effect.
    certain: Option<u64>,
    /// Whether a read has returned it.
    seen: bool,
}

impl Checker {
    /// A judge of `blocks` blocks of `block` bytes (a multiple of 512). `run` is a number that no
    /// other run has.
    pub fn new(run: u64, block: u32, blocks: u64) -> Self {
        let blocks = usize::try_from(blocks).unwrap_or(usize::MAX);
        Self {
            run,
            sectors: u64::from(block) / SECTOR as u64,
            settled: vec![0; blocks],
            before: vec![0; blocks],
            contested: HashMap::new(),
            wrong: HashSet::new(),
            moment: 0,
            sequence: 0,
        }
    }

    fn tick(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// Begins a write and fills `content` with what is to be written; `None` where the block has too
    /// many possible contents already. It ends with [`Checker::end_write`].
    pub fn begin_write(&mut self, block: u64, content: &mut [u8]) -> Option<u64> {
        let begun = self.tick();
        let contest = contest(&mut self.contested, &self.settled, block);
        if contest.writes.len() >= MOST_CANDIDATES {
            return None;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        contest.writes.push(Write { sequence, begun, ended: None, certain: None, seen: false });
        pattern::fill(content, self.run, block * self.sectors, sequence);
        Some(sequence)
    }

    /// A write was answered: with success, or with something else, and then it may have happened.
    pub fn end_write(&mut self, block: u64, sequence: u64, success: bool) {
        let now = self.tick();
        let Some(contest) = self.contested.get_mut(&block) else { return };
        if let Some(write) = contest.writes.iter_mut().find(|write| write.sequence == sequence) {
            write.ended = Some(now);
            if success && write.certain.is_none() {
                write.certain = Some(now);
            }
        }
        self.prune(block);
    }

    /// Begins a read.
    pub fn begin_read(&mut self, block: u64) -> Reading {
        let begun = self.tick();
        contest(&mut self.contested, &self.settled, block).reads.push(begun);
        Reading { block, begun }
    }

    /// Ends a read that returned nothing.
    pub fn fail_read(&mut self, reading: Reading) {
        self.leave(&reading);
    }

    /// Ends a read with the block's content.
    ///
    /// # Errors
    /// What is wrong with it, once for each block.
    pub fn end_read(&mut self, reading: Reading, content: &[u8]) -> Result<(), Fault> {
        let now = self.tick();
        let judged = self.judge(&reading, content, now);
        self.leave(&reading);
        let block = reading.block;
        let Err((kind, text)) = judged else { return Ok(()) };
        if self.wrong.contains(&block) {
            return Ok(());
        }
        if self.wrong.len() < MOST_WRONG {
            self.wrong.insert(block);
        }
        Err(Fault { block, kind, text })
    }

    /// Every block that was written, or may have been.
    pub fn written(&self) -> Vec<u64> {
        let ours = |block: &u64| match self.contested.get(block) {
            Some(contest) => contest.writes.iter().any(|write| write.sequence > 0),
            None => Settled(self.settled[*block as usize]).sequence() > 0,
        };
        (0..self.settled.len() as u64).filter(ours).collect()
    }

    /// Blocks that were found wrong.
    pub fn wrong(&self) -> u64 {
        self.wrong.len() as u64
    }

    fn judge(
        &mut self,
        reading: &Reading,
        content: &[u8],
        now: u64,
    ) -> Result<(), (FaultKind, String)> {
        let block = reading.block;
        let corrupt = |text: String| (FaultKind::Corrupt, text);
        let mut found = Vec::new();
        for (place, sector) in (block * self.sectors..).zip(content.chunks_exact(SECTOR)) {
            let sequence = match pattern::inspect(sector, self.run) {
                Sector::Ours { place: there, sequence } if there == place => sequence,
                Sector::Ours { place: there, .. } => {
                    let (block, at) = (there / self.sectors, there % self.sectors);
                    return Err(corrupt(format!("it holds sector {at} of block {block}")));
                }
                Sector::Earlier => 0,
                Sector::Strange if self.may_be_strange(block) => 0,
                Sector::Strange => {
                    return Err(corrupt("it holds something that was never written".into()));
                }
                Sector::Damaged => {
                    return Err(corrupt("it holds one of our writes, damaged".into()));
                }
            };
            found.push(sequence);
        }
        if found.iter().all(|&sequence| sequence == 0) {
            self.compare_with_before(block, content).map_err(corrupt)?;
        }
        let Some(contest) = self.contested.get_mut(&block) else { return Ok(()) };
        for &sequence in &found {
            contest.explain(sequence, reading.begun)?;
        }
        if let [first, rest @ ..] = &*found
            && rest.iter().all(|sequence| sequence == first)
        {
            contest.saw(*first, reading.begun, now);
        }
        Ok(())
    }

    /// Whether something that no run of ours wrote may stand there from before.
    fn may_be_strange(&self, block: u64) -> bool {
        let untouched = match self.contested.get(&block) {
            Some(contest) => contest.writes.iter().any(|write| write.sequence == 0),
            None => Settled(self.settled[block as usize]).sequence() == 0,
        };
        untouched || self.before[block as usize] != 0
    }

    /// The content from before the run does not change by itself.
    fn compare_with_before(&mut self, block: u64, content: &[u8]) -> Result<(), String> {
        let digest = pattern::digest(content);
        let before = &mut self.before[block as usize];
        match *before {
            0 => *before = digest,
            known if known == digest => {}
            _ => return Err("it has changed without having been written".into()),
        }
        Ok(())
    }

    fn leave(&mut self, reading: &Reading) {
        if let Some(contest) = self.contested.get_mut(&reading.block)
            && let Some(at) = contest.reads.iter().position(|&begun| begun == reading.begun)
        {
            contest.reads.swap_remove(at);
        }
        self.prune(reading.block);
    }

    /// Forgets what no read can return any more, and the whole contest where one content is left.
    fn prune(&mut self, block: u64) {
        let Some(contest) = self.contested.get_mut(&block) else { return };
        if contest.writes.len() > 1 {
            contest.forget();
        }
        if let ([write], []) = (&*contest.writes, &*contest.reads)
            && write.ended.is_some()
        {
            self.settled[block as usize] = write.sequence << 1 | u64::from(write.seen);
            self.contested.remove(&block);
        }
    }
}

fn contest<'a>(
    contested: &'a mut HashMap<u64, Contest>,
    settled: &[u64],
    block: u64,
) -> &'a mut Contest {
    contested.entry(block).or_insert_with(|| {
        let held = Settled(settled[block as usize]);
        let (sequence, seen) = (held.sequence(), held.seen());
        let base = Write { sequence, begun: 0, ended: Some(0), certain: Some(0), seen };
        Contest { writes: vec![base], reads: Vec::new() }
    })
}

impl Write {
    /// A write that has certainly followed this one before the moment `by`.
    fn follower<'a>(&self, others: &'a [Write], by: u64) -> Option<&'a Write> {
        let ended = self.ended?;
        // One that a read has confirmed late does not follow itself.
        let others = others.iter().filter(|other| other.sequence != self.sequence);
        let mut certain = others.filter(|other| other.certain.is_some_and(|certain| certain < by));
        certain.find(|other| other.begun > ended)
    }
}

impl Contest {
    /// Whether a read that began at `begun` may return write `sequence`.
    fn explain(&self, sequence: u64, begun: u64) -> Result<(), (FaultKind, String)> {
        let name = |sequence| match sequence {
            0 => "the content from before".to_owned(),
            _ => format!("write {sequence}"),
        };
        let found = self.writes.iter().find(|write| write.sequence == sequence);
        let newer = match found {
            Some(write) => match write.follower(&self.writes, begun) {
                None => return Ok(()),
                newer => newer,
            },
            // It was forgotten because it was overwritten.
            None => self.writes.iter().rfind(|write| write.certain.is_some()),
        };
        let Some(newer) = newer else {
            return Err((FaultKind::Corrupt, format!("it holds {}", name(sequence))));
        };
        let (kind, how) = match newer.seen {
            true => (FaultKind::CameBack, "had been read already"),
            false => (FaultKind::Lost, "was acknowledged"),
        };
        Err((kind, format!("it holds {}, and {} {how}", name(sequence), name(newer.sequence))))
    }

    /// Drops the writes that no read can return any more.
    fn forget(&mut self) {
        let horizon = self.reads.iter().copied().min().unwrap_or(u64::MAX);
        let all = self.writes.clone();
        self.writes.retain(|write| write.follower(&all, horizon).is_none());
    }

    /// A read from `begun` until `now` has returned this write whole, so it has taken effect; and
    /// whatever else had ended before that read can no longer follow it.
    fn saw(&mut self, sequence: u64, begun: u64, now: u64) {
        let several = self.writes.len() > 1;
        let Some(write) = self.writes.iter_mut().find(|write| write.sequence == sequence) else {
            return;
        };
        write.seen = true;
        write.certain.get_or_insert(now);
        if several && write.ended.is_some_and(|ended| ended < begun) {
            write.begun = begun;
            write.certain = Some(now);
        }
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
