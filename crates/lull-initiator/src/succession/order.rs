//! An operator's order to replace this daemon, from its acceptance to its outcome.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use lull_admin::{
    ApiError, ErrorCode, Outcome, OutcomeKind, PhaseSpan, RecordRow, Reply, RestartKind,
    RestartOrder, RestartPhase, RestartRecord, RestartStarted,
};
use lull_proto::MonoTime;
use lull_transport::handover::{Successor, SuccessorError};

use super::announcement::{Announcement, VARIABLE};
use super::estate::{ADMIN, CALLBACK, Document, Estate, Payload};
use crate::attachment::Attachment;
use crate::daemon::{Daemon, News};

/// How long what is in flight may take to be answered, unless the order says otherwise. Then it is handed over
/// unanswered, where it may be.
const DRAIN: Duration = Duration::from_secs(5);
/// After so long a restart has its outcome although somebody's target is not back.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors that a life has to open when it begins, at most: its own, and of each attachment.
const ROOM: usize = 12;
const ROOM_EACH: usize = 9;
/// Restarts that are remembered, from process to process.
const MOST_REMEMBERED: usize = 16;

/// How far a restart has come in its own process.
#[derive(Debug)]
pub enum Step {
    /// The successor has checked itself, or there is none.
    Checked(Result<Box<Successor>, SuccessorError>),
    /// All is answered, or the time for that is over.
    Drained,
}

/// What this process does about a restart.
#[derive(Debug)]
pub enum Restarting {
    /// The successor starts.
    Starting {
        /// How long requests may take.
        drain: Duration,
    },
    /// Nothing is taken any more.
    Draining {
        /// Who waits.
        successor: Box<Successor>,
        /// Since when.
        since: MonoTime,
    },
    /// All is answered that could be: this process is to leave.
    Leaving {
        /// To whom.
        successor: Box<Successor>,
        /// Since when nothing was taken.
        since: MonoTime,
        /// What it takes with it.
        packed: Packed,
    },
}

/// Descriptors that are to be had before this process lets go of anything.
#[derive(Debug)]
pub struct Packed {
    /// For whoever goes on, by their names.
    fds: HashMap<String, OwnedFd>,
    /// Places for what whoever goes on has to open, which may be this process again.
    _room: Vec<OwnedFd>,
}

impl Daemon {
    /// Begins a restart, if nothing stands in the way.
    pub(crate) fn restart(&mut self, order: &RestartOrder, reply: Reply<RestartStarted>) {
        let started = self.may_restart(order).map(|()| self.start_restart(order));
        let _ = reply.send(started);
    }

