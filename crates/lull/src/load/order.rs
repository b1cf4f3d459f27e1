//! What a load is told to do, and the requests that follow from it.

use std::path::PathBuf;
use std::time::Duration;

use lull_frontend::nbd::Uri;

use super::chance::{Chance, mix};

/// A load on one disk.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server and its export.
    pub uri: Uri,
    /// What it is called in reports.
    pub name: String,
    /// Requests in flight, at least 1.
    pub depth: u16,
    /// Bytes of one request, a multiple of 512.
    pub block: u32,
    /// The first bytes of the disk that are used; `None`: all.
    pub span: Option<u64>,
    /// Reads among the requests, in percent, 0 to 100. At 100 nothing is ever written.
    pub read_percent: u8,
    /// One block after the other instead of any.
    pub sequential: bool,
    /// A flush after so many writes; 0: only one, before the last reading.
    pub flush_every: u64,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// Whether reads are checked, and everything written is read once more in the end.
    pub verify: bool,
    /// How long; `None`: until it is stopped.
    pub time: Option<Duration>,
    /// After so many requests; `None`: without limit.
    pub count: Option<u64>,
    /// Requests per second at most; `None`: as fast as it goes.
    pub rate: Option<u32>,
    /// Stop at the first error instead of counting on.
    pub stop_at_error: bool,
    /// How long requests may still take once the load has stopped; what is not answered then counts
    /// as an error.
    pub patience: Duration,
    /// Where its history is written; with it everything is verified.
    pub record: Option<PathBuf>,
}

impl Plan {
    /// A load on `uri` with everything at its default.
    pub fn new(uri: Uri) -> Self {
        Self {
            name: uri.to_string(),
            uri,
            depth: 32,
            block: 4096,
            span: None,
            read_percent: 50,
            sequential: false,
            flush_every: 0,
            seed: 1,
            verify: true,
            time: None,
            count: None,
            rate: None,
            stop_at_error: false,
            patience: Duration::from_secs(60),
            record: None,
        }
    }

    /// Whether it changes the disk.
    pub fn writes(&self) -> bool {
        self.read_percent < 100
    }
}

/// The requests of a plan, one after the other.
#[derive(Debug)]
pub struct Picker {
    chance: Chance,
    blocks: u64,
    read_percent: u64,
    sequential: Option<u64>,
    left: Option<u64>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Number of the block.
    pub block: u64,
    /// A read or a write.
    pub read: bool,
}

impl Picker {
    /// The requests on a disk of `blocks` blocks, at least 1.
    pub fn new(plan: &Plan, blocks: u64) -> Self {
        Self {
            chance: Chance::new(mix(plan.seed)),
            blocks,
            read_percent: u64::from(plan.read_percent),
            sequential: plan.sequential.then_some(0),
            left: plan.count,
        }
    }

    /// The next request; `None` when there were enough.
    pub fn next(&mut self) -> Option<Pick> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let block = match &mut self.sequential {
            Some(next) => {
                let block = *next;
                *next = (block + 1) % self.blocks;
                block
            }
            None => self.chance.below(self.blocks),
        };
        Some(Pick { block, read: self.chance.below(100) < self.read_percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new("nbd://localhost/x".parse().unwrap())
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let picks = |seed| {
            let mut picker = Picker::new(&Plan { seed, count: Some(500), ..plan() }, 10);
            std::iter::from_fn(move || picker.next()).collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
        assert_eq!(picks(1).len(), 500);
        assert!(picks(1).iter().all(|pick| pick.block < 10));
        let reads = picks(1).iter().filter(|pick| pick.read).count();
        assert!((150..350).contains(&reads), "{reads} of 500");
    }

    #[test]
    fn one_after_the_other_begins_again_at_the_end() {
        let plan = Plan { sequential: true, read_percent: 100, count: Some(5), ..plan() };
        let mut picker = Picker::new(&plan, 3);
        let blocks: Vec<_> = std::iter::from_fn(|| picker.next()).collect();
        assert_eq!(blocks.iter().map(|pick| pick.block).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
        assert!(blocks.iter().all(|pick| pick.read));
    }
}
