//! A planned restart, seen from here: drain, flush, say so, wait.

use super::{
    Action, Actions, Again, Initiator, Link, Marks, PAUSE_MARGIN, PROGRESS_EVERY, Pause, Report,
    Resume, State,
};
use crate::initiator::replay::say_ready;
use crate::initiator::state::Probe;
use crate::time::{micros, span};
use crate::{ConnId, MonoTime, Violation};
use core::time::Duration;
use lull_wire::messages::{self, PauseComplete, PauseProgress, Stall};

impl Initiator {
    /// [PAUSE-2] [PAUSE-7] From here on no new request of a consumer is sent; what comes is held, and none fails.
    pub(super) fn paused(
        &mut self,
        now: MonoTime,
        told: messages::Pause,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let until = now + span(told.span_ms).saturating_add(PAUSE_MARGIN);
        let downtime = span(told.downtime_ms);
        let fresh = |in_flight, before| Pause {
            restart: told.restart,
            downtime,
            reason: told.reason.clone(),
            until,
            in_flight,
            progress_at: now,
            marks: Marks { paused: Some(now), ..Marks::default() },
            before,
        };
        let in_flight = self.requests.in_flight();
        let report = Report::Pausing {
            restart: told.restart,
            in_flight,
            span: span(told.span_ms),
            reason: told.reason.clone(),
        };
        match self.take() {
            State::Sharing { link } => {
                actions.push(Action::Report(report));
                self.drain(now, link, fresh(in_flight, None), actions);
            }
            State::Ready { outage, link, .. } => {
                actions.push(Action::Report(report));
                self.drain(now, link, fresh(in_flight, Some(outage)), actions);
            }
            State::Leaving { link, step: super::Leaving::Finishing | super::Leaving::Flushing } => {
                actions.push(Action::Report(report));
                self.drain(now, link, fresh(in_flight, None), actions);
            }
            // [PAUSE-8] The replay is finished first.
            State::Replaying { outage, link, mut resume, replay, pause: None } => {
                actions.push(Action::Report(report));
                resume.probe = Probe::NotYet;
                let pause = Some(fresh(in_flight, None));
                self.state = State::Replaying { outage, link, resume, replay, pause };
                self.progress(now, actions);
                self.replay(now, actions);
            }
            // [PAUSE-3] Said again, for this restart or for the next one, it renews the span.
            State::Replaying { outage, link, resume, replay, pause: Some(pause) } => {
                let pause = Some(Pause { restart: told.restart, downtime, until, ..pause });
                self.state = State::Replaying { outage, link, resume, replay, pause };
            }
            State::Draining { link, pause } => {
                let pause = Pause { restart: told.restart, downtime, until, ..pause };
                self.state = State::Draining { link, pause };
            }
            State::Flushing { link, pause } => {
                let pause = Pause { restart: told.restart, downtime, until, ..pause };
                self.state = State::Flushing { link, pause };
            }
            State::Paused { link, pause } => {
                let pause = Pause { restart: told.restart, downtime, until, ..pause };
                let message = self.complete_message(&pause).into();
                actions.push(Action::Send { conn: link.conn, message });
                self.state = State::Paused { link, pause };
            }
            // Who detaches counts as done.
            state @ State::Leaving { step: super::Leaving::Asked, .. } => self.state = state,
            state @ (State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Ended(_)) => {
                self.state = state;
                return Err(Violation::OutOfPlace(lull_wire::Kind::Pause));
            }
        }
        Ok(())
    }

    /// [PAUSE-3] Waits until all that is pending is answered. After a loss that is all that was unanswered then.
    pub(super) fn drain(&mut self, now: MonoTime, link: Link, pause: Pause, actions: &mut Actions) {
        if pause.before.is_some() {
            self.requests.send_again(link.conn, actions);
        }
        self.state = State::Draining { link, pause };
        if self.requests.in_flight() == 0 {
            self.drained(now, actions);
        } else {
            self.progress(now, actions);
        }
    }

    pub(super) fn drained(&mut self, now: MonoTime, actions: &mut Actions) {
        let (link, mut pause) = match self.take() {
            State::Draining { link, pause } => (link, pause),
            other => {
                self.state = other;
                return;
            }
        };
        let after = pause.marks.paused.map_or(Duration::ZERO, |paused| now.since(paused));
        pause.marks.drained = Some(now);
        actions.push(Action::Report(Report::Drained { restart: pause.restart, after }));
        let conn = link.conn;
        self.state = State::Flushing { link, pause };
        if self.requests.is_unflushed() {
            self.requests.send_own_flush(now, conn, actions);
        } else {
            self.complete(now, actions);
        }
    }

