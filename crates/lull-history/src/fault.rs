//! What a judge finds.

use crate::request::Held;
use std::fmt;

/// What is wrong with a unit, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A change was acknowledged, and what stood there before is there.
    Lost,
    /// A change had been read, and what it replaced is there again.
    CameBack,
    /// A flush had covered a change that was acknowledged, and what stood there before is there.
    FlushedLost,
    /// Content that nobody wrote there.
    Corrupt,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lost, Self::CameBack, Self::FlushedLost, Self::Corrupt];

    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::CameBack => "came_back",
            Self::FlushedLost => "flushed_lost",
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
    pub held: Held,
    /// The change that wrote that, 0 for what stood there before the history; `None`: nobody did, or it is forgotten.
    pub found: Option<u64>,
    /// A change that should have been there: of several the one that weighs most.
    pub newer: Option<u64>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, unit, held, .. } = self;
        write!(f, "{}: request {read} read {held} in unit {unit}", self.kind.as_str())?;
        match self.found {
            Some(0) => write!(f, ", which stood there before everything")?,
            Some(id) => write!(f, ", which request {id} wrote")?,
            None => {}
        }
        let Some(newer) = self.newer else { return Ok(()) };
        let how = match self.kind {
            FaultKind::Lost => "was acknowledged and is not there; no flush covered it",
            FaultKind::FlushedLost => "was acknowledged, a flush covered it, and it is not there",
            FaultKind::CameBack => "had been read already and is not there",
            FaultKind::Corrupt => "is not there",
        };
        write!(f, "; request {newer} came after it, {how}")
    }
}
