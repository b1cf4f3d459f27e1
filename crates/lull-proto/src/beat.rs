//! Keep-alive: who has been silent for too long [CONN-2].

use crate::time::MonoTime;
use core::time::Duration;

/// Rounds of silence that are put up with: at the end of the next one the peer is lost.
const ROUNDS: u8 = 3;

/// One side's watch over a connection. It counts rounds rather than time, so that a machine that was itself asleep
/// gives its peer a whole round before it draws a conclusion [TIMER-6].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Beat {
    every: Duration,
    next: MonoTime,
    silent: u8,
}

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// It is not time yet.
    NotYet,
    /// A round is over; a PING is due.
    Due,
    /// The peer is lost.
    Silent,
}

impl Beat {
    /// Starts now. `every` is at least a millisecond, whatever the peer asks for.
    pub fn new(now: MonoTime, every: Duration) -> Self {
        let every = every.max(Duration::from_millis(1));
        Self { every, next: now + every, silent: 0 }
    }

    /// Something came from the peer.
    #[inline]
    pub fn heard(&mut self) {
        self.silent = 0;
    }

    /// Whether a round is over.
    pub fn tick(&mut self, now: MonoTime) -> Round {
        if now < self.next {
            return Round::NotYet;
        }
        self.next = now + self.every;
        self.silent = self.silent.saturating_add(1);
        if self.silent > ROUNDS { Round::Silent } else { Round::Due }
    }

    #[cfg(feature = "renaming")]
    pub(crate) fn rename(&mut self, names: &mut impl crate::renaming::Renaming) {
        let Self { every: _, next, silent: _ } = self;
        *next = names.deadline(*next);
    }

    /// When the present round ends.
    pub fn deadline(&self) -> MonoTime {
        self.next
    }
}
