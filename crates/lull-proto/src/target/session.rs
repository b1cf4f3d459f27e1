//! One connection as the target sees it.

use super::{Action, Actions, Change, Entry, Report, ResourceIndex, Seat, Target, Ticket};
use crate::beat::Beat;
use crate::target::{Holder, Refusal, RowState};
use crate::{ConnId, MonoTime, Violation};
use alloc::collections::BTreeMap;
use core::time::Duration;
use lull_wire::messages::{
    Address, Attach, Connect, Detached, Disconnect, Hello, Name, PauseComplete, PauseProgress,
    Prose, Ready, Resume, Stall, Welcome,
};
use lull_wire::{
    Access, AttachmentId, DisconnectCode, InstanceId, Kind, RequestNumber, RestartId, Tenure,
    VERSION,
};

/// How long a peer may take up to ATTACH: who says nothing is not kept [SEC-4].
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// What an initiator said about its draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Progress {
    /// Requests in flight.
    pub in_flight: u32,
    /// The oldest one's age when it was said.
    pub oldest: Duration,
    /// Bytes that no flush covers.
    pub unflushed: u64,
}

/// What an initiator said when it was quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// When it came.
    pub at: MonoTime,
    /// Requests in flight when PAUSE came.
    pub in_flight_at_pause: u32,
    /// Bytes still retained.
    pub retained: u64,
    /// Requests that were given back to it.
    pub not_executed: u32,
    /// How long draining took.
    pub drain: Duration,
    /// How long the flush took.
    pub flush: Duration,
}

impl Proof {
    /// Whether nothing is left that it may send again: neither what is retained nor what was given back, which promises
    /// nothing about the medium [CHAIN-1].
    pub fn is_clean(&self) -> bool {
        self.retained == 0 && self.not_executed == 0
    }
}

/// An ATTACH on its way to be granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub(super) entry: Entry,
    pub(super) tenure: Tenure,
    /// The lowest number that is unanswered.
    pub(super) lowest: RequestNumber,
}

/// What happens once a closed lane is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Nothing: the connection is gone already.
    Forget,
    /// DISCONNECT for this reason.
    Disconnect(DisconnectCode),
    /// The attachment leaves the roster.
    Detach,
}

/// What READY said was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Again {
    pub(super) requests: u64,
    pub(super) bytes: u64,
}

/// What the requests of a closed lane are about, and beside whose they may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rest {
    pub(super) resource: ResourceIndex,
    pub(super) access: Access,
}

/// How far a session is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum SessionState {
    /// HELLO is awaited until then.
    Accepted { until: MonoTime },
    /// ATTACH is awaited until then.
    Greeted { until: MonoTime },
    /// Lanes of older epochs are being closed [SAFE-5].
    Fencing { claim: Claim },
    /// Owner and epoch are being written [PAUSE-5].
    Recording { claim: Claim, ticket: Ticket },
    /// ATTACHED is sent, READY is awaited.
    Arriving { attachment: AttachmentId },
    /// READY came; other sharers are waited for [RESUME-2].
    Ready { attachment: AttachmentId, again: Again },
    /// Requests flow.
    Sharing { attachment: AttachmentId },
    /// PAUSE is sent.
    Asked { attachment: AttachmentId, progress: Option<Progress> },
    /// PAUSE COMPLETE came.
    Complete { attachment: AttachmentId, proof: Proof },
    /// Its lane is closed and not drained yet.
    Closing { attachment: AttachmentId, then: Then, rest: Option<Rest> },
    /// The roster's change is being written.
    Detaching { attachment: AttachmentId, ticket: Ticket },
}

impl SessionState {
    /// The attachment whose lane is open, or was and is not drained yet.
    pub(super) fn lane(&self) -> Option<AttachmentId> {
        match self {
            Self::Accepted { .. }
            | Self::Greeted { .. }
            | Self::Fencing { .. }
            | Self::Recording { .. }
            | Self::Detaching { .. } => None,
            Self::Arriving { attachment }
            | Self::Ready { attachment, .. }
            | Self::Sharing { attachment }
            | Self::Asked { attachment, .. }
            | Self::Complete { attachment, .. }
            | Self::Closing { attachment, .. } => Some(*attachment),
        }
    }

    /// Whether the peer's silence means anything [CONN-2]: it may wait for a target above for hours. While its own lane
    /// drains it does not: that takes as long as the medium takes, and the session ends anyhow.
    pub(super) fn is_heard(&self) -> bool {
        match self {
            Self::Fencing { .. }
            | Self::Arriving { .. }
            | Self::Ready { .. }
            | Self::Sharing { .. }
            | Self::Asked { .. }
            | Self::Complete { .. } => true,
            Self::Accepted { .. }
            | Self::Greeted { .. }
            | Self::Recording { .. }
            | Self::Closing { .. }
            | Self::Detaching { .. } => false,
        }
    }

