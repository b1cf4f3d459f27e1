//! One attachment under other names.

use super::requests::{Held, Requests, Sent};
use super::state::{Probe, Step};
use super::{Config, Dial, Initiator, Intent, Link, Marks, Memory, Outage, Pause, Resume, State};
use crate::renaming::Renaming;
use core::time::Duration;

impl Initiator {
    /// The same machine under other names. What only reports and retries' spread are made of is forgotten.
    pub fn rename(&mut self, names: &mut impl Renaming) {
        let Self {
            config,
            state,
            requests,
            memory,
            intent,
            halfway: _,
            is_noted: _,
            promised: _,
            path: _,
            refusal,
            gives_back: _,
            before,
            conns,
            pings,
            chance,
        } = self;
        *refusal = None;
        let attachment = config.attachment;
        rename_config(config);
        // How long ago an outage began says only when leaving is given up.
        let longest = match intent {
            Intent::Stay => Duration::ZERO,
            Intent::Leave | Intent::LeaveOnceMore => Duration::from_secs(4),
        };
        rename_state(state, longest, names);
        if let Some(outage) = before {
            rename_outage(outage, longest, names);
        }
        requests.rename(names);
        memory.epoch = names.epoch(attachment, memory.epoch);
        *conns = names.conn(crate::ConnId(*conns)).0;
        *pings = names.ping(*pings);
        *chance = 1;
    }
}

/// What was remembered at the start has been taken over since.
fn rename_config(config: &mut Config) {
    config.memory = Memory::default();
    config.seed = 0;
}

fn rename_state(state: &mut State, longest: Duration, names: &mut impl Renaming) {
    match state {
        State::Idle | State::Ended(_) => {}
        State::Away { outage, next } => {
            rename_outage(outage, longest, names);
            *next = names.deadline(*next);
        }
        State::Dialling { outage, dial } => {
            rename_outage(outage, longest, names);
            let Dial { conn, limit, step, instead_of } = dial;
            *conn = names.conn(*conn);
            *limit = names.deadline(*limit);
            *instead_of = instead_of.map(|at| names.deadline(at));
            match step {
                Step::Connecting | Step::Greeted | Step::Welcomed { .. } => {}
            }
        }
        State::Attaching { outage, link, resume }
        | State::Replaying { outage, link, resume, replay: _, pause: None }
        | State::Ready { outage, link, resume, again: _ } => {
            rename_outage(outage, longest, names);
            rename_link(link, names);
            rename_resume(resume, names);
        }
        State::Replaying { outage, link, resume, replay: _, pause: Some(pause) } => {
            rename_outage(outage, longest, names);
            rename_link(link, names);
            rename_resume(resume, names);
            rename_pause(pause, longest, names);
        }
        State::Sharing { link } | State::Leaving { link, step: _ } => rename_link(link, names),
        State::Draining { link, pause }
        | State::Flushing { link, pause }
        | State::Paused { link, pause } => {
            rename_link(link, names);
            rename_pause(pause, longest, names);
        }
    }
}

fn rename_outage(outage: &mut Outage, longest: Duration, names: &mut impl Renaming) {
    let Outage {
        why: _,
        since,
        deadline,
        expiry: _,
        back_by,
        gentle_until,
        marks,
        waited,
        attempts,
    } = outage;
    *since = names.ago(*since, longest);
    *deadline = deadline.map(|at| names.deadline(at));
    // It is only shown.
    *back_by = None;
    *gentle_until = names.deadline(*gentle_until);
    *marks = Marks::default();
    *waited = Duration::ZERO;
    // Whether there was one is all that a wait of a second or more can tell.
    *attempts = (*attempts).min(1);
}

fn rename_link(link: &mut Link, names: &mut impl Renaming) {
    let Link { conn, beat, version: _, incarnation: _, held } = link;
    *conn = names.conn(*conn);
    beat.rename(names);
    if let Some(held) = held {
        let super::Held { since, until, reason: _, path: _ } = held;
        *since = names.ago(*since, Duration::ZERO);
        *until = names.deadline(*until);
    }
}

fn rename_resume(resume: &mut Resume, names: &mut impl Renaming) {
    let Resume { by, probe } = resume;
    *by = names.deadline(*by);
    match probe {
        Probe::Sent(token) => *token = names.ping(*token),
        Probe::NotYet | Probe::Answered => {}
    }
}

fn rename_pause(pause: &mut Pause, longest: Duration, names: &mut impl Renaming) {
    let Pause { restart: _, downtime: _, until, in_flight, progress_at, marks, before, reason: _ } =
        pause;
    *until = names.deadline(*until);
    // It is only said.
    *in_flight = 0;
    *progress_at = names.deadline(*progress_at);
    *marks = Marks::default();
    if let Some(outage) = before {
        rename_outage(outage, longest, names);
    }
}

impl Requests {
    fn rename(&mut self, names: &mut impl Renaming) {
        let Self {
            held,
            window,
            lowest,
            unsent,
            live: _,
            changing: _,
            coming: _,
            late: _,
            log,
            settled: _,
            own_flush: _,
            flush_failed: _,
            offer: _,
            heritage: _,
            shares: _,
        } = self;
        for Held { slot: _, ask: _, rest: _, since } in held {
            *since = names.ago(*since, Duration::ZERO);
        }
        let sent = window.iter_mut().flatten().chain(unsent.iter_mut());
        for Sent { origin: _, ask: _, rest: _, since, live: _, covers: _ } in sent {
            *since = names.ago(*since, Duration::ZERO);
        }
        if window.is_empty() && unsent.is_empty() && names.forgets_numbers() {
            *lowest = 1;
            log.forget_places();
        }
    }
}
