//! What one life of the daemon leaves to the next where consumers outlive it: what they were told, and what they wait
//! for [INIT-1].

use super::legacy::Heritage;
use super::outage::{Course, Expiry};
use super::requests::{Held, Origin, Requests, Sent};
use super::{Ask, Initiator, Marks, Outage, Policy, Slot, State, Why};
use crate::MonoTime;
use crate::geometry::Geometry;
use alloc::vec::Vec;
use core::time::Duration;

/// A request of a consumer that waits while the daemon changes: since when, and what is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// Where the daemon keeps it.
    pub slot: Slot,
    /// What to ask for.
    pub ask: Ask,
    /// Bytes behind it that belong to the same request.
    pub rest: u64,
    /// When it came.
    pub since: MonoTime,
}

/// What a life leaves to its successor beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Succession {
    /// What consumers were told.
    pub promised: Geometry,
    /// What was sent and not answered, in the order in which it was sent: the target may have executed it, or not.
    pub sent: Vec<Waiting>,
    /// What was never sent, in the order in which it came.
    pub held: Vec<Waiting>,
    /// Whatever was ever sent is answered, or among `sent`. Where a life was killed nobody knows that.
    pub whole: bool,
    /// Since when nothing is shared.
    pub since: MonoTime,
    /// When the restart timer ends.
    pub deadline: Option<MonoTime>,
    /// It has ended, and the policy has run.
    pub expired: bool,
    /// The downtime that a pause announces which was under way.
    pub announced: Option<Duration>,
    /// Until when a target further up is waited for.
    pub held_until: Option<MonoTime>,
}

impl Initiator {
    /// What a successor has to know; `None` where no consumer was ever told anything.
    pub fn bequeath(&self, now: MonoTime) -> Option<Succession> {
        let promised = self.promised?;
        let (sent, held) = self.requests.waiting();
        let (since, deadline, expired) = match self.outage() {
            Some(outage) => {
                (outage.since, outage.deadline, matches!(outage.expiry, Expiry::Ran(_)))
            }
            None => (now, Some(now + self.config.restart_timeout), false),
        };
        let (whole, announced) = (self.has_settled_its_heritage(), self.announced());
        let held_until = self.held_until();
        Some(Succession {
            promised,
            sent,
            held,
            whole,
            since,
            deadline,
            expired,
            announced,
            held_until,
        })
    }

    /// Until when a target further up is waited for; `None`: nobody has said so.
    pub fn held_until(&self) -> Option<MonoTime> {
        self.link().and_then(|link| link.held.as_ref()).map(|held| held.until)
    }

    /// The downtime that a pause under way announces; `None`: there is none.
    pub fn announced(&self) -> Option<Duration> {
        self.pause().map(|pause| pause.downtime)
    }

    /// Goes on for the consumers of the life before, from [`Event::Begin`](super::Event::Begin) on. To be called before
    /// that, and once.
    pub fn succeed(&mut self, now: MonoTime, succession: Succession) {
        let Succession {
            promised,
            sent,
            held,
            whole,
            since,
            deadline,
            expired,
            announced,
            held_until,
        } = succession;
        self.promised = Some(promised);
        self.requests.succeed(sent, held, whole);
        let marks = Marks { gone: Some(since), ..Marks::default() };
        let (none, timeout) = (Duration::ZERO, self.config.restart_timeout);
        let mut outage = Outage::new(since, Why::Successor, none, timeout, marks);
        // [TIMER-5] The hold is the one that it was: a restart of the daemon neither ends nor extends it. Where it had no end, or
        // none is known, it is as if it had begun now.
        outage.deadline = deadline.or(Some(now + timeout));
        if expired {
            outage.expiry = Expiry::Ran(match self.config.policy {
                Policy::Error => Course::Failing,
                Policy::Wait | Policy::Hook | Policy::Shutdown => Course::Holding,
            });
        }
        // [TIMER-4] Its target may have gone meanwhile, as it had said: for this life that is a loss in a pause.
        if let Some(downtime) = announced {
            outage.announced(now, timeout, downtime);
        }
        // [CHAIN-1] As for whoever loses its target in a HOLD.
        if let Some(until) = held_until {
            outage.held(until);
        }
        self.before = Some(outage);
    }

    /// Consumers of a life before wait, and nothing of them is known but that. They were told of a disk that this one knows
    /// nothing of yet, so that it cannot hold or answer what they ask; but their wait has an end, as if it had begun now
    /// [TIMER-5]. Of no effect where there is one already, or nothing to wait for.
    pub fn awaited(&mut self, now: MonoTime) {
        let deadline = now + self.config.restart_timeout;
        if let State::Away { outage, .. }
        | State::Dialling { outage, .. }
        | State::Attaching { outage, .. }
        | State::Replaying { outage, .. }
        | State::Ready { outage, .. } = &mut self.state
        {
            outage.deadline.get_or_insert(deadline);
        }
    }
}

impl Requests {
    /// What consumers wait for: sent ones, then those that were never sent.
    fn waiting(&self) -> (Vec<Waiting>, Vec<Waiting>) {
        let sent = self.window.iter().flatten().chain(&self.unsent);
        let sent = sent.filter_map(|sent| match sent.origin {
            Origin::Consumer(slot) => {
                let Sent { ask, rest, since, .. } = *sent;
                Some(Waiting { slot, ask, rest, since })
            }
            Origin::Retained(_) | Origin::Nobody => None,
        });
        let held = self.held.iter().map(|held| {
            let Held { slot, ask, rest, since } = *held;
            Waiting { slot, ask, rest, since }
        });
        (sent.collect(), held.collect())
    }

    /// [SAFE-2] What may have been executed goes before what was never sent.
    fn succeed(&mut self, sent: Vec<Waiting>, held: Vec<Waiting>, whole: bool) {
        if whole && self.heritage == Heritage::ToFlush {
            self.heritage = Heritage::Settled;
        }
        for Waiting { slot, ask, rest, since } in sent {
            // [SAFE-3] The log of this life may be a smaller one: what it cannot keep goes the way of all that is too
            // large, durable by itself and behind whatever could be replayed over it.
            if ask.changes() && !ask.is_durable() && self.log.is_beyond(&ask) {
                self.hold(since, slot, ask, rest);
                continue;
            }
            let origin = Origin::Consumer(slot);
            self.unsent.push_back(Sent { origin, ask, rest, since, live: false, covers: 0 });
        }
        for Waiting { slot, ask, rest, since } in held {
            self.hold(since, slot, ask, rest);
        }
    }
}
