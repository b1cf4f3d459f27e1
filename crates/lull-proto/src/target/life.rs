//! The lives of a resource's promise about unflushed data: who must replay in the present one, and how one ends before
//! the process does.

use super::{
    Action, Actions, Change, Holder, Refusal, Report, ResourceIndex, Seat, Target, Ticket,
};
use crate::MonoTime;
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::Name;
use lull_wire::{AttachmentId, DisconnectCode, Incarnation};

/// A write-back that fails again within this time is the medium's lasting fault.
pub(super) const FAULT_MEMORY: Duration = Duration::from_secs(60);
/// The first and the longest time for which a resource with a lasting fault takes nobody in.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How long nobody is let in, at least, where one life ends and the next is not recorded yet.
const SHORTLY: Duration = Duration::from_millis(20);
/// When the next life is recorded once more, after that failed.
const RECORD_AGAIN: Duration = Duration::from_secs(2);

/// One resource's present life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Life {
    pub(super) step: Step,
    /// Write-backs that failed, each soon after the one before.
    pub(super) failures: u32,
    pub(super) failed_at: MonoTime,
    /// Until then nobody is let in.
    pub(super) rests_until: MonoTime,
    /// When the next life is to be recorded, after that failed.
    pub(super) record_at: Option<MonoTime>,
}

/// Why a life ends before the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// A flush, or a durable write, failed [SAFE-4].
    WriteBack,
    /// The target on which the resource lies began a new one [CHAIN-4].
    Upstream,
    /// The connection to where the medium lies was lost, and with it perhaps what was not flushed: nothing has failed.
    Forgotten,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) enum Step {
    #[default]
    Lasts,
    /// It ended; its requests are waited for.
    Draining(Incarnation),
    /// The next one is being written.
    Recording(Incarnation, Ticket),
}

impl Life {
    /// One more write-back failed; how many did in a row.
    fn fail(&mut self, now: MonoTime) -> u32 {
        let again = self.failures > 0 && now.since(self.failed_at) < FAULT_MEMORY;
        self.failures = if again { self.failures.saturating_add(1) } else { 1 };
        self.failed_at = now;
        self.rests_until = now + rest(self.failures);
        self.failures
    }
}

impl Target {
    /// [SAFE-4] The kernel tells of lost pages once: from here on no flush of this life is worth anything. Everybody
    /// is sent away, to replay in the next one. [CHAIN-4] A new incarnation upstream is one here, too.
    pub(super) fn life_ended(
        &mut self,
        now: MonoTime,
        resource: ResourceIndex,
        why: Ended,
        actions: &mut Actions,
    ) {
        let Some(life) = self.lives.get_mut(resource.0) else { return };
        let ended = match life.step {
            Step::Lasts => self.resources[resource.0].incarnation,
            // A flush of our own failed: it ends before anybody was let in.
            Step::Recording(next, _) => next,
            Step::Draining(_) => return,
        };
        if self.phase.is_leaving() {
            return;
        }
        life.step = Step::Draining(successor(ended));
        actions.push(Action::Report(match why {
            Ended::WriteBack => Report::WriteBackFailed { resource, failures: life.fail(now) },
            Ended::Upstream => Report::UpstreamBeganAnew { resource },
            Ended::Forgotten => Report::MediumForgot { resource },
        }));
        // [RESUME-2] Sharers wait for each other anew.
        self.barrier_begins(resource);
        let mut taken = Vec::new();
        for seat in self.roster.values_mut().filter(|seat| seat.entry.resource == resource) {
            seat.settled = !seat.entry.access.writes();
            if let Holder::Taken(conn) = seat.holder {
                taken.push(conn);
            }
        }
        for conn in taken {
            self.close(now, conn, DisconnectCode::WriteBackFailed, actions);
        }
        self.renew(now, actions);
        self.check_complete(now, actions);
    }

