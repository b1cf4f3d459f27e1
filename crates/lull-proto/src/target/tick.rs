//! Deadlines: when the machine wants to be woken, and what it does then.

use super::{Action, Actions, Question, Report, SessionState, Target};
use crate::MonoTime;
use crate::beat::Round;
use crate::time::earliest;
use alloc::vec::Vec;

impl Target {
    /// When [`Event::Tick`](super::Event::Tick) is due.
    pub fn deadline(&self) -> Option<MonoTime> {
        let sessions = self.sessions.values().flat_map(|session| {
            let greeting = match session.state {
                SessionState::Accepted { until } | SessionState::Greeted { until } => Some(until),
                SessionState::Fencing { .. }
                | SessionState::Recording { .. }
                | SessionState::Arriving { .. }
                | SessionState::Ready { .. }
                | SessionState::Sharing { .. }
                | SessionState::Asked { .. }
                | SessionState::Complete { .. }
                | SessionState::Closing { .. }
                | SessionState::Detaching { .. } => None,
            };
            [greeting, session.state.is_heard().then(|| session.beat.deadline())]
        });
        let others = [
            self.pause_deadline(),
            self.renew_at(),
            self.linger_at(),
            self.next_over(),
            self.renew_life_at(),
            self.hold_at(),
            self.barrier_deadline(),
        ];
        earliest(sessions.chain(others))
    }

    fn pause_deadline(&self) -> Option<MonoTime> {
        self.phase.question().map(Question::until)
    }

    pub(super) fn tick(&mut self, now: MonoTime, actions: &mut Actions) {
        let mut silent = Vec::new();
        for (&conn, session) in &mut self.sessions {
            match session.state {
                SessionState::Accepted { until } | SessionState::Greeted { until } => {
                    if until <= now {
                        silent.push(conn);
                    }
                }
                SessionState::Recording { .. }
                | SessionState::Closing { .. }
                | SessionState::Detaching { .. } => {}
                SessionState::Fencing { .. }
                | SessionState::Arriving { .. }
                | SessionState::Ready { .. }
                | SessionState::Sharing { .. }
                | SessionState::Asked { .. }
                | SessionState::Complete { .. } => match session.beat.tick(now) {
                    Round::NotYet | Round::Due => {}
                    Round::Silent => silent.push(conn),
                },
            }
        }
        for conn in silent {
            actions.push(Action::Report(Report::Silent { conn }));
            actions.push(Action::HangUp { conn });
            self.lost(now, conn, actions);
        }
        if self.renew_at().is_some_and(|at| at <= now) {
            self.renew_pause(now, actions);
            self.revoke_again(actions);
            // A reservation may have ended meanwhile.
            self.check_complete(now, actions);
        }
        // What follows a span may have one that is over at once: an order may name none at all.
        while self.pause_deadline().is_some_and(|until| until <= now) {
            self.pause_over(now, actions);
        }
        if self.linger_at().is_some_and(|at| at <= now) {
            self.linger(now, actions);
        }
        self.renew_holds(now, actions);
        self.renew(now, actions);
        self.give_up_places(now, actions);
        self.barrier_over(now, actions);
    }
}
