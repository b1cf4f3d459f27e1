//! A restart once everybody is quiet: everything durable, the clean record, the point of no return, the end.

use super::restart::{RENEW_EVERY, Restart};
use super::session::Session;
use super::{
    Action, Actions, Agentless, Change, Phase, Purpose, Question, Report, ResourceIndex, Seat,
    SessionState, Target, Why,
};
use crate::MonoTime;
use alloc::vec::Vec;
use lull_wire::messages::Name;
use lull_wire::{AttachmentId, DisconnectCode, RestartId, Tenure};

impl Target {
    /// [PAUSE-5] What initiators flushed, and what nobody did, is made durable. [PAUSE-10] A medium that hangs is not
    /// waited for without end: the pause timer runs once more.
    pub(super) fn settle(&mut self, now: MonoTime, restart: Restart, actions: &mut Actions) {
        let (id, question) = (restart.id, Question::NotYet(now + restart.order.span));
        self.phase = Phase::Settling { restart, question };
        actions.push(Action::Report(Report::Settling { restart: id }));
        actions.push(Action::MakeDurable { restart: id });
    }

    pub(super) fn durable(
        &mut self,
        now: MonoTime,
        id: RestartId,
        ok: bool,
        actions: &mut Actions,
    ) {
        let Phase::Settling { restart, question } = &self.phase else { return };
        if restart.id != id {
            return;
        }
        let (restart, question) = (restart.clone(), *question);
        match (ok, restart.order.unstoppable, restart.order.purpose) {
            // What cannot be aborted goes without its clean record.
            (false, true, _) => self.go(now, restart, actions),
            (false, false, _) => self.abort(now, Why::NotDurable, actions),
            (true, _, Purpose::Hold) => {
                actions.push(Action::Report(Report::Quiet { restart: id }));
                self.phase = Phase::Quiet { restart };
            }
            // [PAUSE-5] [PAUSE-8] Who came back while the backends flushed may have written since. Nobody is let in
            // between here and the clean record: owners are written behind it.
            (true, _, Purpose::Restart) if !restart.proceeds && !self.all_complete(now) => {
                self.pause_again(now, restart, actions);
            }
            (true, _, Purpose::Restart) => self.seal(restart, question, actions),
        }
    }

    fn seal(&mut self, restart: Restart, question: Question, actions: &mut Actions) {
        let ticket = self.record(Change::Clean(restart.id), actions);
        self.phase = Phase::Sealing { restart, ticket, question };
    }

    /// The first DISCONNECT, and with it the point of no return: nothing is accepted, every lane is closed, and who
    /// is drained is told. [PROCEED-1] Who did not complete is told like everybody else.
    pub(super) fn go(&mut self, now: MonoTime, restart: Restart, actions: &mut Actions) {
        actions.push(Action::Report(Report::Leaving { restart: restart.id, rows: self.rows(now) }));
        self.phase = Phase::Leaving { restart: Restart { renew_at: now + RENEW_EVERY, ..restart } };
        actions.push(Action::StopAccepting);
        let conns: Vec<_> = self.sessions.keys().copied().collect();
        for conn in conns {
            let lane = self.sessions.get(&conn).and_then(|session| session.state.lane());
            if lane.is_some() {
                self.close(now, conn, DisconnectCode::Restart, actions);
                continue;
            }
            let detaching = matches!(
                self.session(conn),
                Some(SessionState::Detaching { .. } | SessionState::Recording { .. })
            );
            if !detaching {
                self.sessions.remove(&conn);
                actions.push(Action::HangUp { conn });
            }
        }
        self.check_gone(actions);
    }

    pub(super) fn agentless(
        &mut self,
        now: MonoTime,
        resource: ResourceIndex,
        count: Agentless,
        actions: &mut Actions,
    ) {
        let before = core::mem::replace(&mut self.resources[resource.0].agentless, count);
        if before.writers == 0 && count.writers > 0 {
            self.agentless_writes(now, resource, actions);
        }
        self.check_complete(now, actions);
        self.check_gone(actions);
    }