    /// What the requests of a lane that is closed and not drained may still change.
    pub(super) fn still_writes(&self) -> Option<Rest> {
        self.rest().filter(|rest| rest.access.writes())
    }

    /// What may be under way in a lane that is closed and not drained.
    pub(super) fn rest(&self) -> Option<Rest> {
        match self {
            Self::Closing { rest, .. } => *rest,
            Self::Accepted { .. }
            | Self::Greeted { .. }
            | Self::Fencing { .. }
            | Self::Recording { .. }
            | Self::Arriving { .. }
            | Self::Ready { .. }
            | Self::Sharing { .. }
            | Self::Asked { .. }
            | Self::Complete { .. }
            | Self::Detaching { .. } => None,
        }
    }

    /// The claim that is not granted yet.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Fencing { claim } | Self::Recording { claim, .. } => Some(claim),
            Self::Accepted { .. }
            | Self::Greeted { .. }
            | Self::Arriving { .. }
            | Self::Ready { .. }
            | Self::Sharing { .. }
            | Self::Asked { .. }
            | Self::Complete { .. }
            | Self::Closing { .. }
            | Self::Detaching { .. } => None,
        }
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub node: Name,
    pub callback: Address,
    pub instance: InstanceId,
    pub beat: Beat,
    /// What WELCOME said; before it the highest of all, of which only HELLO is legal.
    pub version: u16,
    pub state: SessionState,
    /// How many STALLs may come: one for each RESUME.
    pub stalls_due: u32,
    /// HOLD was said, and nothing since that ends it.
    pub held: bool,
    /// READY came: it has had RESUME, or has it coming.
    pub ready: bool,
}

/// What the requests of this attachment are about, while it is on the roster. What is closed keeps it: its place may be
/// given up before they are done.
pub(super) fn rest(
    roster: &BTreeMap<AttachmentId, Seat>,
    attachment: AttachmentId,
) -> Option<Rest> {
    let Entry { resource, access, .. } = roster.get(&attachment)?.entry;
    Some(Rest { resource, access })
}

impl Target {
    pub(super) fn accepted(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        if self.phase.is_leaving() {
            actions.push(Action::HangUp { conn });
            return;
        }
        let session = Session {
            node: Name::default(),
            callback: Address::default(),
            instance: InstanceId::NONE,
            beat: Beat::new(now, self.config.keep_alive),
            version: VERSION,
            state: SessionState::Accepted { until: now + GREETING_LIMIT },
            stalls_due: 0,
            held: false,
            ready: false,
        };
        self.sessions.insert(conn, session);
    }

    /// [CONN-8] The highest version that both speak. [RESUME-1] Who is let in has CONNECT at once.
    pub(super) fn hello(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        hello: Hello,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
        if !matches!(session.state, SessionState::Accepted { .. }) {
            return Err(Violation::OutOfPlace(Kind::Hello));
        }
        // It is shown to people, in logs and at terminals, and named by them; a slash parts it from a resource's.
        let name = hello.node.as_str();
        let odd = |character: char| character.is_control() || character == '/';
        if name.is_empty() || name.contains(odd) || hello.instance.is_none() {
            return Err(Violation::NoName);
        }
        session.node = hello.node;
        session.callback = hello.callback;
        session.instance = hello.instance;
        let Some(version) = lull_wire::common_version(hello.min_version, hello.max_version) else {
            let refusal = Refusal::Version { min: hello.min_version, max: hello.max_version };
            self.refuse(conn, refusal, actions);
            return Ok(());
        };
        session.version = version;
        session.state = SessionState::Greeted { until: now + GREETING_LIMIT };
        let welcome = Welcome {
            version,
            instance: self.config.instance,
            node: self.config.node.clone(),
            software: self.config.software.clone(),
            keep_alive_ms: u32::try_from(self.config.keep_alive.as_millis()).unwrap_or(u32::MAX),
        };
        let barrier_ms = crate::time::millis(self.barrier_left(now));
        let connect = Connect { restart: self.config.from, barrier_ms };
        actions.push(Action::Send { conn, message: welcome.into() });
        actions.push(Action::Send { conn, message: connect.into() });
        Ok(())
    }

