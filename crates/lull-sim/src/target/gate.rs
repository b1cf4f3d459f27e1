//! One call at a time that can consume a write-back error, as in `lull-block`: flushes that come meanwhile share the
//! next one, and after a failure there is none until the disk is opened again [SAFE-4].

/// What becomes of a request that needs a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It begins one.
    Alone,
    /// It waits for the next.
    Waits,
    /// None can make it durable any more.
    Failed,
}

/// A sync that runs.
#[derive(Clone, Debug, Default)]
pub struct Sync {
    /// The requests that it answers.
    pub serves: Vec<u64>,
    /// What it covers.
    pub mark: u64,
}

/// The gate of one disk.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// The sync that runs.
    pub running: Option<Sync>,
    /// A durable write that is its own sync runs.
    pub claimed: bool,
    waiting: Vec<u64>,
    /// One has failed.
    pub failed: bool,
}

impl Gate {
    fn is_free(&self) -> bool {
        self.running.is_none() && !self.claimed && !self.failed
    }

    /// A request needs a sync that begins from here on.
    pub fn enter(&mut self, op: u64, mark: u64) -> Entered {
        if self.failed {
            return Entered::Failed;
        }
        if self.is_free() {
            self.running = Some(Sync { serves: vec![op], mark });
            return Entered::Alone;
        }
        self.waiting.push(op);
        Entered::Waits
    }

    /// A durable write may be its own sync, if none runs.
    pub fn claim(&mut self) -> bool {
        let free = self.is_free();
        self.claimed |= free;
        free
    }

    /// After a sync that was good: whether the next one begins, for those who waited.
    pub fn leave(&mut self, mark: u64) -> bool {
        self.claimed = false;
        self.running = None;
        if self.waiting.is_empty() {
            return false;
        }
        self.running = Some(Sync { serves: std::mem::take(&mut self.waiting), mark });
        true
    }

    /// After one that failed: those who waited.
    pub fn leave_failed(&mut self) -> Vec<u64> {
        self.claimed = false;
        self.running = None;
        self.failed = true;
        std::mem::take(&mut self.waiting)
    }
}
