//! When what happened to how many sessions.

use anyhow::{Result, bail};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a stage of a thousand sessions may take at all. Beyond it the measurement is given up.
const LIMIT: Duration = Duration::from_secs(120);

/// One kind of event: how often since the last [`Board::clear`], first and last in Unix microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub count: usize,
    pub first_us: u64,
    pub last_us: u64,
}

/// Everything that the sessions tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tallies {
    pub asked: Tally,
    pub disconnected: Tally,
    pub connected: Tally,
    pub resumed: Tally,
}

/// Where the sessions tell it.
#[derive(Default)]
pub struct Board {
    tallies: Mutex<(Tallies, Option<String>)>,
    changed: Condvar,
}

impl Board {
    pub fn asked(&self) {
        self.count(|tallies| &mut tallies.asked);
    }

    pub fn disconnected(&self) {
        self.count(|tallies| &mut tallies.disconnected);
    }

    pub fn connected(&self) {
        self.count(|tallies| &mut tallies.connected);
    }

    pub fn resumed(&self) {
        self.count(|tallies| &mut tallies.resumed);
    }

    /// A session cannot go on.
    pub fn failed(&self, why: String) {
        self.lock().1.get_or_insert(why);
        self.changed.notify_all();
    }

    /// Begins to count anew.
    pub fn clear(&self) {
        self.lock().0 = Tallies::default();
    }

    /// Waits until so many sessions were resumed; everything counted until then.
    pub fn wait_resumed(&self, count: usize) -> Result<Tallies> {
        let pending = |state: &mut (Tallies, Option<String>)| {
            state.1.is_none() && state.0.resumed.count < count
        };
        let waited = self.changed.wait_timeout_while(self.lock(), LIMIT, pending);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            (_, Some(why)) => bail!("a session failed: {why}"),
            (tallies, None) if tallies.resumed.count < count => {
                bail!("only {} of {count} sessions resumed within {LIMIT:?}", tallies.resumed.count)
            }
            (tallies, None) => Ok(*tallies),
        }
    }

    fn count(&self, which: impl FnOnce(&mut Tallies) -> &mut Tally) {
        let at = now_us();
        let mut state = self.lock();
        let tally = which(&mut state.0);
        if tally.count == 0 {
            tally.first_us = at;
        }
        tally.count += 1;
        tally.last_us = at;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, (Tallies, Option<String>)> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, in Unix microseconds, as the target's records have it.
#[expect(clippy::disallowed_methods, reason = "this measurement's one clock place")]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
