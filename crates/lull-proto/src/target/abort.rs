//! A restart that is given up: what says that it went well is revoked, then everybody goes on.

use super::restart::Restart;
use super::{Action, Actions, Change, Phase, Report, Target, Why};
use crate::MonoTime;
use core::time::Duration;
use lull_wire::RestartId;

/// For how long PAUSE is renewed while a record cannot be revoked [PAUSE-10]: a medium that is slow is waited for, one
/// that hangs is not.
const REVOKE_SPAN: Duration = Duration::from_secs(300);

impl Target {
    /// [PAUSE-6] Up to the first DISCONNECT everything can be taken back; a clean record that is written, or may
    /// be, is revoked first.
    pub(super) fn abort(&mut self, now: MonoTime, why: Why, actions: &mut Actions) {
        match core::mem::replace(&mut self.phase, Phase::Serving) {
            Phase::Intending { restart, .. }
            | Phase::Pausing { restart, .. }
            | Phase::Settling { restart, .. }
            | Phase::Quiet { restart } => self.end_pause(now, restart.id, why, actions),
            Phase::Sealing { restart, .. } => self.revoke(now, restart, why, actions),
            phase @ (Phase::Serving
            | Phase::Revoking { .. }
            | Phase::Leaving { .. }
            | Phase::Down { .. }) => {
                self.phase = phase;
            }
        }
    }

    pub(super) fn revoke(
        &mut self,
        now: MonoTime,
        restart: Restart,
        why: Why,
        actions: &mut Actions,
    ) {
        let ticket = Some(self.record(Change::Revoked(restart.id), actions));
        let until = now + REVOKE_SPAN;
        self.phase = Phase::Revoking { restart, ticket, why, until };
    }

    /// A clean record that could not be revoked is tried again as often as PAUSE is renewed.
    pub(super) fn revoke_again(&mut self, actions: &mut Actions) {
        if !matches!(&self.phase, Phase::Revoking { ticket: None, .. }) {
            return;
        }
        let Some(id) = self.phase.restart().map(|restart| restart.id) else { return };
        let again = self.record(Change::Revoked(id), actions);
        if let Phase::Revoking { ticket, .. } = &mut self.phase {
            *ticket = Some(again);
        }
    }

    pub(super) fn end_pause(
        &mut self,
        now: MonoTime,
        id: RestartId,
        why: Why,
        actions: &mut Actions,
    ) {
        self.phase = Phase::Serving;
        let rows = self.rows(now);
        actions.push(Action::Report(Report::Aborted { restart: id, why, rows }));
        self.give_back(false, actions);
        self.resume_all(now, id, actions);
    }
}
