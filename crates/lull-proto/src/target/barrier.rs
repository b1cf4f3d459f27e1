//! When a resource with several writers opens [RESUME-2]: in a new life of it, nobody's next request is executed before
//! everybody has sent again what is unanswered, or has lost the right to.
//!
//! ```text
//! closed:  a sharer has something to send again ─ all are ready, gone, or evicted ─▶ open
//!          the first one is back: the span begins ─ over, and somebody is ready ─▶ the others lose their places
//!          ─ written ─▶ open
//! ```
//!
//! Who is clean, because it completed the pause before a planned restart, has nothing unanswered and is not waited for.

use super::session::Claim;
use super::{
    Action, Actions, Change, Holder, Phase, Report, ResourceIndex, Seat, SessionState, Target,
    Ticket,
};
use crate::time::earliest;
use crate::{ConnId, MonoTime};
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::Resume;
use lull_wire::{Access, AttachmentId, RestartId, Tenure};

/// When the loss of places is recorded once more, after that failed.
const RECORD_AGAIN: Duration = Duration::from_secs(2);

/// What keeps a resource with several writers closed, beside sharers that have something to send again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Barrier {
    /// The end of the span, while somebody is back and another is waited for.
    pub(super) until: Option<MonoTime>,
    /// Writers lose their places: until that is written they might come back to them after a crash.
    pub(super) written: Vec<Pending>,
    /// What clients without an agent have raised the tenure to. As long as that is the present one nobody was let in since who
    /// could write.
    pub(super) raised: Tenure,
}

impl Barrier {
    /// Whether others wait for what is to be written.
    fn waits(&self) -> bool {
        self.written.iter().any(|pending| matches!(pending.change, Change::Missed(..)))
    }
}

/// Whose places are lost with it.
fn losers(change: &Change) -> &[AttachmentId] {
    match change {
        Change::Gone(one) => core::slice::from_ref(one),
        Change::Missed(whom, ..) => whom,
        Change::Owner(..)
        | Change::Incarnation(..)
        | Change::Intent(_)
        | Change::Clean(_)
        | Change::Revoked(_) => &[],
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) change: Change,
    /// When it is to be recorded again, after that failed.
    pub(super) again: Option<MonoTime>,
}

/// A resource that is not open, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// Since when nobody is waited for any longer than until then; `None`: nobody is back yet.
    pub until: Option<MonoTime>,
    /// Who is waited for.
    pub missing: Vec<&'a Seat>,
}

