//! The policy that shuts the host down [TIMER-2]: what runs before is waited for, and a target that is back in time
//! cancels it.
//!
//! ```text
//!   a timer ends ──▶ Preparing ── prepared, target away ───────────▶ Begun
//!                        │ prepared, target back                      ▲
//!                        ▼                                            │
//!                     Prepared ── gone again, or no RESUME in time ───┘
//!
//!   RESUME, or a restart that the target announces, cancels the first two; nothing leads back from Begun.
//! ```

use super::state::Probe;
use super::{Action, Actions, Course, Expiry, Initiator, Report, Stage, State};

impl Initiator {
    /// What was to run before has ended, or its time is up.
    pub(super) fn prepared(&mut self, actions: &mut Actions) {
        let (outage, target_may_go_on) = match &mut self.state {
            State::Away { outage, .. } | State::Dialling { outage, .. } => (outage, false),
            State::Replaying { outage, pause: Some(_), .. } => (outage, true),
            State::Attaching { outage, resume, .. }
            | State::Replaying { outage, resume, pause: None, .. }
            | State::Ready { outage, resume, .. } => (outage, resume.probe != Probe::Answered),
            // [PAUSE-8] The target is back and asks for a pause; that is no reason to go down.
            State::Draining { pause, .. }
            | State::Flushing { pause, .. }
            | State::Paused { pause, .. } => match &mut pause.before {
                Some(outage) => (outage, true),
                None => return,
            },
            // It was cancelled.
            State::Idle | State::Sharing { .. } | State::Leaving { .. } | State::Ended(_) => return,
        };
        if outage.expiry == Expiry::Ran(Course::ShuttingDown(Stage::Preparing)) {
            outage.expiry = Expiry::Ran(Course::ShuttingDown(Stage::Prepared));
            if !target_may_go_on {
                self.shut_down_if_prepared(actions);
            }
        }
    }

    /// The point of no return, where nothing is left to wait for: the target has gone away again, or there is no
    /// RESUME within its timer.
    pub(super) fn shut_down_if_prepared(&mut self, actions: &mut Actions) {
        let (State::Away { outage, .. }
        | State::Dialling { outage, .. }
        | State::Attaching { outage, .. }
        | State::Replaying { outage, .. }
        | State::Ready { outage, .. }) = &mut self.state
        else {
            return;
        };
        if outage.expiry == Expiry::Ran(Course::ShuttingDown(Stage::Prepared)) {
            outage.expiry = Expiry::Ran(Course::ShuttingDown(Stage::Begun));
            actions.push(Action::Report(Report::ShuttingDown));
            actions.push(Action::ShutDown);
        }
    }
}

/// The target is back before the point of no return.
pub(super) fn cancel(actions: &mut Actions) {
    actions.push(Action::CancelShutdown);
    actions.push(Action::Report(Report::ShutdownCancelled));
}
