//! How an initiator stands in the way of its consumers' I/O.

use serde::{Deserialize, Serialize};

/// What keeps a daemon from waiting for a host that waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Footing {
    /// Its memory is locked: none of it is to be read from a disk.
    pub locked: bool,
    /// It is known to the kernel as one that flushes others' I/O (PR_SET_IO_FLUSHER): memory that it allocates is not had
    /// by writing to a disk.
    pub io_flusher: bool,
    /// It is a real-time process: what it allocates may come from the half of the memory that is kept free
    /// (vm.min_free_kbytes) which other programs do not get. Only where a disk is this host's own.
    pub realtime: bool,
    /// How likely the kernel ends it for memory, -1000 (never) to 1000.
    pub oom_score_adj: i32,
    /// What it was not permitted, and what its host does not give it, a sentence with the next step each.
    pub missing: Vec<String>,
}

impl Footing {
    /// Whether nothing is missing.
    pub fn is_firm(&self) -> bool {
        self.missing.is_empty()
    }
}
