//! One restart: intent, pause, settle, the point of no return, and the ways out before it.

use super::report::Why;
use super::{Action, Actions, Change, Holder, Report, Row, RowState, Target, Ticket};
use crate::MonoTime;
use crate::target::session::SessionState;
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::RestartId;
use lull_wire::messages::{self, Prose};

/// How long an unanswered question waits before it becomes an abort [PAUSE-10].
pub const QUESTION_SPAN: Duration = Duration::from_secs(60);
/// How often PAUSE is said again with what is left of its span [PAUSE-10].
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The span that a PAUSE without an end of its own names, renewed long before it is over.
const OPEN_SPAN: Duration = Duration::from_secs(30);

/// The shortest span that is waited once more: an order may name none at all.
const WAIT_LEAST: Duration = Duration::from_millis(100);

/// What happens when the pause timer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnTimeout {
    /// Ask an operator.
    Ask,
    /// Give the restart up.
    Abort,
    /// Go on without those who have not completed [PROCEED-1].
    Proceed,
    /// Wait another span.
    Wait,
}

/// What an operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Wait another span.
    Wait,
    /// Go on without those who have not completed.
    Proceed,
    /// Give the restart up; ends a pause that something else was to use.
    Abort,
}

/// What a pause is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The target goes down as soon as it may.
    Restart,
    /// Everybody stays paused until somebody says what next.
    Hold,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The restart's number, never used before at this target.
    pub id: RestartId,
    /// What for.
    pub purpose: Purpose,
    /// Why, for people.
    pub reason: Prose,
    /// How long the target expects to be away; zero for not known.
    pub downtime: Duration,
    /// The pause timer.
    pub span: Duration,
    /// What happens when it ends.
    pub on_timeout: OnTimeout,
    /// The host goes down whatever anybody says: nothing aborts it [PAUSE-10].
    pub unstoppable: bool,
}

/// A restart under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Restart {
    /// Its number.
    pub id: RestartId,
    /// What was ordered.
    pub order: Order,
    /// When it began.
    pub since: MonoTime,
    /// It goes on without those who have not completed: somebody decided so.
    pub(super) proceeds: bool,
    pub(super) renew_at: MonoTime,
}

/// What the pause timer is at: for those who have not completed, and once more for the storage after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The timer runs until then.
    NotYet(MonoTime),
    /// It ended: an operator is asked until then.
    Open(MonoTime),
}

impl Question {
    /// When this ends.
    pub fn until(self) -> MonoTime {
        match self {
            Self::NotYet(until) | Self::Open(until) => until,
        }
    }
}

/// What a target does as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Phase {
    /// It shares.
    Serving,
    /// The intent is being written; the timer runs, and comes with no question: nobody is paused yet.
    Intending { restart: Restart, ticket: Ticket, question: Question },
    /// PAUSE is sent.
    Pausing { restart: Restart, question: Question },
    /// The backends are being flushed; the timer runs on.
    Settling { restart: Restart, question: Question },
    /// All are paused and stay so.
    Quiet { restart: Restart },
    /// The clean record is being written; the timer runs on.
    Sealing { restart: Restart, ticket: Ticket, question: Question },
    /// It was given up; the clean record is being revoked. `ticket`: that of its revocation, none while it waits to be
    /// tried again; until then PAUSE is renewed.
    Revoking { restart: Restart, ticket: Option<Ticket>, why: Why, until: MonoTime },
    /// The point of no return is past: lanes close, DISCONNECT is sent.
    Leaving { restart: Restart },
    /// All sessions are closed.
    Down { restart: Restart },
}

impl Phase {
    /// The restart under way.
    pub fn restart(&self) -> Option<&Restart> {
        match self {
            Self::Serving => None,
            Self::Intending { restart, .. }
            | Self::Pausing { restart, .. }
            | Self::Settling { restart, .. }
            | Self::Quiet { restart }
            | Self::Sealing { restart, .. }
            | Self::Revoking { restart, .. }
            | Self::Leaving { restart }
            | Self::Down { restart } => Some(restart),
        }
    }

