//! One call at a time that can consume a write-back error ([SAFE-4]).
//!
//! The kernel reports a lost page once per open file. With two such calls outstanding, one would
//! take the report and the other would succeed, and answer for data that is gone. So whoever needs
//! durability while a call runs waits for the next one, which then serves all who waited: under
//! load that also saves most of the calls.
//!
//! For the same reason no call follows one that failed: it would succeed, about pages that are
//! gone. Nothing on the file counts as durable then, until its owner knows that whatever may be gone
//! is written again.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who runs the one call, and who waits for the next.
///
/// ```text
///        enter / claim            leave, none waits
/// Idle ────────────────▶ Running ───────────────────▶ Idle
///                        │  ▲ │ leave, some wait: the caller runs the next call for them
///                  enter └──┘ └──────────────▶ Failed
///                                leave_failed          renew: Failed ──▶ Idle
/// ```
pub(super) struct Durable<T>(Mutex<State<T>>);

enum State<T> {
    Idle,
    Running {
        waiting: Vec<T>,
    },
    /// A call has failed.
    Failed,
}

/// What becomes of somebody who needs durability.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// No call runs; the caller must run one for the item, then leave.
    Alone(T),
    /// The item waits for the next call.
    Waits,
    /// No call can make it durable any more.
    Failed(T),
}

impl<T> Durable<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::Idle))
    }

    /// Somebody needs a call that begins from here on.
    pub(super) fn enter(&self, item: T) -> Entered<T> {
        let mut state = self.lock();
        match &mut *state {
            State::Idle => {
                *state = State::Running { waiting: Vec::new() };
                Entered::Alone(item)
            }
            State::Running { waiting } => {
                waiting.push(item);
                Entered::Waits
            }
            State::Failed => Entered::Failed(item),
        }
    }

    /// Whether a call has failed.
    pub(super) fn has_failed(&self) -> bool {
        matches!(*self.lock(), State::Failed)
    }

    /// Whether the caller may, and then must, run a call and [`Durable::leave`].
    pub(super) fn claim(&self) -> bool {
        let mut state = self.lock();
        match *state {
            State::Idle => {
                *state = State::Running { waiting: Vec::new() };
                true
            }
            State::Running { .. } | State::Failed => false,
        }
    }

    /// After a call that succeeded. If anybody waited, the caller must run the next call for them
    /// and leave again; if nobody did, the way is free.
    pub(super) fn leave(&self) -> Vec<T> {
        let mut state = self.lock();
        match &mut *state {
            State::Running { waiting } if !waiting.is_empty() => mem::take(waiting),
            State::Running { .. } | State::Idle => {
                *state = State::Idle;
                Vec::new()
            }
            State::Failed => Vec::new(),
        }
    }

    /// After a call that failed. Those who waited are to be told the same: the data they asked for
    /// may be what was lost, and no later call would say so; whoever comes is told too.
    pub(super) fn leave_failed(&self) -> Vec<T> {
        match mem::replace(&mut *self.lock(), State::Failed) {
            State::Running { waiting } => waiting,
            State::Idle | State::Failed => Vec::new(),
        }
    }

    /// After a call that failed: begins anew.
    pub(super) fn renew(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Failed) {
            *state = State::Idle;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_that_come_while_one_runs_share_the_next() {
        // [SAFE-4] 33 flushes cost two calls.
        let durable = Durable::new();
        assert_eq!(durable.enter(0), Entered::Alone(0));
        for late in 1..=32 {
            assert_eq!(durable.enter(late), Entered::Waits);
        }
        let next = durable.leave();
        assert_eq!(next, (1..=32).collect::<Vec<_>>());
        assert!(!durable.claim(), "the next call runs");
        assert!(durable.leave().is_empty());
        assert!(durable.claim());
    }

    #[test]
    fn a_failed_call_fails_those_who_waited_behind_it_and_all_who_come() {
        // [SAFE-4] the next call would succeed although the pages are gone.
        let durable = Durable::new();
        assert_eq!(durable.enter(0), Entered::Alone(0));
        assert_eq!(durable.enter(1), Entered::Waits);
        assert_eq!(durable.leave_failed(), [1]);
        assert_eq!(durable.enter(2), Entered::Failed(2));
        assert!(!durable.claim() && durable.has_failed());
        durable.renew();
        assert!(durable.claim(), "what is written from here on can be made durable");
    }
}
