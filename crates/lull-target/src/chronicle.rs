//! What people are told: every transition as an event, and each restart's record, which goes on from the process that
//! began it to the one that ends it.

use crate::clock::Clock;
use crate::store::{Commit, Store};
use lull_admin::{
    Event, EventFeed, EventLog, EventPosition, Outcome, OutcomeKind, PhaseSpan, RecordRow,
    RestartKind, RestartPhase, RestartRecord,
};
use lull_proto::target::{Phase, Report, Resource, Row, RowState, Seat, Target, Why};
use lull_proto::{ConnId, MonoTime};
use lull_wire::AttachmentId;
use lull_wire::messages::Stall;
use std::collections::BTreeMap;
use std::time::Duration;

mod boot;
mod drawing;
mod refusals;
mod storage;
pub mod strangers;
#[cfg(test)]
mod tests;
mod words;

pub use boot::downtime as host_downtime;
use drawing::Peer;
use refusals::Refusals;
use storage::Unflushed;
use strangers::Seldom;
use words::say;
pub use words::{because, lingering, not_ready, plain};

/// How long a started target's record waits for those who have not come back.
const RETURN_LIMIT: Duration = Duration::from_secs(60);
/// How long a record waits for STALL once everybody is back: no initiator has to send it.
const STALL_LIMIT: Duration = Duration::from_secs(1);
/// The most messages and transitions that a record keeps: a target of a thousand initiators has more, and the first
/// thousands explain a restart.
const RECORD_LIMIT: usize = 4096;

/// The story of one life.
pub struct Chronicle {
    clock: Clock,
    node: String,
    log: EventLog,
    /// The restart under way, from its order to its outcome.
    current: Option<RestartRecord>,
    /// The one before: what it cost may be told after its outcome.
    last: Option<RestartRecord>,
    /// Who is at the other end of each connection, as far as it said so.
    peers: BTreeMap<ConnId, Peer>,
    /// This life is the second half of the current restart; its record is closed then at the latest.
    returning: Option<MonoTime>,
    /// An operator has said that what everybody is paused for is done.
    resumes: bool,
    /// What the current restart comes to, and why, where no decision of the machine says it.
    trouble: Option<(OutcomeKind, String)>,
    /// Somebody came back, or told what it cost: whether that was the last one is looked at once for many.
    news: bool,
    /// The restart before has learned something that is not on stable storage.
    unsaved: bool,
    /// The backends that a restart waits for.
    unflushed: Unflushed,
    refusals: Refusals,
    /// Connections of whoever never said its name, that broke.
    strangers: Seldom,
}

impl Chronicle {
    pub fn new(clock: Clock, node: &str, instance: &str) -> Self {
        let log = EventLog::new(node, instance);
        let node = node.to_owned();
        Self {
            clock,
            node,
            log,
            current: None,
            last: None,
            peers: BTreeMap::new(),
            returning: None,
            resumes: false,
            trouble: None,
            news: false,
            unsaved: false,
            unflushed: Unflushed::default(),
            refusals: Refusals::default(),
            strangers: Seldom::default(),
        }
    }

    pub fn feed(&self, after: Option<&EventPosition>) -> EventFeed {
        self.log.feed(after)
    }

    /// The restart that has no outcome yet.
    pub fn current(&self) -> Option<&RestartRecord> {
        self.current.as_ref()
    }

    /// The restart that had its outcome last, in this life.
    pub fn last(&self) -> Option<&RestartRecord> {
        self.last.as_ref()
    }

    /// The restart of this number, if it is the one under way or the one before: its record may not be on stable
    /// storage, which is what may have ended it.
    pub fn remembered(&self, id: u64) -> Option<&RestartRecord> {
        self.current.iter().chain(&self.last).find(|record| record.id == id)
    }

    /// The record as far as it is.
    pub fn record(&self) -> RestartRecord {
        self.current.clone().unwrap_or_default()
    }

    /// What the restart under way has of an attachment.
    pub fn recorded(&self, attachment: &AttachmentId) -> Option<&RecordRow> {
        let record = self.current.as_ref()?;
        record.rows.get(place_of(record, attachment)?)
    }

    pub fn is_returning(&self) -> bool {
        self.returning.is_some()
    }

    /// When the record is closed although somebody is not back.
    pub fn deadline(&self) -> Option<MonoTime> {
        self.returning
    }

