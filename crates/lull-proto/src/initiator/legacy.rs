//! What one life of the daemon leaves to the next: the log, or the knowledge that there was one [SAFE-10].

use super::requests::Requests;
use super::{Ask, Config, Initiator};
use alloc::vec::Vec;
use lull_wire::Incarnation;

/// What the life before left.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Legacy {
    /// Nothing that could be lost: there was none, or all of it was flushed, or it kept nothing.
    #[default]
    None,
    /// Its log.
    Kept {
        /// In which all of it was executed; none where that never came to be.
        settled: Incarnation,
        /// The changes in the order in which they were acknowledged.
        changes: Vec<Ask>,
    },
    /// It had a log, which did not outlive it.
    Lost {
        /// In which all of it was executed, as far as the state says; none where that never came to be.
        settled: Incarnation,
    },
}

/// What is still to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Heritage {
    /// Nothing.
    Settled,
    /// A flush before READY: the unanswered changes of the life before, which nobody repeats, are in the same cache.
    ToFlush,
    /// The same, and people are to be told once the target's incarnation is known.
    ToTell,
}

impl Initiator {
    /// An attachment that has not begun, the heir of a life that may have left changes behind. What it kept has the places from 0 on.
    pub fn inheriting(config: Config, legacy: Legacy) -> Self {
        let mut heir = Self::new(config);
        heir.requests.inherit(legacy);
        heir
    }

    /// Whether nothing is to be done any more about what the life before left: a flush, or a word about what is lost. An heir of
    /// this one need not know that there was one before.
    pub fn has_settled_its_heritage(&self) -> bool {
        self.requests.heritage == Heritage::Settled
    }
}

impl Requests {
    /// The heir begins where the life before was killed.
    pub(super) fn inherit(&mut self, legacy: Legacy) {
        match legacy {
            // Whoever retains elsewhere has nothing to leave.
            Legacy::Kept { .. } | Legacy::Lost { .. } if !self.log.keeps() => {}
            Legacy::None => {}
            Legacy::Kept { settled, changes } => {
                for ask in changes {
                    self.log.push(ask);
                }
                (self.settled, self.heritage) = (settled, Heritage::ToFlush);
            }
            Legacy::Lost { settled } => {
                (self.settled, self.heritage) = (settled, Heritage::ToTell);
            }
        }
    }

    /// Where people are to be told now that the log was lost, once: whether its changes are as well.
    pub(super) fn learn_loss(&mut self, incarnation: Incarnation) -> Option<bool> {
        if self.heritage != Heritage::ToTell {
            return None;
        }
        self.heritage = Heritage::ToFlush;
        Some(self.settled != incarnation)
    }
}