impl Target {
    /// Whom a resource with several writers waits for; `None`: it is open.
    pub fn closed(&self, resource: ResourceIndex) -> Option<Closed<'_>> {
        let missing: Vec<&Seat> = self.missing(resource).collect();
        let barrier = &self.barriers[resource.0];
        let open = missing.is_empty() && !barrier.waits();
        (!open).then_some(Closed { until: barrier.until, missing })
    }

    /// Sharers that may have something to send again.
    fn missing(&self, resource: ResourceIndex) -> impl Iterator<Item = &Seat> {
        self.sharers(resource).filter(|seat| !seat.settled)
    }

    fn sharers(&self, resource: ResourceIndex) -> impl Iterator<Item = &Seat> {
        let shares = move |seat: &&Seat| {
            seat.entry.resource == resource && seat.entry.access == Access::Shared
        };
        self.roster.values().filter(shares)
    }

    fn is_closed(&self, resource: ResourceIndex) -> bool {
        self.barriers[resource.0].waits() || self.missing(resource).next().is_some()
    }

    fn places(&self) -> impl Iterator<Item = ResourceIndex> + use<> {
        (0..self.barriers.len()).map(ResourceIndex)
    }

    /// The longest that anybody who connects now may be kept waiting for others.
    pub(super) fn barrier_left(&self, now: MonoTime) -> Duration {
        let left =
            |barrier: &Barrier| barrier.until.map_or(self.config.barrier, |until| until.since(now));
        let waits = |seat: &&Seat| seat.entry.access == Access::Shared && !seat.settled;
        let missing = self.roster.values().filter(waits);
        let missing = missing.map(|seat| &self.barriers[seat.entry.resource.0]);
        let unwritten = self.barriers.iter().filter(|barrier| barrier.waits());
        missing.chain(unwritten).map(left).max().unwrap_or_default()
    }

    /// Somebody was let in: if others are waited for, it is not for ever.
    pub(super) fn came_back(&mut self, now: MonoTime, resource: ResourceIndex) {
        if self.missing(resource).next().is_some() {
            self.barriers[resource.0].until.get_or_insert(now + self.config.barrier);
        }
    }

    /// A new life of the resource begins: nobody is back in it yet.
    pub(super) fn barrier_begins(&mut self, resource: ResourceIndex) {
        self.barriers[resource.0].until = None;
    }

    /// [RESUME-2] A sharer that is sending again gets on: it is waited for longer.
    pub fn progressed(&mut self, now: MonoTime, conn: ConnId) {
        let Some(attachment) = self.session(conn).and_then(SessionState::lane) else { return };
        let Some(seat) = self.roster.get(&attachment).filter(|seat| !seat.settled) else { return };
        if let Some(until) = &mut self.barriers[seat.entry.resource.0].until {
            *until = (*until).max(now + self.config.barrier);
        }
    }

    /// READY came: it goes on, or waits for the others.
    pub(super) fn open_to(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let SessionState::Ready { attachment, again } = session.state else { return };
        let seat = self.roster.get(&attachment);
        let shares = seat.filter(|seat| seat.entry.access == Access::Shared);
        if shares.is_some_and(|seat| self.is_closed(seat.entry.resource)) {
            return;
        }
        let restart = self.config.from;
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.state = SessionState::Sharing { attachment };
            session.stalls_due += 1;
        }
        actions.push(Action::Send { conn, message: Resume { restart }.into() });
        let (replayed, bytes) = (again.requests, again.bytes);
        actions.push(Action::Report(Report::Resumed { conn, attachment, replayed, bytes }));
        self.say_hold_to(now, conn, actions);
    }

    /// Lets those go on who are ready where nobody is waited for any more.
    pub(super) fn open(&mut self, now: MonoTime, actions: &mut Actions) {
        // Whoever waits has set one: most targets have no resource with several writers.
        if self.barriers.iter().all(|barrier| *barrier == Barrier::default()) {
            return;
        }
        for place in self.places() {
            // Where all are gone nobody waits: when one is back, the others may be about to come too.
            let gone = self.sharers(place).all(|seat| seat.holder == Holder::Lost);
            if gone || !self.is_closed(place) {
                self.barriers[place.0].until = None;
            }
        }
        for (conn, _) in self.ready_sessions() {
            self.open_to(now, conn, actions);
        }
    }

    fn ready_sessions(&self) -> Vec<(ConnId, AttachmentId)> {
        let ready = |(&conn, session): (&ConnId, &super::session::Session)| match session.state {
            SessionState::Ready { attachment, .. } => Some((conn, attachment)),
            SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Fencing { .. }
            | SessionState::Recording { .. }
            | SessionState::Arriving { .. }
            | SessionState::Sharing { .. }
            | SessionState::Asked { .. }
            | SessionState::Complete { .. }
            | SessionState::Closing { .. }
            | SessionState::Detaching { .. } => None,
        };
        self.sessions.iter().filter_map(ready).collect()
    }

    /// Resources on which somebody is ready and waits for others.
    fn waited_on(&self) -> Vec<ResourceIndex> {
        let place = |(_, attachment)| self.roster.get(&attachment).map(|seat| seat.entry.resource);
        let mut places: Vec<_> = self.ready_sessions().into_iter().filter_map(place).collect();
        places.dedup();
        places
    }

    /// When a barrier ends for somebody who waits at it, or what it waits for is to be written again.
    pub(super) fn barrier_deadline(&self) -> Option<MonoTime> {
        let again = self.barriers.iter().flat_map(|barrier| &barrier.written);
        let again = again.filter_map(|pending| pending.again).min();
        // Most targets have no resource with several writers.
        if self.barriers.iter().all(|barrier| barrier.until.is_none()) {
            return again;
        }
        let ends = self.waited_on().into_iter();
        let ends = ends.filter(|place| !self.barriers[place.0].waits());
        earliest(ends.map(|place| self.barriers[place.0].until).chain([again]))
    }

    /// [RESUME-2] The span is over and somebody waits: whoever is missing does not send again any more.
    pub(super) fn barrier_over(&mut self, now: MonoTime, actions: &mut Actions) {
        self.write_again(now, actions);
        if self.barrier_deadline().is_none_or(|at| at > now) {
            return;
        }
        for place in self.waited_on() {
            let barrier = &self.barriers[place.0];
            if barrier.until.is_none_or(|until| until > now) || barrier.waits() {
                continue;
            }
            let missing: Vec<Seat> = self.missing(place).cloned().collect();
            for seat in &missing {
                let attachment = seat.entry.attachment;
                if let Holder::Taken(conn) = seat.holder {
                    actions.push(Action::HangUp { conn });
                    self.lost(now, conn, actions);
                }
                self.roster.remove(&attachment);
                self.drop_claims(attachment, actions);
                actions.push(Action::Report(Report::Missed { entry: seat.entry.clone() }));
            }
            let all = missing.into_iter().map(|seat| seat.entry.attachment).collect();
            self.give_up(place, all, actions);
        }
    }

    /// Writers have lost their places. [SAFE-7] The tenure tells them so; [RESUME-2] no sharer goes on before it is
    /// written, or what they have unanswered would be sent again after a crash, over what others write now.
    pub(super) fn give_up(
        &mut self,
        place: ResourceIndex,
        whom: Vec<AttachmentId>,
        actions: &mut Actions,
    ) {
        let tenure = self.resources[place.0].tenure.next();
        self.resources[place.0].tenure = tenure;
        self.write(place, Change::Missed(whom, place, tenure), actions);
    }

    /// [SAFE-7] A place is kept no longer, for which nobody waits. From a state in which it is still kept its owner would come
    /// back after a crash as who wrote last, whoever has written since.
    pub(super) fn end_place(
        &mut self,
        place: ResourceIndex,
        attachment: AttachmentId,
        actions: &mut Actions,
    ) {
        self.write(place, Change::Gone(attachment), actions);
    }

    fn write(&mut self, place: ResourceIndex, change: Change, actions: &mut Actions) {
        let ticket = self.record(change.clone(), actions);
        self.barriers[place.0].written.push(Pending { ticket, change, again: None });
    }

    /// Somebody is about to be let in: what could not be written is to be before that is.
    pub(super) fn write_before(
        &mut self,
        now: MonoTime,
        place: ResourceIndex,
        actions: &mut Actions,
    ) {
        let failed = self.barriers[place.0].written.iter_mut().filter_map(|one| one.again.as_mut());
        failed.for_each(|again| *again = now);
        self.write_again(now, actions);
    }

    /// Whether this was the record of lost places.
    pub(super) fn given_up(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        ok: bool,
        actions: &mut Actions,
    ) -> bool {
        let mine = |pending: &Pending| pending.ticket == ticket;
        let mut barriers = self.barriers.iter_mut();
        let Some(barrier) = barriers.find(|barrier| barrier.written.iter().any(mine)) else {
            return false;
        };
        if ok {
            barrier.written.retain(|pending| !mine(pending));
            self.open(now, actions);
        } else if let Some(pending) = barrier.written.iter_mut().find(|pending| mine(pending)) {
            pending.again = Some(now + RECORD_AGAIN);
        }
        true
    }

    fn write_again(&mut self, now: MonoTime, actions: &mut Actions) {
        for place in self.places() {
            let is_due = |pending: &mut Pending| pending.again.is_some_and(|at| at <= now);
            let due: Vec<_> = self.barriers[place.0].written.extract_if(.., is_due).collect();
            for pending in due {
                if losers(&pending.change).iter().any(|one| self.is_recording(*one)) {
                    let again = Some(now + RECORD_AGAIN);
                    self.barriers[place.0].written.push(Pending { again, ..pending });
                } else if let Some(change) = self.still_lost(place, pending.change) {
                    self.write(place, change, actions);
                }
            }
        }
    }

    /// Whose places are over, of which nothing that is waited for says so yet.
    pub(super) fn ending(&self, place: ResourceIndex) -> Vec<AttachmentId> {
        let written = &self.barriers[place.0].written;
        let is_told = |one: &AttachmentId| {
            let missed =
                |change: &Change| matches!(change, Change::Missed(whom, ..) if whom.contains(one));
            written.iter().any(|pending| missed(&pending.change))
        };
        let gone = written.iter().filter_map(|pending| match pending.change {
            Change::Gone(one) => Some(one),
            Change::Owner(..)
            | Change::Missed(..)
            | Change::Incarnation(..)
            | Change::Intent(_)
            | Change::Clean(_)
            | Change::Revoked(_) => None,
        });
        gone.filter(|one| {
            !(self.roster.contains_key(one) || self.is_recording(*one) || is_told(one))
        })
        .collect()
    }

    /// Whether its place is just being written: what is written behind that would take away a place that it has anew. Before
    /// it is, and where it cannot be, the old one is written off like any other [SAFE-7].
    fn is_recording(&self, attachment: AttachmentId) -> bool {
        let mine = |claim: &Claim| claim.entry.attachment == attachment;
        self.orphans.values().any(mine)
            || self.sessions.values().any(|session| {
                matches!(&session.state, SessionState::Recording { claim, .. } if mine(claim))
            })
    }

    /// Who has come back since has a place anew, which is written already: it stays. [SAFE-7] And no tenure falls.
    fn still_lost(&self, place: ResourceIndex, change: Change) -> Option<Change> {
        let is_back = |one: &AttachmentId| self.roster.contains_key(one);
        match change {
            Change::Gone(one) if is_back(&one) => None,
            Change::Missed(mut whom, _, _) => {
                whom.retain(|one| !is_back(one));
                let claims = self.claims().filter(|claim| claim.entry.resource == place);
                let claimed = claims.map(|claim| claim.tenure).max().unwrap_or_default();
                let tenure = self.resources[place.0].tenure.max(claimed);
                Some(Change::Missed(whom, place, tenure))
            }
            change => Some(change),
        }
    }

    /// A pause was aborted before its resource had opened: RESUME would let its sharers go on too early, and without
    /// one they would wait in the pause. They come in again.
    pub(super) fn send_back(&mut self, now: MonoTime, actions: &mut Actions) {
        for place in self.places() {
            if !self.is_closed(place) {
                continue;
            }
            let conn = |seat: &Seat| match seat.holder {
                Holder::Taken(conn) => Some(conn),
                Holder::Lost => None,
            };
            let conns: Vec<ConnId> = self.sharers(place).filter_map(conn).collect();
            for conn in conns {
                let paused = matches!(
                    self.session(conn),
                    Some(SessionState::Asked { .. } | SessionState::Complete { .. })
                );
                if paused {
                    actions.push(Action::HangUp { conn });
                    self.lost(now, conn, actions);
                }
            }
        }
    }

    /// Lets everybody who was asked to pause go on.
    pub(super) fn resume_all(&mut self, now: MonoTime, restart: RestartId, actions: &mut Actions) {
        self.send_back(now, actions);
        let mut resumed = Vec::new();
        for (&conn, session) in &mut self.sessions {
            let attachment = match session.state {
                SessionState::Asked { attachment, .. }
                | SessionState::Complete { attachment, .. } => attachment,
                SessionState::Accepted { .. }
                | SessionState::Greeted { .. }
                | SessionState::Fencing { .. }
                | SessionState::Recording { .. }
                | SessionState::Arriving { .. }
                | SessionState::Ready { .. }
                | SessionState::Sharing { .. }
                | SessionState::Closing { .. }
                | SessionState::Detaching { .. } => continue,
            };
            session.state = SessionState::Sharing { attachment };
            session.stalls_due += 1;
            // In version 1 nobody says READY after a pause in which it replayed.
            if session.version < 2
                && let Some(seat) = self.roster.get_mut(&attachment)
            {
                seat.settled = true;
            }
            actions.push(Action::Send { conn, message: Resume { restart }.into() });
            actions.push(Action::Report(Report::Resumed {
                conn,
                attachment,
                replayed: 0,
                bytes: 0,
            }));
            resumed.push(conn);
        }
        // [CHAIN-1] RESUME ends a HOLD too, which may not be over.
        for conn in resumed {
            self.say_hold_to(now, conn, actions);
        }
        debug_assert!(!matches!(self.phase, Phase::Leaving { .. } | Phase::Down { .. }));
    }
}