    pub(super) fn restart_mut(&mut self) -> Option<&mut Restart> {
        match self {
            Self::Serving => None,
            Self::Intending { restart, .. }
            | Self::Pausing { restart, .. }
            | Self::Settling { restart, .. }
            | Self::Quiet { restart }
            | Self::Sealing { restart, .. }
            | Self::Revoking { restart, .. }
            | Self::Leaving { restart }
            | Self::Down { restart } => Some(restart),
        }
    }

    /// What the timer of a pause is at; `None` where nothing is waited for that it could end.
    pub fn question(&self) -> Option<Question> {
        match self {
            Self::Intending { question, .. }
            | Self::Pausing { question, .. }
            | Self::Settling { question, .. }
            | Self::Sealing { question, .. } => Some(*question),
            Self::Serving
            | Self::Quiet { .. }
            | Self::Revoking { .. }
            | Self::Leaving { .. }
            | Self::Down { .. } => None,
        }
    }

    fn question_mut(&mut self) -> Option<&mut Question> {
        match self {
            Self::Intending { question, .. }
            | Self::Pausing { question, .. }
            | Self::Settling { question, .. }
            | Self::Sealing { question, .. } => Some(question),
            Self::Serving
            | Self::Quiet { .. }
            | Self::Revoking { .. }
            | Self::Leaving { .. }
            | Self::Down { .. } => None,
        }
    }

    /// [PAUSE-11]
    pub(super) fn is_about(&self, restart: RestartId) -> bool {
        self.restart().is_some_and(|mine| mine.id == restart)
    }

    /// Whether the point of no return is past.
    pub fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving { .. } | Self::Down { .. })
    }

    /// Whether everybody is to be paused.
    fn pauses(&self) -> bool {
        match self {
            Self::Pausing { .. }
            | Self::Settling { .. }
            | Self::Quiet { .. }
            | Self::Sealing { .. }
            | Self::Revoking { .. } => true,
            Self::Serving | Self::Intending { .. } | Self::Leaving { .. } | Self::Down { .. } => {
                false
            }
        }
    }
}

impl Target {
    /// [PAUSE-5] The intent is on stable storage before PAUSE.
    pub(super) fn order(&mut self, now: MonoTime, mut order: Order, actions: &mut Actions) {
        if order.unstoppable {
            // [PAUSE-10] A pause that nothing may abort must not wait for somebody who does.
            order.purpose = Purpose::Restart;
        }
        if self.is_serving() {
            let (id, proceeds, renew_at) = (order.id, false, now + RENEW_EVERY);
            let restart = Restart { id, order, since: now, proceeds, renew_at };
            let ticket = self.record(Change::Intent(restart.id), actions);
            // However little a pause may take, a state directory that answers is not given up.
            let question = Question::NotYet(now + restart.order.span.max(WAIT_LEAST));
            self.phase = Phase::Intending { restart, ticket, question };
        } else if order.unstoppable {
            self.force(now, &order, actions);
        }
    }

    /// [PAUSE-10] The restart under way becomes one that nothing aborts.
    fn force(&mut self, now: MonoTime, order: &Order, actions: &mut Actions) {
        let Some(restart) = self.phase.restart_mut() else { return };
        // Said twice, it is in a hurry.
        let hurry = restart.order.unstoppable;
        restart.order.unstoppable = true;
        restart.order.purpose = Purpose::Restart;
        restart.order.downtime = restart.order.downtime.max(order.downtime);
        restart.order.span = restart.order.span.min(order.span);
        match &mut self.phase {
            Phase::Intending { question, .. }
            | Phase::Pausing { question, .. }
            | Phase::Settling { question, .. }
            | Phase::Sealing { question, .. } => {
                let until = now + order.span;
                match question {
                    Question::NotYet(deadline) if !hurry => *deadline = (*deadline).min(until),
                    Question::NotYet(_) | Question::Open(_) => self.proceed(now, actions),
                }
            }
            // Who came back in the meantime may be draining.
            Phase::Quiet { restart } => {
                let restart = restart.clone();
                self.pause_again(now, restart, actions);
                self.check_complete(now, actions);
            }
            // RESUME has not been said yet: it goes on as if nothing had been given up.
            Phase::Revoking { restart, .. } => {
                let restart = restart.clone();
                self.settle(now, restart, actions);
            }
            Phase::Serving | Phase::Leaving { .. } | Phase::Down { .. } => {}
        }
    }