    /// Tells a transition that belongs to no restart, or to the current one.
    pub fn tell(&mut self, now: MonoTime, subject: &str, what: &str, text: impl Into<String>) {
        let (subject, text) = (plain(subject), text.into());
        let event = Event::new(self.clock.unix_ms(now), subject, what, plain(&text));
        let event = match &self.current {
            Some(record) => event.in_restart(record.id),
            None => event,
        };
        let event = self.log.record(event);
        tracing::info!("{event}");
        if let Some(record) = &mut self.current
            && record.transitions.len() < RECORD_LIMIT
        {
            record.transitions.push(event);
        }
    }

    /// Tells what people have to know; a quiet daemon tells it too.
    pub fn warn(&mut self, event: Event) {
        let event = self.log.record(event);
        tracing::warn!("{event}");
    }

    /// A restart is ordered.
    pub fn begin(
        &mut self,
        now: MonoTime,
        id: u64,
        kind: RestartKind,
        reason: &str,
        machine: &Target,
        names: &[String],
    ) {
        let row = |seat: &Seat| RecordRow {
            initiator: seat.entry.node.to_string(),
            attachment: names[seat.entry.resource.0].clone(),
            id: seat.entry.attachment.to_string(),
            resource: names[seat.entry.resource.0].clone(),
            ..RecordRow::default()
        };
        self.returning = None;
        self.resumes = false;
        self.trouble = None;
        self.current = Some(RestartRecord {
            id,
            node: self.node.clone(),
            kind,
            reason: reason.to_owned(),
            started: self.clock.unix_ms(now),
            rows: machine.seats().map(row).collect(),
            ..RestartRecord::default()
        });
    }

    /// The next phase of the restart begins.
    pub fn phase(&mut self, now: MonoTime, phase: RestartPhase, text: impl Into<String>) {
        let at = self.clock.unix_ms(now);
        let Some(record) = &mut self.current else { return };
        if let Some(last) = record.phases.last_mut() {
            last.end = Some(at);
        }
        if phase != RestartPhase::Ended {
            record.phases.push(PhaseSpan { phase, start: at, end: None });
        }
        let node = self.node.clone();
        self.tell(now, &node, phase.as_str(), text);
    }

    /// The record that says that everybody completed and everything is durable [PAUSE-5].
    pub fn clean(&mut self, now: MonoTime) -> RestartRecord {
        self.phase(now, RestartPhase::Down, "everything is on stable storage");
        self.record()
    }

    /// The clean record taken back [PAUSE-6]; asked for again where it could not be stored, as the same phase.
    pub fn revoked(&mut self, now: MonoTime) -> RestartRecord {
        let last = self.current.as_ref().and_then(|record| record.phases.last());
        if last.is_none_or(|last| last.phase != RestartPhase::Settling) {
            self.phase(now, RestartPhase::Settling, "the restart is being given up");
        }
        self.record()
    }

    /// Every session is closed: the last that this life writes.
    pub fn down(&mut self, now: MonoTime, last_answer: MonoTime, store: &Store) {
        let last_answer = self.clock.unix_us(last_answer);
        if let Some(record) = &mut self.current {
            record.last_answer_us = Some(last_answer);
            record.boot = boot::this();
            if record.phases.last().is_none_or(|last| last.phase != RestartPhase::Down) {
                self.phase(now, RestartPhase::Down, "the clean record is left out");
            }
        }
        let node = self.node.clone();
        self.tell(now, &node, "down", "every session is closed");
        self.save(store);
    }

    pub fn save(&self, store: &Store) {
        if let Some(record) = &self.current {
            store.commit(None, vec![Commit::Restart(Box::new(record.clone()))]);
        }
    }

    /// A life begins that may be the second half of a restart; `trouble` says why that has failed all the same.
    pub fn resume(
        &mut self,
        now: MonoTime,
        mut record: RestartRecord,
        trouble: Option<String>,
        store: &Store,
    ) {
        // A clean record that was revoked is not the last phase; a life that was itself lost on its return is.
        let last = record.phases.last().map(|span| span.phase);
        let went_down = matches!(last, Some(RestartPhase::Down | RestartPhase::Resuming));
        record.rows.retain(|row| row.resumed_ms.is_none());
        let text = boot::back(&mut record);
        // A life that was lost on its return knew it, and has kept it for this one.
        record.trouble = trouble.or(record.trouble.take());
        let trouble = record.trouble.clone();
        self.current = Some(record);
        if went_down {
            self.returning = Some(now + RETURN_LIMIT);
            self.trouble = trouble.map(|why| (OutcomeKind::Failed, why));
            self.phase(now, RestartPhase::Resuming, text);
            self.save(store);
            self.check_returned(now, store);
        } else {
            self.failed(now, "the target was lost before the point of no return", store);
        }
    }

