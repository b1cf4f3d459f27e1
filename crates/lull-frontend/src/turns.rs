//! Others on this thread have their turn, however much one consumer asks.

/// Things that are done before others have their turn.
const BATCH: u32 = 32;

/// What one task has done since others had their turn.
///
/// One thread serves all attachments. [SEC-4] A consumer that is answered at once, and asks on at once, would keep it for
/// itself: what waits for nothing else waits here.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    done: u32,
}

impl Turns {
    /// One more thing is done, be it as small as a look for the next one.
    pub(crate) async fn one_more(&mut self) {
        self.done += 1;
        if self.done == BATCH {
            self.done = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    /// [SEC-4] Bounded time for whoever never has to wait.
    #[tokio::test]
    async fn who_never_waits_lets_others_have_their_turn_all_the_same() {
        let done = Rc::new(Cell::new(0));
        let doing = Rc::clone(&done);
        let set = LocalSet::new();
        set.spawn_local(async move {
            let mut turns = Turns::default();
            while doing.get() < 10 * BATCH {
                turns.one_more().await;
                doing.set(doing.get() + 1);
            }
        });
        set.run_until(async {
            let mut seen = 0;
            while seen < 10 * BATCH {
                tokio::task::yield_now().await;
                let now = done.get();
                assert!(now - seen <= BATCH, "{now} behind {seen} in one turn");
                seen = now;
            }
        })
        .await;
    }
}