    pub(super) fn restart_recorded(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        ok: bool,
        actions: &mut Actions,
    ) {
        match core::mem::replace(&mut self.phase, Phase::Serving) {
            Phase::Intending { restart, ticket: mine, .. } if mine == ticket => {
                if ok || restart.order.unstoppable {
                    self.begin_pause(now, restart, actions);
                } else {
                    actions.push(Action::Report(Report::Aborted {
                        restart: restart.id,
                        why: Why::NotRecorded,
                        rows: Vec::new(),
                    }));
                }
            }
            Phase::Sealing { restart, ticket: mine, .. } if mine == ticket => {
                if ok || restart.order.unstoppable {
                    self.go(now, restart, actions);
                } else {
                    // [PAUSE-6] What failed at its last step may be there all the same.
                    self.revoke(now, restart, Why::NotRecorded, actions);
                }
            }
            Phase::Revoking { restart, ticket: mine, why, until } if mine == Some(ticket) => {
                if ok {
                    self.end_pause(now, restart.id, why, actions);
                } else {
                    // [PAUSE-6] It would let readers in before those who write from now on have replayed.
                    self.phase = Phase::Revoking { restart, ticket: None, why, until };
                }
            }
            other => self.phase = other,
        }
    }

    /// [PAUSE-1] Everybody is asked; requests are served on.
    fn begin_pause(&mut self, now: MonoTime, restart: Restart, actions: &mut Actions) {
        actions.push(Action::StartWriteBack);
        let question = Question::NotYet(now + restart.order.span);
        let id = restart.id;
        let restart = Restart { renew_at: now + RENEW_EVERY, ..restart };
        self.phase = Phase::Pausing { restart, question };
        let Some(pause) = self.pause_message(now) else { return };
        for (&conn, session) in &mut self.sessions {
            let attachment = match session.state {
                SessionState::Arriving { attachment }
                | SessionState::Ready { attachment, .. }
                | SessionState::Sharing { attachment } => attachment,
                SessionState::Accepted { .. }
                | SessionState::Greeted { .. }
                | SessionState::Fencing { .. }
                | SessionState::Recording { .. }
                | SessionState::Asked { .. }
                | SessionState::Complete { .. }
                | SessionState::Closing { .. }
                | SessionState::Detaching { .. } => continue,
            };
            session.state = SessionState::Asked { attachment, progress: None };
            actions.push(Action::Send { conn, message: pause.clone().into() });
        }
        // [CHAIN-1] From here on nothing is kept that only a later life could pass on.
        self.give_back(true, actions);
        actions.push(Action::Report(Report::Pausing { restart: id, rows: self.rows(now) }));
        self.check_complete(now, actions);
    }

    /// PAUSE as it is to be said now; `None` outside a pause.
    pub(super) fn pause_message(&self, now: MonoTime) -> Option<messages::Pause> {
        if !self.phase.pauses() {
            return None;
        }
        let restart = self.phase.restart()?;
        let until = self.phase.question().map_or(now + OPEN_SPAN, Question::until);
        Some(messages::Pause {
            restart: restart.id,
            span_ms: until.millis_from(now),
            downtime_ms: crate::time::millis(restart.order.downtime),
            reason: restart.order.reason.clone(),
        })
    }