    fn may_restart(&self, order: &RestartOrder) -> Result<(), ApiError> {
        order.check()?;
        if order.kind != RestartKind::Daemon {
            return Err(ApiError::new(
                ErrorCode::WrongRole,
                "a daemon that uses resources can only be replaced",
                format!(
                    "`lull restart initiator` does that; {} ends an attachment, SIGTERM the daemon",
                    self.attachments
                        .iter()
                        .map(|one| format!("`lull detach {}`", one.config().name))
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            ));
        }
        if self.restarting.is_some() || self.is_stopping() {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                "this daemon is being restarted or stopped already",
                "wait for it; `lull status` shows it",
            ));
        }
        let stays = self.attachments.iter().find_map(|one| {
            one.stays().map(|why| format!("attachment `{}` {why}", one.config().name))
        });
        match stays {
            None => Ok(()),
            Some(why) => Err(ApiError::new(
                ErrorCode::NotReady,
                why,
                "try again when that is over; `lull status` shows it",
            )),
        }
    }

    fn start_restart(&mut self, order: &RestartOrder) -> RestartStarted {
        // One that waits for a target still is over with the next order.
        self.conclude(OutcomeKind::Completed, Some("another restart was ordered".to_owned()));
        let id = self.restarts.last().map_or(0, |last| last.id) + 1;
        self.restarts.push(RestartRecord {
            id,
            node: self.node.clone(),
            kind: order.kind,
            reason: order.reason.clone(),
            started: self.clock.wall_ms(),
            ..RestartRecord::default()
        });
        let excess = self.restarts.len().saturating_sub(MOST_REMEMBERED);
        self.restarts.drain(..excess);
        let because = if order.reason.is_empty() { "" } else { ": " };
        let text = format!("this daemon is to be replaced{because}{}", order.reason);
        self.enter(RestartPhase::StartingSuccessor, text);
        let drain = order.pause_timeout_ms.map_or(DRAIN, Duration::from_millis);
        self.restarting = Some(Restarting::Starting { drain });
        let told = Announcement::of(
            self.attachments
                .iter()
                .map(|one| (one.config().name.as_str(), one.config().access, one.face.devices())),
        );
        let news = self.teller.clone();
        tokio::task::spawn_local(async move {
            let started = Successor::start(&[(VARIABLE, told)]).await;
            let _ = news.send(News::Restart(Step::Checked(started.map(Box::new))));
        });
        RestartStarted { id, initiators: Vec::new() }
    }

    /// A restart has come a step further. Whether this process is to leave now.
    pub(crate) async fn step(&mut self, step: Step) -> bool {
        match (step, self.restarting.take()) {
            (Step::Checked(Ok(successor)), Some(Restarting::Starting { drain })) => {
                self.drain(successor, drain);
                false
            }
            (Step::Checked(Err(error)), Some(Restarting::Starting { .. })) => {
                self.conclude(OutcomeKind::Aborted, Some(error.to_string()));
                false
            }
            (Step::Drained, Some(Restarting::Draining { successor, since })) => {
                self.drained(successor, since).await
            }
            // It was given up meanwhile.
            (Step::Checked(Ok(successor)), other) => {
                self.restarting = other;
                successor.end().await;
                false
            }
            (Step::Checked(Err(_)) | Step::Drained, other) => {
                self.restarting = other;
                false
            }
        }
    }

    fn drain(&mut self, successor: Box<Successor>, limit: Duration) {
        let text = "the new process is ready; nothing more is taken from consumers".to_owned();
        self.enter(RestartPhase::Pausing, text);
        let now = self.clock.now();
        let rows = self.attachments.iter().map(|one| {
            one.quiet();
            one.record_row(now)
        });
        let rows: Vec<RecordRow> = rows.collect();
        if let Some(record) = self.restarts.last_mut() {
            record.rows = rows;
        }
        self.restarting = Some(Restarting::Draining { successor, since: now });
        let (all, news) = (self.attachments.clone(), self.teller.clone());
        tokio::task::spawn_local(async move {
            let drained = async {
                for one in &all {
                    one.drained().await;
                }
            };
            let gone_on = tokio::time::timeout(limit, drained).await;
            tracing::debug!("drained in time: {}", gone_on.is_ok());
            let _ = news.send(News::Restart(Step::Drained));
        });
    }

    async fn drained(&mut self, successor: Box<Successor>, since: MonoTime) -> bool {
        // Somebody may have had it detached since the order, or it may have ended by itself.
        let why = |one: &Rc<Attachment>| one.lingers().or_else(|| one.stays());
        let lingers = self
            .attachments
            .iter()
            .filter_map(|one| why(one).map(|why| format!("{} {why}", one.config().name)));
        let lingers: Vec<_> = lingers.collect();
        if !lingers.is_empty() {
            self.give_up(successor, None, lingers).await;
            return false;
        }
        match self.pack() {
            Ok(packed) => {
                self.restarting = Some(Restarting::Leaving { successor, since, packed });
                true
            }
            Err(error) => {
                let why = format!(
                    "there are too few descriptors for a hand-over ({error}): raise the limit of open files \
                     (LimitNOFILE=), or let some clients go, and order it again"
                );
                self.give_up(successor, Some(why), Vec::new()).await;
                false
            }
        }
    }

    /// What only the system could refuse, while nobody is worse off for it.
    fn pack(&self) -> std::io::Result<Packed> {
        let mut fds = HashMap::new();
        fds.insert(ADMIN.to_owned(), self.admin_socket.try_clone()?.into());
        if let Some(door) = &self.door {
            fds.insert(CALLBACK.to_owned(), door.to_owned_fd()?);
        }
        self.attachments.iter().try_for_each(|one| one.pack(&mut fds))?;
        let places = ROOM + ROOM_EACH * self.attachments.len();
        let place = |_| self.admin_socket.as_fd().try_clone_to_owned();
        Ok(Packed { fds, _room: (0..places).map(place).collect::<Result<_, _>>()? })
    }

    async fn give_up(
        &mut self,
        successor: Box<Successor>,
        why: Option<String>,
        not_ready: Vec<String>,
    ) {
        for attachment in &self.attachments {
            attachment.go_on();
        }
        successor.end().await;
        if let Some(record) = self.restarts.last_mut() {
            record.outcome =
                Some(Outcome { kind: OutcomeKind::Aborted, not_ready, ..Outcome::default() });
        }
        self.conclude(OutcomeKind::Aborted, why);
    }

    /// The daemon is to end: a restart that has not left comes to nothing.
    pub(crate) async fn abort_restart(&mut self) {
        match self.restarting.take() {
            None => {}
            Some(Restarting::Starting { .. }) => {
                self.conclude(OutcomeKind::Aborted, Some("the daemon was told to end".to_owned()));
            }
            Some(
                Restarting::Draining { successor, .. } | Restarting::Leaving { successor, .. },
            ) => {
                let why = Some("the daemon was told to end".to_owned());
                self.give_up(successor, why, Vec::new()).await;
            }
        }
    }

    /// Takes everything out of this process: what it leaves, and for whom. `None`: nobody is there for it. From here to the
    /// end nothing can fail: what it leaves is whole, whoever is to have it.
    pub(crate) async fn part(mut self) -> Option<(Box<Successor>, Estate)> {
        let Some(Restarting::Leaving { successor, since, packed }) = self.restarting.take() else {
            return None;
        };
        let Packed { mut fds, _room } = packed;
        self.enter(RestartPhase::Down, "the new process takes over".to_owned());
        self.attachments.iter().for_each(|one| one.freeze());
        let (mut payload, mut left) = (Payload::default(), Vec::new());
        let mut blocks = HashMap::new();
        for attachment in std::mem::take(&mut self.attachments) {
            left.extend(attachment.part(since, &mut payload, &mut fds, &mut blocks).await);
        }
        let document = Document {
            clock: self.clock.began(),
            restarts: std::mem::take(&mut self.restarts),
            attachments: left,
        };
        // Answers that still leave are not waited for by consumers.
        tokio::spawn(self.admin.stop());
        Some((successor, Estate { document, payload, fds, blocks }))
    }

    /// This process has taken over, from another one or from itself, because `trouble` kept another one from it.
    pub(crate) fn resume_restart(&mut self, trouble: Option<String>) {
        match trouble {
            Some(why) => self.conclude(OutcomeKind::Failed, Some(why)),
            None => {
                self.enter(RestartPhase::Resuming, "this process serves".to_owned());
                self.settle_restart();
            }
        }
    }

    /// An attachment shares again.
    pub(crate) fn shares(&mut self, name: &str, stall: Duration) {
        let now = self.clock.wall_ms();
        let Some(record) = self.restarts.last_mut().filter(|one| one.outcome.is_none()) else {
            return;
        };
        let started = record.started;
        if let Some(row) = record.rows.iter_mut().find(|row| row.attachment == name)
            && row.resumed_ms.is_none()
        {
            row.resumed_ms = Some(now.saturating_sub(started));
            row.stall_us = u64::try_from(stall.as_micros()).unwrap_or(u64::MAX);
            row.stall_ms = Some(row.stall_us.div_ceil(1000));
        }
        self.settle_restart();
    }

    /// A restart is over when everybody shares who shared before, or after some time.
    pub(crate) fn settle_restart(&mut self) {
        let now = self.clock.wall_ms();
        let Some(record) = self.restarts.last().filter(|one| one.outcome.is_none()) else { return };
        let resuming = record.phases.last().filter(|span| span.phase == RestartPhase::Resuming);
        let Some(resuming) = resuming else { return };
        let awaited =
            |row: &&RecordRow| row.resumed_ms.is_none() && row.not_completed_because.is_none();
        let awaited: Vec<_> = record.rows.iter().filter(awaited).collect();
        let late = now.saturating_sub(resuming.start) > PATIENCE.as_millis() as u64;
        if awaited.is_empty() {
            self.conclude(OutcomeKind::Completed, None);
        } else if late {
            let names: Vec<_> = awaited.iter().map(|row| row.attachment.as_str()).collect();
            let why = format!("{} still waits for its target", names.join(", "));
            self.conclude(OutcomeKind::Completed, Some(why));
        }
    }

    fn enter(&mut self, phase: RestartPhase, text: String) {
        let now = self.clock.wall_ms();
        let Some(record) = self.restarts.last_mut() else { return };
        if let Some(last) = record.phases.last_mut() {
            last.end = Some(now);
        }
        if phase != RestartPhase::Ended {
            record.phases.push(PhaseSpan { phase, start: now, end: None });
        }
        let id = record.id;
        let event = self.chronicle.record(&self.node, phase.as_str(), text, Some(id));
        record.transitions.push(event);
    }

    /// The restart under way, if there is one, has its outcome.
    fn conclude(&mut self, kind: OutcomeKind, why: Option<String>) {
        let open = |record: &&mut RestartRecord| record.ended.is_none();
        let Some(record) = self.restarts.last_mut().filter(open) else { return };
        let outcome = record.outcome.get_or_insert_default();
        (outcome.kind, outcome.why) = (kind, why);
        let text = match (&outcome.why, outcome.not_ready.is_empty()) {
            (Some(why), _) => format!("{kind}: {why}"),
            (None, false) => format!("{kind}: {}", outcome.not_ready.join("; ")),
            (None, true) => kind.to_string(),
        };
        self.enter(RestartPhase::Ended, text);
        let now = self.clock.wall_ms();
        if let Some(record) = self.restarts.last_mut() {
            record.ended = Some(now);
        }
    }

    /// What is remembered of restarts; `id`: only that one.
    pub(crate) fn records(&self, id: Option<u64>) -> Vec<RestartRecord> {
        let wanted = self.restarts.iter().filter(|one| id.is_none_or(|id| one.id == id));
        wanted.cloned().collect()
    }
}

impl crate::attachment::Attachment {
    /// How it stands when a restart begins.
    fn record_row(self: &Rc<Self>, now: MonoTime) -> RecordRow {
        let core = self.core.borrow();
        let view = core.machine.view(now);
        let away = view.outage.is_some();
        RecordRow {
            initiator: self.node().to_owned(),
            attachment: self.config().name.clone(),
            id: self.made.kept.attachment.to_string(),
            resource: self.config().uri.resource.clone(),
            in_flight_at_pause: view.in_flight.into(),
            held: view.held.into(),
            not_completed_because: away.then(|| "its target was away".to_owned()),
            ..RecordRow::default()
        }
    }
}