    pub(super) fn attach(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        attach: Attach,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get(&conn) else { return Ok(()) };
        if !matches!(session.state, SessionState::Greeted { .. }) {
            return Err(Violation::OutOfPlace(Kind::Attach));
        }
        if matches!(attach.access, Access::Unknown(_)) {
            return Err(Violation::Access);
        }
        if attach.attachment.is_none() {
            return Err(Violation::NoAttachment);
        }
        let (who, instance) = ((session.node.clone(), session.callback.clone()), session.instance);
        // What is sent again in another incarnation had new numbers in version 1.
        if attach.access == Access::Shared && session.version < 2 {
            let refusal = Refusal::AccessNotOffered { access: attach.access };
            self.refuse(conn, refusal, actions);
            return Ok(());
        }
        match self.claim(now, who, instance, attach) {
            Ok(claim) => self.fence(now, conn, claim, actions),
            Err(refusal) => self.refuse(conn, refusal, actions),
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal, actions: &mut Actions) {
        if let Some(session) = self.sessions.remove(&conn) {
            let report = Report::Refused { node: session.node, refusal: refusal.clone() };
            actions.push(Action::Report(report));
        }
        actions.push(Action::Refuse { conn, refusal });
    }

    /// [RESUME-2] An exclusive resource opens as soon as its own initiator is ready, a shared one when all are.
    pub(super) fn ready(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        ready: &Ready,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let restart = self.config.from;
        let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
        session.ready = true;
        match session.state {
            SessionState::Arriving { attachment } => {
                let again = Again { requests: ready.replayed, bytes: ready.replayed_bytes };
                session.state = SessionState::Ready { attachment, again };
                self.settle_seat(attachment);
                self.open_to(now, conn, actions);
                self.open(now, actions);
            }
            // It was replaying when a pause was asked for and aborted again.
            SessionState::Sharing { attachment } => {
                self.settle_seat(attachment);
                actions.push(Action::Send { conn, message: Resume { restart }.into() });
                self.say_hold_to(now, conn, actions);
            }
            // It was said already; or it crossed a PAUSE, which it answers.
            SessionState::Ready { .. }
            | SessionState::Asked { .. }
            | SessionState::Complete { .. }
            | SessionState::Closing { .. } => {}
            SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Fencing { .. }
            | SessionState::Recording { .. }
            | SessionState::Detaching { .. } => return Err(Violation::OutOfPlace(Kind::Ready)),
        }
        Ok(())
    }

    /// [PAUSE-4] What a session still waits for; [PAUSE-11] of this restart only.
    pub(super) fn progress(&mut self, conn: ConnId, told: &PauseProgress, actions: &mut Actions) {
        if !self.phase.is_about(told.restart) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let SessionState::Asked { attachment, progress } = &mut session.state {
            let told = Progress {
                in_flight: told.in_flight,
                oldest: Duration::from_millis(told.oldest_ms),
                unflushed: told.unflushed,
            };
            *progress = Some(told);
            let attachment = *attachment;
            actions.push(Action::Report(Report::Progress {
                attachment,
                state: RowState::Draining(Some(told)),
            }));
        }
    }

    pub(super) fn complete(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        told: &PauseComplete,
        actions: &mut Actions,
    ) {
        // [PAUSE-11] Of another restart it says nothing about this one.
        if !self.phase.is_about(told.restart) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        // Said again, after a renewed PAUSE, it changes nothing.
        if let SessionState::Asked { attachment, .. } = session.state {
            let proof = Proof {
                at: now,
                in_flight_at_pause: told.in_flight_at_pause,
                retained: told.retained_bytes,
                not_executed: told.not_executed,
                drain: Duration::from_micros(told.drain_us),
                flush: Duration::from_micros(told.flush_us),
            };
            session.state = SessionState::Complete { attachment, proof };
            // [SAFE-2] A replay that was cut short is still to be done: READY says when it is.
            if proof.is_clean() {
                self.settle_seat(attachment);
            }
            actions.push(Action::Report(Report::Complete { attachment, proof }));
            self.open(now, actions);
            self.check_complete(now, actions);
        }
    }

    /// [CONN-5] Who detaches has flushed; its place goes off the roster before DETACHED says so.
    pub(super) fn detach(&mut self, conn: ConnId, actions: &mut Actions) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
        match session.state {
            SessionState::Arriving { attachment }
            | SessionState::Ready { attachment, .. }
            | SessionState::Sharing { attachment }
            | SessionState::Asked { attachment, .. }
            | SessionState::Complete { attachment, .. } => {
                let rest = rest(&self.roster, attachment);
                session.state = SessionState::Closing { attachment, then: Then::Detach, rest };
                actions.push(Action::Close { conn });
                Ok(())
            }
            SessionState::Closing { .. } => Ok(()),
            SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Fencing { .. }
            | SessionState::Recording { .. }
            | SessionState::Detaching { .. } => Err(Violation::OutOfPlace(Kind::Detach)),
        }
    }

