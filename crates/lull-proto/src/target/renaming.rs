//! A target under other names.

use super::barrier::{Barrier, Pending};
use super::life::Life;
use super::restart::Restart;
use super::roster::{Entry, Holder, Seat};
use super::session::{Again, Claim, Session};
use super::upstream::{Hold, Upper};
use super::{Phase, Proof, Question, SessionState, Target};
use crate::renaming::Renaming;
use core::time::Duration;
use lull_wire::{Access, RequestNumber};

impl Target {
    /// The same machine under other names. What only reports are made of is forgotten.
    pub fn rename(&mut self, names: &mut impl Renaming) {
        let Self {
            config: _,
            resources: _,
            sessions,
            roster,
            lives,
            barriers,
            uppers,
            phase,
            orphans,
            tickets,
        } = self;
        *sessions = core::mem::take(sessions)
            .into_iter()
            .map(|(conn, mut session)| {
                rename_session(&mut session, names);
                (names.conn(conn), session)
            })
            .collect();
        for seat in roster.values_mut() {
            rename_seat(seat, names);
        }
        for life in lives {
            life.rename(names);
        }
        for barrier in barriers {
            barrier.rename(names);
        }
        for upper in uppers.iter_mut().flatten() {
            upper.rename(names);
        }
        rename_phase(phase, names);
        *orphans = core::mem::take(orphans)
            .into_iter()
            .map(|(ticket, mut claim)| {
                rename_claim(&mut claim, names);
                (names.ticket(ticket), claim)
            })
            .collect();
        *tickets = names.ticket(super::Ticket(*tickets)).0;
    }
}

fn rename_session(session: &mut Session, names: &mut impl Renaming) {
    let Session {
        node: _,
        callback: _,
        instance: _,
        beat,
        version: _,
        state,
        stalls_due: _,
        held: _,
        ready: _,
    } = session;
    beat.rename(names);
    match state {
        SessionState::Accepted { until } | SessionState::Greeted { until } => {
            *until = names.deadline(*until);
        }
        SessionState::Fencing { claim } => rename_claim(claim, names),
        SessionState::Recording { claim, ticket } => {
            rename_claim(claim, names);
            *ticket = names.ticket(*ticket);
        }
        SessionState::Arriving { attachment: _ } | SessionState::Sharing { attachment: _ } => {}
        SessionState::Ready { attachment: _, again } => *again = Again { requests: 0, bytes: 0 },
        // It is only shown.
        SessionState::Asked { attachment: _, progress } => *progress = None,
        SessionState::Complete { attachment: _, proof } => {
            let Proof { at, in_flight_at_pause, retained: _, not_executed: _, drain, flush } =
                proof;
            *at = names.ago(*at, Duration::ZERO);
            *in_flight_at_pause = 0;
            *drain = Duration::ZERO;
            *flush = Duration::ZERO;
        }
        SessionState::Closing { attachment: _, then: _, rest: _ } => {}
        SessionState::Detaching { attachment: _, ticket } => *ticket = names.ticket(*ticket),
    }
}

fn rename_claim(claim: &mut Claim, names: &mut impl Renaming) {
    let Claim { entry, tenure: _, lowest } = claim;
    if entry.access != Access::Shared {
        *lowest = RequestNumber(1);
    }
    rename_entry(entry, names);
}

fn rename_entry(entry: &mut Entry, names: &mut impl Renaming) {
    entry.epoch = names.epoch(entry.attachment, entry.epoch);
}

fn rename_seat(seat: &mut Seat, names: &mut impl Renaming) {
    let Seat { entry, holder, since, settled: _ } = seat;
    rename_entry(entry, names);
    let longest = match holder {
        Holder::Lost if entry.hold != Duration::MAX => entry.hold,
        Holder::Lost => Duration::ZERO,
        Holder::Taken(conn) => {
            *conn = names.conn(*conn);
            Duration::ZERO
        }
    };
    *since = names.ago(*since, longest);
}

fn rename_phase(phase: &mut Phase, names: &mut impl Renaming) {
    match phase {
        Phase::Serving => {}
        Phase::Pausing { restart, question: Question::NotYet(at) | Question::Open(at) }
        | Phase::Settling { restart, question: Question::NotYet(at) | Question::Open(at) } => {
            rename_restart(restart, names);
            *at = names.deadline(*at);
        }
        Phase::Intending {
            restart,
            ticket,
            question: Question::NotYet(at) | Question::Open(at),
        }
        | Phase::Sealing { restart, ticket, question: Question::NotYet(at) | Question::Open(at) } =>
        {
            rename_restart(restart, names);
            *ticket = names.ticket(*ticket);
            *at = names.deadline(*at);
        }
        Phase::Revoking { restart, ticket, why: _, until } => {
            *until = names.deadline(*until);
            rename_restart(restart, names);
            if let Some(ticket) = ticket {
                *ticket = names.ticket(*ticket);
            }
        }
        Phase::Quiet { restart } | Phase::Leaving { restart } | Phase::Down { restart } => {
            rename_restart(restart, names)
        }
    }
}

fn rename_restart(restart: &mut Restart, names: &mut impl Renaming) {
    let Restart { id: _, order: _, since, proceeds: _, renew_at } = restart;
    *since = names.ago(*since, Duration::ZERO);
    *renew_at = names.deadline(*renew_at);
}

impl Upper {
    fn rename(&mut self, names: &mut impl Renaming) {
        let Self { known: _, hold } = self;
        if let Some(hold) = hold {
            let Hold { reason: _, path: _, since, until, never: _, renew_at } = hold;
            *since = names.ago(*since, Duration::ZERO);
            *until = names.deadline(*until);
            *renew_at = names.deadline(*renew_at);
        }
    }
}

impl Barrier {
    fn rename(&mut self, names: &mut impl Renaming) {
        let Self { until, written, raised: _ } = self;
        *until = until.map(|at| names.deadline(at));
        for Pending { ticket, change: _, again } in written {
            *ticket = names.ticket(*ticket);
            *again = again.map(|at| names.deadline(at));
        }
    }
}

impl Life {
    fn rename(&mut self, names: &mut impl Renaming) {
        let Self { step, failures: _, failed_at, rests_until, record_at } = self;
        *failed_at = names.ago(*failed_at, super::life::FAULT_MEMORY);
        *rests_until = names.deadline(*rests_until);
        *record_at = record_at.map(|at| names.deadline(at));
        match step {
            super::life::Step::Lasts | super::life::Step::Draining(_) => {}
            super::life::Step::Recording(_, ticket) => *ticket = names.ticket(*ticket),
        }
    }
}