    pub(super) fn renew_pause(&mut self, now: MonoTime, actions: &mut Actions) {
        let Some(pause) = self.pause_message(now) else { return };
        if let Some(restart) = self.phase.restart_mut() {
            restart.renew_at = now + RENEW_EVERY;
        }
        // [PAUSE-10] A state directory that does not answer keeps nobody paused for ever: who hears nothing more takes
        // that for a loss, and its own timer runs. RESUME could only be said once the record is revoked.
        if matches!(&self.phase, Phase::Revoking { until, .. } if *until <= now) {
            return;
        }
        for (&conn, session) in &self.sessions {
            if matches!(session.state, SessionState::Asked { .. } | SessionState::Complete { .. }) {
                actions.push(Action::Send { conn, message: pause.clone().into() });
            }
        }
    }

    /// When PAUSE is due again.
    pub(super) fn renew_at(&self) -> Option<MonoTime> {
        self.phase.restart().filter(|_| self.phase.pauses()).map(|restart| restart.renew_at)
    }

    /// Everybody on the roster and how far each is with the pause [PAUSE-4].
    pub fn rows(&self, now: MonoTime) -> Vec<Row> {
        let row = |seat: &super::Seat| {
            let state = match seat.holder {
                Holder::Lost => RowState::Lost { since: now.since(seat.since) },
                Holder::Taken(conn) => match self.session(conn) {
                    Some(SessionState::Asked { progress, .. }) => RowState::Draining(*progress),
                    Some(SessionState::Complete { proof, .. }) => RowState::Complete(*proof),
                    Some(
                        SessionState::Arriving { .. }
                        | SessionState::Ready { .. }
                        | SessionState::Sharing { .. }
                        | SessionState::Accepted { .. }
                        | SessionState::Greeted { .. }
                        | SessionState::Fencing { .. }
                        | SessionState::Recording { .. }
                        | SessionState::Closing { .. }
                        | SessionState::Detaching { .. },
                    )
                    | None => RowState::Sharing,
                },
            };
            Row { entry: seat.entry.clone(), state }
        };
        self.roster.values().map(row).collect()
    }

    /// A place that is kept for nobody any more is not waited for either [SAFE-7].
    pub(super) fn all_complete(&self, now: MonoTime) -> bool {
        let done = |seat: &super::Seat| match seat.holder {
            Holder::Lost => seat.is_over(now) || self.is_held_off(seat),
            Holder::Taken(conn) => {
                matches!(self.session(conn), Some(SessionState::Complete { .. }))
            }
        };
        self.roster.values().all(done)
            && !self.sessions.values().any(|session| match &session.state {
                SessionState::Fencing { claim } => !self.waits_above(claim),
                other => other.claim().is_some(),
            })
    }

    /// Somebody is waited for once more, with a whole span.
    pub(super) fn pause_again(
        &mut self,
        now: MonoTime,
        mut restart: Restart,
        actions: &mut Actions,
    ) {
        restart.proceeds = false;
        let question = Question::NotYet(now + restart.order.span);
        let id = restart.id;
        self.phase = Phase::Pausing { restart, question };
        let rows = self.rows(now);
        actions.push(Action::Report(Report::PausingAgain { restart: id, rows }));
    }

    /// Goes on when nobody is waited for any more.
    pub(super) fn check_complete(&mut self, now: MonoTime, actions: &mut Actions) {
        if let Phase::Pausing { restart, .. } = &self.phase
            && self.all_complete(now)
        {
            let restart = restart.clone();
            self.settle(now, restart, actions);
        }
    }

