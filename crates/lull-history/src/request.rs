//! What consumers ask for and how it ends.

use std::fmt;

/// What the system under test promises about changes that were answered and that no flush covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// They stay, whatever happens.
    Acknowledged,
    /// They stay as long as somebody keeps them for the one who asked, which ends with [`Checker::forsaken`](crate::Checker::forsaken); then a
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

    /// How many units it is about; none for a flush.
    pub fn units(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    pub(crate) fn range(&self) -> std::ops::Range<u64> {
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
    /// With an error or not at all, and it may still happen until [`Checker::settle`](crate::Checker::settle).
    Unknown,
}

/// What a read found in one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The whole of this number.
    Whole(u64),
    /// The same where the recorder knows that it stood there before the history.
    Before(u64),
    /// Parts of several, as a write that is under way leaves them.
    Parts(Vec<Part>),
    /// Something of which the recorder knows that nobody wrote it there.
    Strange,
}

/// What a part of a unit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A part of this number.
    Number(u64),
    /// A part of what stood there before the history.
    Before,
}

impl From<u64> for Held {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl fmt::Display for Held {
    /// As a history has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            Self::Before(number) => write!(f, "~{number}"),
            Self::Strange => write!(f, "?"),
            Self::Parts(parts) => parts.iter().enumerate().try_for_each(|(at, part)| {
                let bar = if at > 0 { "/" } else { "" };
                match part {
                    Part::Number(number) => write!(f, "{bar}{number}"),
                    Part::Before => write!(f, "{bar}~"),
                }
            }),
        }
    }
}
