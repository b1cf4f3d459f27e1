//! What a medium waits for, told to whoever asks from any thread.

use lull_block::Waiting;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Whether a server serves, and since when it does not.
pub(crate) struct Health {
    server: String,
    state: Mutex<Option<Wait>>,
}

struct Wait {
    what: String,
    since: Instant,
}

impl Health {
    pub(crate) fn new(server: String) -> Self {
        Self { server, state: Mutex::new(None) }
    }

    /// It is to do `what`; a wait that lasts already goes on under this name.
    pub(crate) fn waits(&self, what: String) {
        let mut state = self.lock();
        let since = state.as_ref().map_or_else(Instant::now, |wait| wait.since);
        *state = Some(Wait { what, since });
    }

    /// Nothing is waited for any more; says for how long it was.
    pub(crate) fn fine(&self) -> Duration {
        self.lock().take().map_or(Duration::ZERO, |wait| wait.since.elapsed())
    }

    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let state = self.lock();
        let Wait { what, since } = state.as_ref()?;
        let (for_whom, what) = (self.server.clone(), what.clone());
        Some(Waiting { for_whom, what, elapsed: since.elapsed() })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Wait>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
