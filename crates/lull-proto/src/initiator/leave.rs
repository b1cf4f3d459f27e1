//! The end of an attachment: finish what was accepted, flush, DETACH [CONN-5].

use super::{Action, Actions, End, Initiator, Intent, Leaving, Memory, State};
use crate::{ConnId, MonoTime, Violation};
use lull_wire::messages::{Detach, Prose};
use lull_wire::{Incarnation, Tenure};

impl Initiator {
    pub(super) fn detach(&mut self, now: MonoTime, at_once: bool, actions: &mut Actions) {
        if self.intent == Intent::Stay {
            self.intent = Intent::Leave;
        }
        match &self.state {
            State::Idle => self.end(End::Left, actions),
            State::Away { .. } | State::Dialling { .. } if at_once => {
                self.end(End::Left, actions);
            }
            // [CONN-5] Where ATTACH is sent a place may be reserved already: it is given back once it is granted.
            State::Attaching { .. } | State::Replaying { .. } if at_once => {
                self.end(End::Left, actions);
            }
            State::Ready { .. }
            | State::Sharing { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Leaving { .. }
                if at_once && self.requests.is_idle() && !self.halfway =>
            {
                self.end(End::Left, actions);
            }
            State::Sharing { .. } | State::Paused { .. } => self.leave(now, actions),
            // It goes on when it shares again.
            State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Leaving { .. }
            | State::Ended(_) => {}
        }
    }

    /// [CONN-5] Without a session nobody is waited for on behalf of what was answered meanwhile, by the policy too.
    pub(super) fn leave_unheard(&mut self, actions: &mut Actions) {
        let unheard = matches!(self.state, State::Away { .. } | State::Dialling { .. });
        if unheard && self.intent == Intent::Leave && self.has_nothing_to_lose() {
            self.end(End::Left, actions);
        }
    }

    /// Whether no consumer would miss anything if it ended now.
    pub(super) fn has_nothing_to_lose(&self) -> bool {
        self.requests.is_idle() && !self.requests.is_unflushed() && !self.halfway
    }

    /// Goes a step towards the end, where one is wanted and possible.
    pub(super) fn leave(&mut self, now: MonoTime, actions: &mut Actions) {
        if self.intent == Intent::Stay {
            return;
        }
        match self.take() {
            State::Sharing { link } | State::Leaving { link, step: Leaving::Finishing } => {
                let conn = link.conn;
                self.requests.send_held(now, conn, actions);
                let step = if !self.requests.is_idle() || self.halfway {
                    Leaving::Finishing
                } else if self.requests.is_unflushed() {
                    self.requests.send_own_flush(now, conn, actions);
                    Leaving::Flushing
                } else {
                    ask(conn, actions);
                    Leaving::Asked
                };
                self.state = State::Leaving { link, step };
            }
            // A flush that failed is tried again with the next keep-alive.
            State::Leaving { link, step: Leaving::Flushing } if !self.requests.is_unflushed() => {
                ask(link.conn, actions);
                self.state = State::Leaving { link, step: Leaving::Asked };
            }
            // Who is quiet may go during a pause; it counts as done then.
            State::Paused { link, .. } if self.has_nothing_to_lose() => {
                ask(link.conn, actions);
                self.state = State::Leaving { link, step: Leaving::Asked };
            }
            other => self.state = other,
        }
    }

    /// [CONN-5] No DETACH without a flush, however long the medium refuses one. [SAFE-3] Nor does what waits for room in
    /// the log wait for ever.
    pub(super) fn flush_once_more(&mut self, now: MonoTime, actions: &mut Actions) {
        self.requests.flush_may_be_tried();
        // [CHAIN-1] Of what was not executed RESUME tells when it is to be sent again, unless that was said before.
        if let State::Sharing { link } | State::Leaving { link, .. } = &self.state
            && link.held.is_none()
        {
            self.requests.send_again(link.conn, actions);
        }
        if let State::Sharing { link } | State::Leaving { link, step: Leaving::Finishing } =
            &self.state
        {
            self.requests.send_held(now, link.conn, actions);
        }
        self.replay_again(now, actions);
        if let State::Leaving { link, step: Leaving::Flushing } = &self.state
            && self.requests.is_idle()
        {
            self.requests.send_own_flush(now, link.conn, actions);
        }
    }

    pub(super) fn detached(
        &mut self,
        _conn: ConnId,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        if matches!(self.state, State::Leaving { step: Leaving::Asked, .. }) {
            self.let_go(actions);
            return Ok(());
        }
        Err(Violation::OutOfPlace(lull_wire::Kind::Detached))
    }

    /// The target keeps no place for it any more.
    pub(super) fn let_go(&mut self, actions: &mut Actions) {
        // Nothing is left that an older hold on the resource could protect.
        self.memory = Memory { incarnation: Incarnation::NONE, tenure: Tenure(0), ..self.memory };
        actions.push(Action::Remember(self.memory));
        self.end(End::Detached, actions);
    }
}

fn ask(conn: ConnId, actions: &mut Actions) {
    let message = Detach { reason: Prose::clipped("the operator ended the attachment") }.into();
    actions.push(Action::Send { conn, message });
}