    /// Something went wrong on the restart's way; whatever ends it now, it has failed.
    pub fn trouble(&mut self, why: String) {
        self.comes_to(OutcomeKind::Failed, why);
    }

    /// Something that is nobody's decision ends the restart, with this outcome.
    pub fn comes_to(&mut self, outcome: OutcomeKind, why: String) {
        self.trouble.get_or_insert((outcome, why));
    }

    /// The restart came to nothing.
    pub fn failed(&mut self, now: MonoTime, why: &str, store: &Store) {
        self.finish(now, OutcomeKind::Failed, Some(why.to_owned()), store);
    }

    /// The restart was given up before anybody was paused; `outside`: what became of what was begun for it.
    pub fn given_up(&mut self, now: MonoTime, outside: Option<&str>, store: &Store) {
        let outside = outside.map(|what| format!("; {what}")).unwrap_or_default();
        let why = format!("an operator gave it up{outside}");
        let by_operator = true;
        let outcome = Outcome {
            kind: OutcomeKind::Aborted,
            why: Some(why),
            by_operator,
            ..Outcome::default()
        };
        self.comes_out(now, outcome, store);
    }

    fn finish(&mut self, now: MonoTime, kind: OutcomeKind, why: Option<String>, store: &Store) {
        self.comes_out(now, Outcome { kind, why, ..Outcome::default() }, store);
    }

    fn comes_out(&mut self, now: MonoTime, mut outcome: Outcome, store: &Store) {
        if let Some((kind, why)) = self.trouble.take() {
            (outcome.kind, outcome.why, outcome.by_operator) = (kind, Some(why), false);
        }
        let text = match &outcome.why {
            Some(why) => format!("{}: {why}", outcome.kind.as_str()),
            None => outcome.kind.as_str().to_owned(),
        };
        let ended = self.clock.unix_ms(now);
        if let Some(record) = &mut self.current {
            record.trouble = None;
            record.ended = Some(ended);
            record.outcome = Some(outcome);
        }
        self.phase(now, RestartPhase::Ended, text);
        self.save(store);
        self.last = self.current.take();
        self.returning = None;
    }

    pub fn tick(&mut self, now: MonoTime, store: &Store) {
        if self.returning.is_some_and(|until| until <= now) {
            let missing = self.awaited().join(", ");
            let why = format!("{missing} did not come back within {} s", RETURN_LIMIT.as_secs());
            self.end_return(now, (!missing.is_empty()).then_some(why), store);
        }
    }

    /// Who has not come back yet.
    pub fn awaited(&self) -> Vec<String> {
        let rows = self.current.iter().flat_map(|record| &record.rows);
        rows.filter(|row| row.resumed_ms.is_none()).map(|row| row.initiator.clone()).collect()
    }

    /// Another restart begins while some have not come back from this one: its record ends here.
    pub fn overtaken(&mut self, now: MonoTime, by: &str, store: &Store) {
        if self.returning.is_some() {
            let missing = self.awaited();
            let why = format!("{} had not come back when {by}", missing.join(", "));
            self.end_return(now, (!missing.is_empty()).then_some(why), store);
        }
    }

    /// Everybody is back: the record ends when each has told what it cost, or has had the time to.
    fn check_returned(&mut self, now: MonoTime, store: &Store) {
        let (Some(until), Some(record)) = (self.returning, &self.current) else { return };
        if record.rows.iter().any(|row| row.resumed_ms.is_none()) {
            return;
        }
        if record.rows.iter().all(|row| row.stall_ms.is_some()) {
            self.end_return(now, None, store);
        } else {
            self.returning = Some(until.min(now + STALL_LIMIT));
        }
    }

