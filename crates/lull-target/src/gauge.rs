//! What a connection's own thread shows to the one that decides, without a message.

use crate::clock::Clock;
use lull_proto::MonoTime;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Messages of one connection that are on their way to the machine; the next one is not read before one of them was
/// taken [SEC-4].
const UNHEARD_LIMIT: usize = 16;

/// One connection, as far as everybody may look.
#[derive(Debug)]
pub struct Gauge {
    /// Any byte is a sign of life, not only a PING, which may stand behind requests.
    felt: AtomicBool,
    /// It is not read because this side has no room for its requests: its silence is not its own.
    kept_waiting: AtomicBool,
    in_flight: AtomicUsize,
    /// A change of a sharer was executed.
    got_on: AtomicBool,
    unheard: Semaphore,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            felt: AtomicBool::new(false),
            kept_waiting: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            got_on: AtomicBool::new(false),
            unheard: Semaphore::new(UNHEARD_LIMIT),
        }
    }
}

impl Gauge {
    /// Something came from the peer.
    pub fn feel(&self) {
        self.felt.store(true, Ordering::Relaxed);
    }

    /// Whether the peer is being kept waiting from now on.
    pub fn keep_waiting(&self, waits: bool) {
        self.kept_waiting.store(waits, Ordering::Relaxed);
    }

    /// Whether the peer gave a sign of life since this was asked last.
    pub fn take_pulse(&self) -> bool {
        self.felt.swap(false, Ordering::Relaxed) || self.kept_waiting.load(Ordering::Relaxed)
    }

    /// A change of a sharer was executed: who sends again gets on.
    pub fn get_on(&self) {
        self.got_on.store(true, Ordering::Relaxed);
    }

    /// Whether one was since this was asked last.
    pub fn take_progress(&self) -> bool {
        self.got_on.swap(false, Ordering::Relaxed)
    }

    /// So many requests are under way now.
    pub fn set_in_flight(&self, requests: usize) {
        self.in_flight.store(requests, Ordering::Relaxed);
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until one more message may be sent to the machine.
    pub async fn may_tell(&self) {
        // It is never closed.
        if let Ok(permit) = self.unheard.acquire().await {
            permit.forget();
        }
    }

    /// The machine has taken a message.
    pub fn heard(&self) {
        self.unheard.add_permits(1);
    }
}

/// When a thread gave its last answer, looked at only while a restart is under way: its downtime begins there.
#[derive(Debug)]
pub struct Watch {
    clock: Clock,
    on: AtomicBool,
    last: AtomicU64,
}

impl Watch {
    pub fn new(clock: Clock) -> Self {
        Self { clock, on: AtomicBool::new(false), last: AtomicU64::new(0) }
    }

    /// Begins to look, as if the last answer had been given now.
    pub fn begin(&self, now: MonoTime) {
        self.last.store(now.0, Ordering::Relaxed);
        self.on.store(true, Ordering::Relaxed);
    }

    /// Looks no longer.
    pub fn end(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    /// The last answer.
    pub fn last(&self) -> MonoTime {
        MonoTime(self.last.load(Ordering::Relaxed))
    }

    /// An answer is given.
    pub fn answered(&self) {
        if self.on.load(Ordering::Relaxed) {
            self.last.store(self.clock.now().0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn may_tell_now(gauge: &Gauge) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(gauge.may_tell()).poll(&mut context).is_ready()
    }

    #[test]
    fn a_peer_that_talks_faster_than_it_is_heard_is_not_read_on() {
        // [SEC-4]
        let gauge = Gauge::default();
        assert!((0..UNHEARD_LIMIT).all(|_| may_tell_now(&gauge)));
        assert!(!may_tell_now(&gauge));
        gauge.heard();
        assert!(may_tell_now(&gauge));
        assert!(!may_tell_now(&gauge));
    }

    #[test]
    fn a_pulse_is_felt_once_and_who_is_kept_waiting_has_one() {
        let gauge = Gauge::default();
        assert!(!gauge.take_pulse());
        gauge.feel();
        assert!(gauge.take_pulse() && !gauge.take_pulse());
        gauge.keep_waiting(true);
        assert!(gauge.take_pulse() && gauge.take_pulse());
        gauge.keep_waiting(false);
        assert!(!gauge.take_pulse());
    }
}
