//! From an ATTACH that may be granted to ATTACHED: fence, record, open.

use super::{
    Action, Actions, Change, Entry, Holder, Refusal, Report, ResourceIndex, Seat, Share, Target,
    Ticket,
};
use crate::target::session::{Claim, SessionState, Then, rest};
use crate::{ConnId, MonoTime};
use alloc::vec::Vec;
use lull_wire::messages::{Attached, Name};
use lull_wire::{Access, AttachmentId, DisconnectCode, Features};

impl Target {
    /// [SAFE-5] Every request of an older epoch is done, or impossible, before this one is granted.
    pub(super) fn fence(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        claim: Claim,
        actions: &mut Actions,
    ) {
        let (attachment, instance) = (claim.entry.attachment, claim.entry.instance);
        let mut overtaken = Vec::new();
        for (&other, session) in &mut self.sessions {
            if session.state.claim().is_some_and(|claim| claim.entry.attachment == attachment) {
                overtaken.push(other);
            }
            if session.state.lane() == Some(attachment)
                && !matches!(session.state, SessionState::Closing { .. })
            {
                let then = if session.instance == instance {
                    Then::Forget
                } else {
                    Then::Disconnect(DisconnectCode::TakenOver)
                };
                let rest = rest(&self.roster, attachment);
                session.state = SessionState::Closing { attachment, then, rest };
                actions.push(Action::Close { conn: other });
            }
        }
        for other in overtaken {
            self.forget(other);
            actions.push(Action::HangUp { conn: other });
        }
        if let Some(seat) = self.roster.get_mut(&attachment)
            && seat.holder != Holder::Lost
        {
            seat.holder = Holder::Lost;
            seat.since = now;
        }
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.state = SessionState::Fencing { claim };
        }
        self.fenced(now, actions);
        // [CHAIN-4] It is answered when the attachment of this node stands.
        if matches!(self.session(conn), Some(SessionState::Fencing { .. })) {
            self.say_hold_to(now, conn, actions);
            // [CHAIN-1] Where that is all it waits for, a pause does not wait for it.
            self.check_complete(now, actions);
        }
    }

    /// Whether requests that were sent before this claim may still be executed: its own, or those of a writer
    /// whose place it takes.
    fn is_fenced(&self, claim: &Claim) -> bool {
        let Entry { attachment, resource, access, .. } = claim.entry;
        !self.sessions.values().any(|session| {
            session.state.lane() == Some(attachment)
                || session.state.still_writes().is_some_and(|writes| {
                    writes.resource == resource && !access.goes_beside(writes.access)
                })
        })
    }

    /// Goes on with the claims that nothing older can reach the medium beside.
    pub(super) fn fenced(&mut self, now: MonoTime, actions: &mut Actions) {
        while let Some((conn, claim)) = self.next_fenced() {
            let Entry { attachment, resource, access, .. } = claim.entry;
            let asks = (attachment, &claim.entry.node);
            // [SAFE-2] A life may have begun since it asked, in which somebody has to replay.
            if !access.writes()
                && let Err(refusal) = self.check_replayed(now, resource, Some(asks))
            {
                self.refuse(conn, refusal, actions);
                continue;
            }
            self.write_before(now, resource, actions);
            for rival in self.over(now, &claim.entry) {
                self.roster.remove(&rival);
                self.end_place(resource, rival, actions);
            }
            let ticket = self.record(Change::Owner(claim.entry.clone(), claim.tenure), actions);
            if let Some(session) = self.sessions.get_mut(&conn) {
                session.state = SessionState::Recording { claim, ticket };
            }
        }
    }

    fn next_fenced(&self) -> Option<(ConnId, Claim)> {
        self.sessions.iter().find_map(|(&conn, session)| match &session.state {
            SessionState::Fencing { claim }
                if self.hold(claim.entry.resource).is_none() && self.is_fenced(claim) =>
            {
                Some((conn, claim.clone()))
            }
            SessionState::Fencing { .. }
            | SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Recording { .. }
            | SessionState::Arriving { .. }
            | SessionState::Ready { .. }
            | SessionState::Sharing { .. }
            | SessionState::Asked { .. }
            | SessionState::Complete { .. }
            | SessionState::Closing { .. }
            | SessionState::Detaching { .. } => None,
        })
    }

    pub(super) fn recorded(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        ok: bool,
        actions: &mut Actions,
    ) {
        if self.renewed(now, ticket, ok) || self.given_up(now, ticket, ok, actions) {
            return;
        }
        if let Some(claim) = self.orphans.remove(&ticket) {
            if ok {
                self.take_seat(now, claim, Holder::Lost);
            }
            return;
        }
        let waits = self.sessions.iter().find_map(|(&conn, session)| match &session.state {
            SessionState::Recording { claim, ticket: mine } if *mine == ticket => {
                Some((conn, Some(claim.clone())))
            }
            SessionState::Detaching { ticket: mine, .. } if *mine == ticket => Some((conn, None)),
            SessionState::Recording { .. }
            | SessionState::Detaching { .. }
            | SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Fencing { .. }
            | SessionState::Arriving { .. }
            | SessionState::Ready { .. }
            | SessionState::Sharing { .. }
            | SessionState::Asked { .. }
            | SessionState::Complete { .. }
            | SessionState::Closing { .. } => None,
        });
        match waits {
            Some((conn, Some(_))) if !ok => self.refuse(conn, Refusal::NotRecorded, actions),
            Some((conn, Some(_))) if self.phase.is_leaving() => {
                self.refuse(conn, Refusal::Pausing, actions)
            }
            // [CHAIN-4] Meanwhile the target above went away. The place is its own already.
            Some((conn, Some(claim))) if self.hold(claim.entry.resource).is_some() => {
                self.take_seat(now, claim.clone(), Holder::Lost);
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.state = SessionState::Fencing { claim: claim.clone() };
                }
                self.refuse_waiting(claim.entry.resource, actions);
            }
            Some((conn, Some(claim))) => match self.check_life(now, claim.entry.resource) {
                Ok(()) => self.grant(now, conn, claim, actions),
                // The place is its own already.
                Err(refusal) => {
                    self.take_seat(now, claim, Holder::Lost);
                    self.refuse(conn, refusal, actions);
                }
            },
            Some((conn, None)) => self.detach_recorded(now, conn, ok, actions),
            None => self.restart_recorded(now, ticket, ok, actions),
        }
        // A claim that came to nothing is waited for no more.
        self.check_complete(now, actions);
        self.check_gone(actions);
    }

    /// The roster is as it is on stable storage.
    fn take_seat(&mut self, now: MonoTime, claim: Claim, holder: Holder) {
        let Claim { entry, tenure, lowest: _ } = claim;
        let shared = &mut self.resources[entry.resource.0];
        shared.tenure = shared.tenure.max(tenure);
        // Who has never been here has left nothing behind.
        let settled = self.roster.get(&entry.attachment).is_none_or(|seat| seat.settled);
        self.roster.insert(entry.attachment, Seat { entry, holder, since: now, settled });
    }

    /// [PAUSE-5] Owner and epoch are on stable storage: ATTACHED. [PAUSE-8] During a pause PAUSE follows it.
    fn grant(&mut self, now: MonoTime, conn: ConnId, claim: Claim, actions: &mut Actions) {
        let Entry { attachment, resource, access, epoch, .. } = claim.entry;
        let (tenure, lowest) = (claim.tenure, claim.lowest);
        let instance = claim.entry.instance;
        let read_only = access == Access::ReadOnly;
        let Some(version) = self.sessions.get(&conn).map(|session| session.version) else { return };
        self.take_seat(now, claim, Holder::Taken(conn));
        let shared = &self.resources[resource.0];
        let geometry = shared.geometry;
        let message = Attached {
            epoch,
            identity: shared.identity,
            incarnation: shared.incarnation,
            tenure,
            size: geometry.size,
            block: geometry.block,
            preferred: geometry.preferred,
            max_length: geometry.max_length,
            features: geometry.features.with_if(read_only, Features::READ_ONLY).within(version),
            path: shared.path.clone(),
        };
        let read_only = message.features.has(Features::READ_ONLY);
        let share = Share { attachment, instance, lowest };
        let share = (access == Access::Shared).then_some(share);
        actions.push(Action::Open { conn, resource, read_only, version, share });
        actions.push(Action::Send { conn, message: message.into() });
        actions.push(Action::Report(Report::Attached { conn, attachment, epoch }));
        let pause = self.pause_message(now);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.held = false;
        session.state = match pause {
            Some(pause) => {
                actions.push(Action::Send { conn, message: pause.into() });
                SessionState::Asked { attachment, progress: None }
            }
            None => SessionState::Arriving { attachment },
        };
        self.came_back(now, resource);
    }

    /// An operator ends the places of a node: what it has not replayed is declared lost [SAFE-7].
    pub(super) fn evict(
        &mut self,
        now: MonoTime,
        node: &Name,
        resource: Option<ResourceIndex>,
        actions: &mut Actions,
    ) {
        let meant = |seat: &&Seat| {
            seat.entry.node == *node
                && resource.is_none_or(|resource| resource == seat.entry.resource)
        };
        let evicted: Vec<Seat> = self.roster.values().filter(meant).cloned().collect();
        for seat in evicted {
            let (attachment, place) = (seat.entry.attachment, seat.entry.resource);
            if let Holder::Taken(conn) = seat.holder {
                self.close(now, conn, DisconnectCode::Evicted, actions);
            }
            self.roster.remove(&attachment);
            self.drop_claims(attachment, actions);
            // [SAFE-7] Until it is written a writer might come back to its place after a crash, and send again.
            if seat.entry.access.writes() {
                self.give_up(place, alloc::vec![attachment], actions);
            } else {
                self.end_place(place, attachment, actions);
            }
            actions.push(Action::Report(Report::Evicted { entry: seat.entry }));
        }
        self.fenced(now, actions);
        self.open(now, actions);
        self.check_complete(now, actions);
        self.check_gone(actions);
    }

    /// What was claimed under an attachment that is evicted is void, and the eviction is stored behind it: [SAFE-7] no
    /// tenure falls.
    pub(super) fn drop_claims(&mut self, attachment: AttachmentId, actions: &mut Actions) {
        let of = |claim: &Claim| claim.entry.attachment == attachment;
        let claims = self.sessions.iter();
        let conns: Vec<ConnId> = claims
            .filter(|(_, session)| session.state.claim().is_some_and(of))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in conns {
            self.forget(conn);
            actions.push(Action::HangUp { conn });
        }
        self.orphans.retain(|_, claim| !of(claim));
    }
}