    /// Goes on without what is waited for: those who have not completed, or a medium or a state directory that does
    /// not answer, and then without the intent or the clean record.
    fn proceed(&mut self, now: MonoTime, actions: &mut Actions) {
        match &self.phase {
            // [PAUSE-5] Only what nothing may abort goes without its intent.
            Phase::Intending { restart, .. } if restart.order.unstoppable => {
                let restart = restart.clone();
                self.begin_pause(now, restart, actions);
            }
            Phase::Intending { .. } => self.abort(now, Why::RecordLate, actions),
            Phase::Pausing { restart, .. } => {
                let restart = Restart { proceeds: true, ..restart.clone() };
                self.settle(now, restart, actions);
            }
            // Who only wants everybody quiet is not served by a target that goes.
            Phase::Settling { restart, .. } if restart.order.purpose == Purpose::Hold => {
                self.abort(now, Why::FlushLate, actions);
            }
            Phase::Settling { restart, .. } | Phase::Sealing { restart, .. } => {
                let restart = restart.clone();
                self.go(now, restart, actions);
            }
            Phase::Serving
            | Phase::Quiet { .. }
            | Phase::Revoking { .. }
            | Phase::Leaving { .. }
            | Phase::Down { .. } => {}
        }
    }

    pub(super) fn decide(&mut self, now: MonoTime, decision: Decision, actions: &mut Actions) {
        let Some(restart) = self.phase.restart() else { return };
        let (id, span, unstoppable) = (restart.id, restart.order.span, restart.order.unstoppable);
        // Nobody was asked about the storage before its timer ended.
        let waits = matches!(self.phase, Phase::Pausing { .. })
            || matches!(self.phase.question(), Some(Question::Open(_)));
        match decision {
            Decision::Abort | Decision::Wait if unstoppable => {}
            Decision::Abort => {
                actions.push(Action::Report(Report::Decided { restart: id, decision }));
                self.abort(now, Why::Operator, actions);
            }
            Decision::Proceed | Decision::Wait if !waits => {}
            Decision::Proceed => {
                actions.push(Action::Report(Report::Decided { restart: id, decision }));
                self.proceed(now, actions);
            }
            Decision::Wait => {
                actions.push(Action::Report(Report::Decided { restart: id, decision }));
                self.wait_on(now, span);
                self.renew_pause(now, actions);
            }
        }
    }

    fn wait_on(&mut self, now: MonoTime, span: Duration) {
        if let Some(question) = self.phase.question_mut() {
            *question = Question::NotYet(now + span.max(WAIT_LEAST));
        }
    }

    /// The pause timer, or the question after it, ended. [PAUSE-10] Whether initiators, a medium or the state directory
    /// is waited for.
    pub(super) fn pause_over(&mut self, now: MonoTime, actions: &mut Actions) {
        let Some(question) = self.phase.question() else { return };
        // Nobody is paused yet: to give it up, or to go on without its intent, is no question.
        if matches!(self.phase, Phase::Intending { .. }) {
            return self.proceed(now, actions);
        }
        let Some(restart) = self.phase.restart() else { return };
        let (id, span) = (restart.id, restart.order.span);
        match (restart.order.unstoppable, question, restart.order.on_timeout) {
            (true, _, _) | (false, Question::NotYet(_), OnTimeout::Proceed) => {
                self.proceed(now, actions);
            }
            (false, Question::Open(_), _) | (false, Question::NotYet(_), OnTimeout::Abort) => {
                self.abort(now, self.late(), actions);
            }
            (false, Question::NotYet(_), OnTimeout::Ask) => {
                if let Some(question) = self.phase.question_mut() {
                    *question = Question::Open(now + QUESTION_SPAN);
                }
                actions.push(Action::Report(Report::Asking { restart: id, rows: self.rows(now) }));
                self.renew_pause(now, actions);
            }
            (false, Question::NotYet(_), OnTimeout::Wait) => {
                self.wait_on(now, span);
                self.renew_pause(now, actions);
            }
        }
    }

    /// What was waited for in vain.
    fn late(&self) -> Why {
        match &self.phase {
            Phase::Settling { .. } => Why::FlushLate,
            Phase::Intending { .. } | Phase::Sealing { .. } => Why::RecordLate,
            Phase::Serving
            | Phase::Pausing { .. }
            | Phase::Quiet { .. }
            | Phase::Revoking { .. }
            | Phase::Leaving { .. }
            | Phase::Down { .. } => Why::NotComplete,
        }
    }
}