    /// [CHAIN-1] The replay could not be passed on: all of it stays retained, and a flush would say nothing about it.
    pub(super) fn complete_unreplayed(
        &mut self,
        now: MonoTime,
        link: Link,
        mut pause: Pause,
        actions: &mut Actions,
    ) {
        pause.marks.drained = Some(now);
        self.state = State::Flushing { link, pause };
        self.complete(now, actions);
    }

    /// "Go ahead and restart." If the flush failed, what it did not cover is named.
    pub(super) fn complete(&mut self, now: MonoTime, actions: &mut Actions) {
        let (link, mut pause) = match self.take() {
            State::Flushing { link, pause } => (link, pause),
            other => {
                self.state = other;
                return;
            }
        };
        pause.marks.completed = Some(now);
        let message = self.complete_message(&pause);
        let after = pause.marks.paused.map_or(Duration::ZERO, |paused| now.since(paused));
        let retained = message.retained_bytes;
        actions.push(Action::Send { conn: link.conn, message: message.into() });
        actions.push(Action::Report(Report::Paused { restart: pause.restart, after, retained }));
        self.state = State::Paused { link, pause };
        self.leave(now, actions);
    }

    fn complete_message(&self, pause: &Pause) -> PauseComplete {
        let between = |from: Option<MonoTime>, to: Option<MonoTime>| match (from, to) {
            (Some(from), Some(to)) => micros(to.since(from)),
            (None, _) | (_, None) => 0,
        };
        let (retained, retained_bytes) = self.requests.retained();
        PauseComplete {
            restart: pause.restart,
            in_flight_at_pause: pause.in_flight,
            not_executed: self.requests.kept(),
            retained,
            retained_bytes,
            drain_us: between(pause.marks.paused, pause.marks.drained),
            flush_us: between(pause.marks.drained, pause.marks.completed),
        }
    }

    /// [PAUSE-4] Says what is waited for.
    pub(super) fn progress(&mut self, now: MonoTime, actions: &mut Actions) {
        let (in_flight, (_, unflushed)) = (self.requests.in_flight(), self.requests.retained());
        let oldest_ms = u64::try_from(self.requests.oldest(now).as_millis()).unwrap_or(u64::MAX);
        match &mut self.state {
            State::Replaying { link, pause: Some(pause), .. }
            | State::Draining { link, pause }
            | State::Flushing { link, pause } => {
                pause.progress_at = now + PROGRESS_EVERY;
                let restart = pause.restart;
                let message = PauseProgress { restart, in_flight, oldest_ms, unflushed }.into();
                actions.push(Action::Send { conn: link.conn, message });
            }
            State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Replaying { pause: None, .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Paused { .. }
            | State::Leaving { .. }
            | State::Ended(_) => {}
        }
    }

    /// [PAUSE-6] RESUME without a restart: held requests flow again.
    pub(super) fn unpause(
        &mut self,
        now: MonoTime,
        link: Link,
        pause: Pause,
        actions: &mut Actions,
    ) {
        let (longest, held) = (self.requests.longest_wait(now), self.requests.held());
        actions.push(Action::Report(Report::PauseAborted { restart: pause.restart, longest }));
        if let Some(outage) = pause.before {
            // [SAFE-2] [CHAIN-1] The replay was cut short in the pause: from its beginning once more.
            if !self.requests.is_settled(link.incarnation) {
                let by = now + self.config.resume_timeout;
                let resume = Resume { by, probe: Probe::NotYet };
                self.bring_up(now, outage, link, resume, actions);
                return;
            }
            // [SAFE-8] READY follows once the next life would know what was attached, and RESUME that.
            if !self.is_noted {
                let by = now + self.config.resume_timeout;
                let resume = Resume { by, probe: Probe::NotYet };
                self.state = State::Ready { outage, link, resume, again: Again::default() };
                return;
            }
            // [SAFE-2] The replay was finished in the pause: others wait to hear that.
            say_ready(link.conn, Again::default(), actions);
            self.share(now, link, outage, Again::default(), pause.restart, actions);
            return;
        }
        // [PAUSE-7] At once, be there other traffic or not.
        let conn = link.conn;
        self.state = State::Sharing { link };
        self.end_hold(now, actions);
        self.requests.send_again(conn, actions);
        self.requests.send_held(now, conn, actions);
        self.tell_stall(conn, pause.restart, longest, held, actions);
        self.leave(now, actions);
    }

    fn tell_stall(
        &self,
        conn: ConnId,
        restart: lull_wire::RestartId,
        longest: Duration,
        held: u32,
        actions: &mut Actions,
    ) {
        let message =
            Stall { restart, longest_us: micros(longest), held, away_us: 0, resume_us: 0 }.into();
        actions.push(Action::Send { conn, message });
    }
}