    fn end_return(&mut self, now: MonoTime, why: Option<String>, store: &Store) {
        if self.trouble.is_some() {
            return self.finish(now, OutcomeKind::Failed, None, store);
        }
        let Some(record) = &self.current else { return };
        let left: Vec<_> = record
            .rows
            .iter()
            .filter_map(|row| {
                Some(format!("{}: {}", row.initiator, row.not_completed_because.as_ref()?))
            })
            .collect();
        let kind = if left.is_empty() { OutcomeKind::Completed } else { OutcomeKind::Proceeded };
        let why = why.or_else(|| (!left.is_empty()).then(|| left.join("; ")));
        let outcome = Outcome { kind, why, not_ready: left, ..Outcome::default() };
        self.comes_out(now, outcome, store);
    }

    /// A connection was accepted: the first one ends the downtime.
    pub fn accepted(&mut self, now: MonoTime) {
        let at = self.clock.unix_us(now);
        if self.returning.is_some()
            && let Some(record) = &mut self.current
        {
            record.first_accept_us.get_or_insert(at);
        }
    }

    fn row(&mut self, attachment: &AttachmentId) -> Option<&mut RecordRow> {
        find_row(self.current.as_mut()?, attachment)
    }

    /// What an interruption cost: of the restart under way, or of the one that was just given up.
    fn stalled(&mut self, attachment: &AttachmentId, stall: &Stall) {
        let row = match (&mut self.current, &mut self.last) {
            (Some(record), _) => find_row(record, attachment),
            // Once: each is written to stable storage.
            (None, Some(record)) if record.id == stall.restart.0 => {
                find_row(record, attachment).filter(|row| row.stall_ms.is_none())
            }
            (None, _) => None,
        };
        let Some(row) = row else { return };
        row.stall_us = stall.longest_us;
        row.stall_ms = Some(stall.longest_us.div_ceil(1000));
        row.away_us = stall.away_us;
        row.resume_us = stall.resume_us;
        row.held = u64::from(stall.held);
        self.unsaved |= self.current.is_none();
    }

    /// What follows from a turn's news, once for all of it.
    pub fn turned(&mut self, now: MonoTime, store: &Store) {
        if std::mem::take(&mut self.news) {
            self.check_returned(now, store);
        }
        if std::mem::take(&mut self.unsaved)
            && let Some(record) = &self.last
        {
            store.commit(None, vec![Commit::Restart(Box::new(record.clone()))]);
        }
    }

    /// A transition of the machine.
    pub fn report(&mut self, now: MonoTime, machine: &Target, report: &Report, store: &Store) {
        let started = self.current.as_ref().map_or(0, |record| record.started);
        let at = self.clock.unix_ms(now);
        let since = at.saturating_sub(started);
        let phases = self.current.iter().flat_map(|record| &record.phases);
        let first = phases.into_iter().find(|span| span.phase == RestartPhase::Pausing);
        let paused = first.map_or(started, |span| span.start);
        match report {
            Report::Complete { attachment, proof } => {
                if let Some(row) = self.row(attachment) {
                    row.pause_complete_ms = Some(at.saturating_sub(paused));
                    row.in_flight_at_pause = u64::from(proof.in_flight_at_pause);
                    row.drain_us = u64::try_from(proof.drain.as_micros()).unwrap_or(u64::MAX);
                    row.flush_us = u64::try_from(proof.flush.as_micros()).unwrap_or(u64::MAX);
                }
            }
            Report::Leaving { rows, .. } => self.left_behind(now, rows),
            Report::Resumed { attachment, .. } if self.returning.is_some() => {
                if let Some(row) = self.row(attachment) {
                    row.resumed_ms = Some(since);
                }
            }
            Report::Stall { attachment, stall } => {
                self.stalled(attachment, stall);
            }
            Report::Detached { entry } | Report::Evicted { entry } => {
                if let Some(record) = &mut self.current {
                    let id = entry.attachment.to_string();
                    record.rows.retain(|row| row.id != id);
                }
            }
            _ => {}
        }
        self.enter(now, machine, report);
        if let Some((subject, what, text)) = say(report, machine, now, &self.clock)
            && self.refusals.are_news(now, report, &subject, &text)
        {
            // To the machine `lull resume` is a pause that is given up; nobody has ordered that.
            let resumes = matches!(report, Report::Decided { .. }) && self.is_resumed();
            let text = if resumes { "decided: resume".to_owned() } else { text };
            match (report, &self.trouble) {
                // What ends it is no operator's word.
                (Report::Decided { .. }, Some((_, why))) => {
                    let (node, text) = (self.node.clone(), format!("gives up: {why}"));
                    self.tell(now, &node, "given_up", text);
                }
                _ => self.tell(now, &subject, what, text),
            }
        }
        match report {
            Report::Aborted { why, rows, .. } => {
                let name = |resource: &Resource| resource.name.to_string();
                let names: Vec<_> = machine.resources().iter().map(name).collect();
                let late = match why {
                    Why::FlushLate => self.unflushed(),
                    Why::RecordLate => self.unwritten(),
                    _ if self.was_late(*why) => not_ready(rows, &names, now, &self.clock),
                    _ => Vec::new(),
                };
                let late: Vec<_> = late.iter().map(ToString::to_string).collect();
                if self.is_resumed() && *why == Why::Operator {
                    return self.finish(now, OutcomeKind::Completed, None, store);
                }
                let outcome = Outcome {
                    kind: OutcomeKind::Aborted,
                    why: Some(words::aborted(*why, &late)),
                    not_ready: late,
                    by_operator: *why == Why::Operator,
                };
                self.comes_out(now, outcome, store);
            }
            Report::Resumed { .. }
            | Report::Stall { .. }
            | Report::Detached { .. }
            | Report::Evicted { .. } => self.news = true,
            _ => {}
        }
    }