    /// [SAFE-7] [SAFE-9] It is a writer as any other: whose reservation is over must not send again, over what it writes.
    fn agentless_writes(&mut self, now: MonoTime, resource: ResourceIndex, actions: &mut Actions) {
        // Where nobody ever wrote nobody has anything to send again.
        if self.resources[resource.0].tenure == Tenure(0) {
            return;
        }
        let over = |seat: &&Seat| {
            seat.entry.resource == resource && seat.entry.access.writes() && seat.is_over(now)
        };
        let over = self.roster.values().filter(over).map(|seat| seat.entry.attachment);
        let over: Vec<AttachmentId> = over.collect();
        // [SEC-4] Whoever came before has raised it already, let in or not, and since then nobody was who could write: of
        // those who come while it cannot be written only the first adds to what is to be.
        let present = self.resources[resource.0].tenure;
        let ending = self.ending(resource);
        if over.is_empty() && ending.is_empty() && self.barriers[resource.0].raised == present {
            return;
        }
        for attachment in &over {
            if let Some(seat) = self.roster.remove(attachment) {
                actions.push(Action::Report(Report::Over { entry: seat.entry }));
            }
        }
        self.give_up(resource, [over, ending].concat(), actions);
        self.barriers[resource.0].raised = self.resources[resource.0].tenure;
    }

    /// The last session is closed: the process may go.
    pub(super) fn check_gone(&mut self, actions: &mut Actions) {
        let Phase::Leaving { restart } = &self.phase else { return };
        let agentless =
            self.resources.iter().any(|resource| resource.agentless != Agentless::default());
        if self.sessions.is_empty() && !agentless {
            let restart = restart.clone();
            actions.push(Action::Down { restart: restart.id });
            self.phase = Phase::Down { restart };
        }
    }

    /// When it is told again who keeps a target that goes.
    pub(super) fn linger_at(&self) -> Option<MonoTime> {
        match &self.phase {
            Phase::Leaving { restart } => Some(restart.renew_at),
            Phase::Serving
            | Phase::Intending { .. }
            | Phase::Pausing { .. }
            | Phase::Settling { .. }
            | Phase::Quiet { .. }
            | Phase::Sealing { .. }
            | Phase::Revoking { .. }
            | Phase::Down { .. } => None,
        }
    }

    /// A target that goes waits for every request that it has taken, for as long as its medium takes: people are told
    /// whose they are [TIMER-5]. For whom only the roster is to be written it waits no longer than until here.
    pub(super) fn linger(&mut self, now: MonoTime, actions: &mut Actions) {
        let Phase::Leaving { restart } = &mut self.phase else { return };
        restart.renew_at = now + RENEW_EVERY;
        let restart = restart.id;
        // [PAUSE-10] Their requests are over, or never began: only the state is written for them, and it may hang.
        let written = |session: &Session| {
            matches!(session.state, SessionState::Detaching { .. } | SessionState::Recording { .. })
        };
        let of_these = self.sessions.iter().filter(|(_, session)| written(session));
        let conns: Vec<_> = of_these.map(|(&conn, _)| conn).collect();
        for conn in conns {
            self.forget(conn);
            actions.push(Action::HangUp { conn });
        }
        let (sessions, agentless) = self.still_here();
        if !sessions.is_empty() || agentless > 0 {
            actions.push(Action::Report(Report::Lingering { restart, sessions, agentless }));
        }
        self.check_gone(actions);
    }

    /// Whose requests, or whose change of the roster, a target that goes still waits for: the names of initiators,
    /// and how many clients without an agent.
    pub fn still_here(&self) -> (Vec<Name>, u32) {
        let sessions = self.sessions.values().map(|session| session.node.clone()).collect();
        let clients = |one: &super::Resource| one.agentless.writers + one.agentless.readers;
        (sessions, self.resources.iter().map(clients).sum())
    }
}
