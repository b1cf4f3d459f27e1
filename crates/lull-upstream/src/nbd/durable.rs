//! What may be called durable ([SAFE-4]).
//!
//! A server reports a failed write-back once, to whoever asks first. So at most one request that could consume such an
//! error is outstanding: a flush, or a durable write. Those who come meanwhile share the next flush. After a failure
//! nothing is called durable any more until the medium is renewed or opened again.
//!
//! The same holds after a connection was lost while acknowledged changes waited for a flush: the server may have lost
//! them with its memory, and NBD gives it no way to say so. Nothing is read then either: it might be older than what was
//! acknowledged.

use super::link::Ended;
use lull_block::IoStatus;
use lull_frontend::nbd::Errno;
use lull_frontend::nbd::client::RequestError;
use std::cell::RefCell;
use tokio::sync::Notify;

/// One medium's bookkeeping.
#[derive(Debug, Default)]
pub(super) struct Durable {
    state: RefCell<State>,
    turn: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Changes answered without being durable, in all.
    acknowledged: u64,
    /// How many of them a flush has covered.
    covered: u64,
    /// A request that could consume an error is outstanding.
    busy: bool,
    /// Flushes begun.
    begun: u64,
    /// The last of them that has succeeded.
    done: u64,
    trust: Trust,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trust {
    #[default]
    Sound,
    /// Acknowledged changes may be lost with a connection: no fault of the server's, as far as anybody knows.
    Lost,
    /// The server could not make them durable.
    Failed,
}

/// The right to have the one request outstanding that could consume an error.
pub(super) struct Turn<'a>(&'a Durable);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().busy = false;
        self.0.turn.notify_waiters();
    }
}

impl Durable {
    /// A change was answered that is not durable yet.
    pub(super) fn acknowledged(&self) {
        self.state.borrow_mut().acknowledged += 1;
    }

    /// The connection is lost and nothing is outstanding. Says whether acknowledged changes may have been lost with it,
    /// which it says once.
    pub(super) fn connection_lost(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let news = state.trust == Trust::Sound && state.acknowledged > state.covered;
        if news {
            state.trust = Trust::Lost;
        }
        news
    }

    /// Whatever may be lost is written again from here on: a flush is worth something again.
    pub(super) fn renew(&self) {
        let mut state = self.state.borrow_mut();
        state.trust = Trust::Sound;
        state.covered = state.acknowledged;
    }

    /// Whether anything may still be called durable, and what is read there the last that was acknowledged.
    pub(super) fn sound(&self) -> Result<(), Ended> {
        match self.state.borrow().trust {
            Trust::Sound => Ok(()),
            Trust::Lost => Err(Ended::Failed(IoStatus::Forgotten)),
            // Whoever asked first has been told.
            Trust::Failed => Err(Ended::Failed(IoStatus::Faulted)),
        }
    }

    /// Makes everything durable that was answered before this: by a flush that begins after this, which others may
    /// share. `send` sends one.
    pub(super) async fn flush(
        &self,
        send: impl AsyncFnOnce() -> Result<(), RequestError>,
    ) -> Result<(), Ended> {
        self.sound()?;
        let wanted = self.state.borrow().begun + 1;
        let (turn, covers) = loop {
            let waiting = self.turn.notified();
            {
                let mut state = self.state.borrow_mut();
                // A connection is lost only where nobody waits here.
                if state.trust != Trust::Sound {
                    return Err(Ended::Failed(IoStatus::WriteBackFailed));
                }
                if state.done >= wanted {
                    return Ok(());
                }
                if !state.busy {
                    state.busy = true;
                    state.begun += 1;
                    break (Turn(self), state.acknowledged);
                }
            }
            waiting.await;
        };
        match send().await {
            Ok(()) => {
                let mut state = self.state.borrow_mut();
                state.done = state.begun;
                state.covered = covers;
            }
            Err(error) => return Err(self.failed(&error, turn)),
        }
        drop(turn);
        Ok(())
    }

    /// The turn for one durable write, where it is free.
    pub(super) fn claim(&self) -> Option<Turn<'_>> {
        let mut state = self.state.borrow_mut();
        if state.busy {
            return None;
        }
        state.busy = true;
        Some(Turn(self))
    }

    /// What the end of a turn's request means, which was an error.
    pub(super) fn failed(&self, error: &RequestError, turn: Turn<'_>) -> Ended {
        let ended = Ended::of(error);
        let Ended::Failed(_) = ended else { return ended };
        // Before others have their turn.
        self.state.borrow_mut().trust = Trust::Failed;
        drop(turn);
        Ended::Failed(IoStatus::WriteBackFailed)
    }
}