    /// `lull resume` was said: everybody goes on next.
    pub fn resumes(&mut self) {
        self.resumes = true;
    }

    /// Whether everybody was paused by `lull pause`, and its end is what was wanted. A restart of the host that is given up
    /// while all are paused is none.
    fn is_resumed(&self) -> bool {
        let kind = self.current.as_ref().map(|record| record.kind);
        let held = kind == Some(RestartKind::Pause) && self.present() == Some(RestartPhase::Paused);
        held && self.resumes
    }

    /// Whether a restart was given up because somebody was not ready: by a timer, or by who was asked.
    fn was_late(&self, why: Why) -> bool {
        why == Why::NotComplete
            || (why == Why::Operator && self.present() == Some(RestartPhase::Asking))
    }

    fn present(&self) -> Option<RestartPhase> {
        self.current.as_ref().and_then(|record| record.phases.last()).map(|span| span.phase)
    }

    /// The phases of the record follow the machine's.
    fn enter(&mut self, now: MonoTime, machine: &Target, report: &Report) {
        match report {
            Report::Pausing { rows, .. } => {
                self.phase(
                    now,
                    RestartPhase::Pausing,
                    format!(
                        "PAUSE to {} attachment{}",
                        rows.len(),
                        if rows.len() == 1 { "" } else { "s" }
                    ),
                );
            }
            Report::Asking { rows, .. } => {
                let late =
                    rows.iter().filter(|row| !matches!(row.state, RowState::Complete(_))).count();
                let text = match machine.phase() {
                    Phase::Pausing { .. } => format!("the pause timer ended, {late} not ready"),
                    _ => "the pause timer ended, and not everything is durable".to_owned(),
                };
                self.phase(now, RestartPhase::Asking, text);
            }
            Report::Decided { decision: lull_proto::target::Decision::Wait, .. } => {
                let phase = match machine.phase() {
                    Phase::Pausing { .. } => RestartPhase::Pausing,
                    _ => RestartPhase::Settling,
                };
                self.phase(now, phase, "waiting on");
            }
            Report::PausingAgain { .. } => {
                self.phase(now, RestartPhase::Pausing, "waiting for who came back");
            }
            Report::Settling { .. } => {
                self.phase(now, RestartPhase::Settling, "making everything durable")
            }
            Report::Quiet { .. } => {
                self.phase(now, RestartPhase::Paused, "all are paused and stay so")
            }
            _ => {}
        }
    }

    fn left_behind(&mut self, now: MonoTime, rows: &[Row]) {
        for row in rows {
            if matches!(row.state, RowState::Complete(_)) {
                continue;
            }
            let why = because(&row.state, now, &self.clock);
            if let Some(row) = self.row(&row.entry.attachment) {
                row.not_completed_because = Some(why);
            }
        }
    }
}

fn find_row<'a>(
    record: &'a mut RestartRecord,
    attachment: &AttachmentId,
) -> Option<&'a mut RecordRow> {
    let place = place_of(record, attachment)?;
    record.rows.get_mut(place)
}

/// Rows are in the order of the roster, which is that of the attachments' digits.
fn place_of(record: &RestartRecord, attachment: &AttachmentId) -> Option<usize> {
    let id = attachment.to_string();
    record.rows.binary_search_by(|row| row.id.cmp(&id)).ok()
}