    /// One for each RESUME: what is said more often is neither shown nor kept.
    pub(super) fn stall(&mut self, conn: ConnId, stall: Stall, actions: &mut Actions) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let Some(left) = session.stalls_due.checked_sub(1) else { return };
        session.stalls_due = left;
        if let Some(attachment) = session.state.lane() {
            actions.push(Action::Report(Report::Stall { attachment, stall }));
        }
    }

    /// [CONN-2] The place on the roster stays; the lane is drained before anybody else may use it.
    pub(super) fn lost(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        match session.state {
            SessionState::Accepted { .. }
            | SessionState::Greeted { .. }
            | SessionState::Fencing { .. }
            | SessionState::Recording { .. } => self.forget(conn),
            SessionState::Arriving { attachment }
            | SessionState::Ready { attachment, .. }
            | SessionState::Sharing { attachment }
            | SessionState::Asked { attachment, .. }
            | SessionState::Complete { attachment, .. } => {
                let rest = rest(&self.roster, attachment);
                session.state = SessionState::Closing { attachment, then: Then::Forget, rest };
                actions.push(Action::Close { conn });
                self.vacate(now, conn, attachment);
                actions.push(Action::Report(Report::Lost { attachment }));
            }
            SessionState::Closing { attachment, then, rest } => {
                // What was to follow has nobody to hear it; a detach is still carried out.
                if then != Then::Detach {
                    let then = Then::Forget;
                    session.state = SessionState::Closing { attachment, then, rest };
                }
            }
            SessionState::Detaching { .. } => {}
        }
        self.open(now, actions);
        self.check_complete(now, actions);
        self.check_gone(actions);
    }

    /// A session without a lane ends. Where its owner is being written, the roster learns of it all the same.
    pub(super) fn forget(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        if let SessionState::Recording { claim, ticket } = session.state {
            self.orphans.insert(ticket, claim);
        }
    }

    /// The seat is nobody's now, if it was this connection's.
    pub(super) fn vacate(&mut self, now: MonoTime, conn: ConnId, attachment: AttachmentId) {
        if let Some(seat) =
            self.roster.get_mut(&attachment).filter(|seat| seat.holder == Holder::Taken(conn))
        {
            seat.holder = Holder::Lost;
            seat.since = now;
        }
    }

    /// Closes a session's lane; what is to be said to the initiator is said when it is drained.
    pub(super) fn close(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        code: DisconnectCode,
        actions: &mut Actions,
    ) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let Some(attachment) = session.state.lane() else { return };
        if !matches!(session.state, SessionState::Closing { .. }) {
            let rest = rest(&self.roster, attachment);
            let then = Then::Disconnect(code);
            session.state = SessionState::Closing { attachment, then, rest };
            actions.push(Action::Close { conn });
            self.vacate(now, conn, attachment);
        }
    }

    pub(super) fn drained(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let SessionState::Closing { attachment, then, .. } = session.state else { return };
        match then {
            Then::Forget => {
                actions.push(Action::HangUp { conn });
                self.sessions.remove(&conn);
            }
            // [CONN-4] Whatever ran has been answered, and nothing follows.
            Then::Disconnect(code) => {
                let node = session.node.clone();
                let message = self.disconnect_message(code, attachment).into();
                actions.push(Action::Send { conn, message });
                actions.push(Action::HangUp { conn });
                actions.push(Action::Report(Report::Disconnected { node, attachment, code }));
                self.sessions.remove(&conn);
            }
            Then::Detach => {
                let ticket = self.record(Change::Gone(attachment), actions);
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.state = SessionState::Detaching { attachment, ticket };
                }
            }
        }
        self.renew(now, actions);
        self.fenced(now, actions);
        self.check_gone(actions);
    }

    fn disconnect_message(&self, code: DisconnectCode, attachment: AttachmentId) -> Disconnect {
        let seat = self.roster.get(&attachment);
        let failed = seat.filter(|_| code == DisconnectCode::WriteBackFailed);
        let restart = self.phase.restart().filter(|_| code == DisconnectCode::Restart);
        Disconnect {
            restart: restart.map_or(RestartId(0), |restart| restart.id),
            code,
            downtime_ms: restart.map_or(0, |restart| crate::time::millis(restart.order.downtime)),
            resource: failed.map_or_else(Name::default, |seat| {
                self.resources[seat.entry.resource.0].name.clone()
            }),
            where_to: Default::default(),
            detail: restart.map_or_else(Prose::default, |restart| restart.order.reason.clone()),
        }
    }

    /// A detach is on stable storage. Where it is not, the initiator is told by the end of its connection and comes
    /// back to a place that it still has.
    pub(super) fn detach_recorded(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        ok: bool,
        actions: &mut Actions,
    ) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        let SessionState::Detaching { attachment, .. } = session.state else { return };
        if ok {
            if let Some(seat) = self.roster.remove(&attachment) {
                let message = Detached { epoch: seat.entry.epoch }.into();
                actions.push(Action::Send { conn, message });
                actions.push(Action::Report(Report::Detached { entry: seat.entry }));
            }
        } else {
            self.vacate(now, conn, attachment);
        }
        actions.push(Action::HangUp { conn });
        self.open(now, actions);
        self.check_complete(now, actions);
        self.check_gone(actions);
    }
}