    /// The next life begins when nothing of the last one can reach the medium any more.
    pub(super) fn renew(&mut self, now: MonoTime, actions: &mut Actions) {
        for place in 0..self.lives.len() {
            if self.lives[place].record_at.is_some_and(|at| at > now) {
                continue;
            }
            let (Step::Draining(next), resource) = (self.lives[place].step, ResourceIndex(place))
            else {
                continue;
            };
            if self.is_used(resource) {
                continue;
            }
            actions.push(Action::Renew { resource });
            let ticket = self.record(Change::Incarnation(resource, next), actions);
            self.lives[place].record_at = None;
            self.lives[place].step = Step::Recording(next, ticket);
        }
    }

    /// Whether a lane on it is open, or was and is not drained.
    fn is_used(&self, resource: ResourceIndex) -> bool {
        let of = |attachment: AttachmentId| {
            self.roster.get(&attachment).is_some_and(|seat| seat.entry.resource == resource)
        };
        self.sessions.values().any(|session| match session.state.rest() {
            Some(rest) => rest.resource == resource,
            None => session.state.lane().is_some_and(of),
        })
    }

    /// Whether this was the record of a new life.
    pub(super) fn renewed(&mut self, now: MonoTime, ticket: Ticket, ok: bool) -> bool {
        let mine = |life: &Life| matches!(life.step, Step::Recording(_, mine) if mine == ticket);
        let Some(place) = self.lives.iter().position(mine) else { return false };
        let life = &mut self.lives[place];
        if let Step::Recording(next, _) = life.step {
            if ok {
                life.step = Step::Lasts;
                self.resources[place].incarnation = next;
            } else {
                life.step = Step::Draining(next);
                life.record_at = Some(now + RECORD_AGAIN);
            }
        }
        true
    }

    /// When a life that could not be recorded is to be recorded again.
    pub(super) fn renew_life_at(&self) -> Option<MonoTime> {
        let draining = |life: &&Life| matches!(life.step, Step::Draining(_));
        self.lives.iter().filter(draining).filter_map(|life| life.record_at).min()
    }

    /// Whether a resource takes anybody in now.
    pub(super) fn check_life(&self, now: MonoTime, resource: ResourceIndex) -> Result<(), Refusal> {
        let life = &self.lives[resource.0];
        let rests = life.rests_until.0.saturating_sub(now.0);
        if life.step == Step::Lasts && rests == 0 {
            return Ok(());
        }
        Err(Refusal::WriteBackFailed {
            resource: self.resources[resource.0].name.clone(),
            failures: life.failures,
            rest: Duration::from_nanos(rests).max(SHORTLY),
        })
    }

    /// [SAFE-2] Who only reads is let in when every writer has replayed, or never will. `of`: who asks, and the node's name.
    pub(super) fn check_replayed(
        &self,
        now: MonoTime,
        resource: ResourceIndex,
        of: Option<(AttachmentId, &Name)>,
    ) -> Result<(), Refusal> {
        let waits = |seat: &&Seat| {
            seat.entry.resource == resource
                && of.is_none_or(|(of, _)| seat.entry.attachment != of)
                && !seat.settled
                && !seat.is_over(now)
        };
        match self.roster.values().find(waits) {
            None => Ok(()),
            Some(seat) => Err(Refusal::NotReplayed {
                resource: self.resources[resource.0].name.clone(),
                node: seat.entry.node.clone(),
                namesake: of.is_some_and(|(_, node)| seat.entry.node == *node),
                since: seat.since,
                reserved: (seat.holder == Holder::Lost).then(|| seat.until()),
            }),
        }
    }

    /// In the present life nothing of this attachment is left to be replayed.
    pub(super) fn settle_seat(&mut self, attachment: AttachmentId) {
        if let Some(seat) = self.roster.get_mut(&attachment) {
            seat.settled = true;
        }
    }
}

/// The next incarnation within one life of the process, whose first one is random: as unlikely to have been used as any.
fn successor(incarnation: Incarnation) -> Incarnation {
    Incarnation(u128::from_be_bytes(incarnation.0).wrapping_add(1).to_be_bytes())
}

/// How long nobody is let in after so many failures in a row: not at all after the first.
fn rest(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => FIRST_REST.saturating_mul(1 << (more - 2).min(10)).min(LONGEST_REST),
    }
}