/// Whether a durable write that failed so has left data behind that is not durable; otherwise it concerns that write alone.
pub(super) fn is_write_back(error: &RequestError) -> bool {
    matches!(error, RequestError::Answered(Errno::Io | Errno::Other(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    const WRITE_BACK: Result<(), Ended> = Err(Ended::Failed(IoStatus::WriteBackFailed));
    const FAULTED: Result<(), Ended> = Err(Ended::Failed(IoStatus::Faulted));
    const FORGOTTEN: Result<(), Ended> = Err(Ended::Failed(IoStatus::Forgotten));

    /// Flushes that end when the test says so, and with what it says.
    #[derive(Default)]
    struct Server {
        sent: Cell<usize>,
        answer: RefCell<Option<Result<(), RequestError>>>,
        answered: Notify,
    }

    impl Server {
        async fn flush(&self) -> Result<(), RequestError> {
            self.sent.set(self.sent.get() + 1);
            self.answered.notified().await;
            self.answer.take().expect("an answer")
        }

        fn answer(&self, result: Result<(), RequestError>) {
            self.answer.replace(Some(result));
            self.answered.notify_one();
        }
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn flushes_that_come_meanwhile_share_the_next_one() {
        // [SAFE-4] one is outstanding.
        let (durable, server) = (Durable::default(), Server::default());
        let mut first = pin!(durable.flush(async || server.flush().await));
        let mut second = pin!(durable.flush(async || server.flush().await));
        let mut third = pin!(durable.flush(async || server.flush().await));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        assert_eq!(server.sent.get(), 1);
        assert!(durable.claim().is_none(), "nor a durable write beside it");
        server.answer(Ok(()));
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        assert_eq!(server.sent.get(), 2, "the first began before they came");
        server.answer(Ok(()));
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(())));
        assert_eq!(server.sent.get(), 2);
        assert!(durable.claim().is_some());
    }

    #[test]
    fn a_failed_flush_fails_those_who_share_it_and_all_who_come() {
        // [SAFE-4] the next one would succeed about data that is gone.
        let (durable, server) = (Durable::default(), Server::default());
        let mut first = pin!(durable.flush(async || server.flush().await));
        let mut second = pin!(durable.flush(async || server.flush().await));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        server.answer(Err(RequestError::Answered(Errno::NoSpace)));
        assert_eq!(poll(first.as_mut()), Poll::Ready(WRITE_BACK));
        assert_eq!(poll(second.as_mut()), Poll::Ready(WRITE_BACK));
        let mut later = pin!(durable.flush(async || server.flush().await));
        assert_eq!(poll(later.as_mut()), Poll::Ready(FAULTED));
        assert_eq!(server.sent.get(), 1);
    }

    #[test]
    fn a_lost_connection_with_unflushed_changes_fails_the_next_flush() {
        // [SAFE-4] the server may have lost them, and cannot say so.
        let (durable, server) = (Durable::default(), Server::default());
        assert!(!durable.connection_lost(), "nothing was acknowledged");
        durable.acknowledged();
        {
            let mut flush = pin!(durable.flush(async || server.flush().await));
            assert!(poll(flush.as_mut()).is_pending());
            server.answer(Ok(()));
            assert_eq!(poll(flush.as_mut()), Poll::Ready(Ok(())));
        }
        assert!(!durable.connection_lost(), "everything was flushed");
        durable.acknowledged();
        {
            let mut flush = pin!(durable.flush(async || server.flush().await));
            assert!(poll(flush.as_mut()).is_pending());
            durable.acknowledged();
            server.answer(Err(RequestError::Lost(Rc::from("cut"))));
            assert_eq!(poll(flush.as_mut()), Poll::Ready(Err(Ended::Lost)));
        }
        assert!(durable.connection_lost());
        assert!(!durable.connection_lost(), "said once");
        for _ in 0..3 {
            let mut flush = pin!(durable.flush(async || server.flush().await));
            assert_eq!(poll(flush.as_mut()), Poll::Ready(FORGOTTEN), "it has not failed");
        }
    }

    #[test]
    fn a_flush_covers_only_what_was_acknowledged_before_it_began() {
        // [SAFE-4]
        let (durable, server) = (Durable::default(), Server::default());
        durable.acknowledged();
        let mut flush = pin!(durable.flush(async || server.flush().await));
        assert!(poll(flush.as_mut()).is_pending());
        durable.acknowledged();
        server.answer(Ok(()));
        assert_eq!(poll(flush.as_mut()), Poll::Ready(Ok(())));
        assert!(durable.connection_lost());
    }
}
