//! How the target stands, as a document.

use crate::chronicle::{because, lingering, not_ready};
use crate::daemon::{Agent, Core, Daemon, Plan, Shared, access};
use lull_admin::{
    Access, AgentlessStatus, Fault, InitiatorStatus, NotReady, Question as AdminQuestion,
    RecordRow, ResourceStatus, RestartPhase, RestartRow, RestartStatus, RowPhase, SessionPhase,
    SessionStatus, Status, TargetPhase, TargetStatus, Wait,
};
use lull_proto::target::{
    self, Entry, Holder, OnTimeout, Phase, Progress, Question, ResourceIndex, Row, RowState, Seat,
    SessionState,
};
use lull_proto::{MonoTime, Never};
use lull_wire::{AttachmentId, Features};
use std::time::Duration;

impl Daemon {
    /// The document of this moment.
    pub(crate) fn status(&self) -> Status {
        let now = self.clock.now();
        let core = self.core.borrow();
        let (node, instance) = (self.config.node.clone(), core.instance.clone());
        let names = self.resource_names();
        let target = TargetStatus {
            name: node.clone(),
            instance,
            phase: target_phase(&core),
            listen: self.config.listen.iter().map(ToString::to_string).collect(),
            nbd: self.config.nbd.iter().map(ToString::to_string).collect(),
            resources: self.resources(&core, now),
            initiators: core.machine.seats().map(|seat| self.session(&core, seat)).collect(),
            agentless: self.agentless(&core),
            restart: self.restart_status(&core, now, &names),
            waits: self.going(&core).into_iter().chain(self.outcomes(&core)).collect(),
            state_fault: core.store.fault().map(|fault| Fault {
                why: format!("{}: {}", self.config.state_dir.display(), fault.why),
                ..fault
            }),
            trouble: None,
        };
        Status {
            name: node,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.clock.unix_ms(core.since),
            at: self.clock.unix_ms(now),
            target: Some(target),
            initiator: self.as_initiator(&core),
            alerts: Vec::new(),
        }
        .with_alerts()
    }

    /// This node as a user of other targets' resources, where its own rest on such.
    fn as_initiator(&self, core: &Core) -> Option<InitiatorStatus> {
        let attachments: Vec<_> = self.chains.iter().map(|(_, chain)| chain.status()).collect();
        (!attachments.is_empty()).then(|| InitiatorStatus {
            name: self.config.node.clone(),
            instance: core.instance.clone(),
            footing: None,
            attachments,
        })
    }

    /// Tells of what is wrong, once, and of what is not any more. The document is made only where something may be:
    /// a target of many sessions looks every second.
    pub(crate) fn look(&self) {
        {
            let core = &mut *self.core.borrow_mut();
            core.keeping.again(self.clock.now(), &self.shared, &core.store);
        }
        let told = {
            let core = self.core.borrow();
            let lost = |seat: &Seat| !matches!(seat.holder, Holder::Taken(_));
            !core.alerts.is_empty()
                || !matches!(core.machine.phase(), Phase::Serving)
                || !core.agentless.is_empty()
                || !core.missed.is_empty()
                || core.store.fault().is_some()
                || core.machine.seats().any(lost)
                || self.chains.iter().any(|(_, chain)| chain.may_alert())
        };
        if told {
            let status = self.status();
            let core = &mut *self.core.borrow_mut();
            let events = core.alerts.compare(&status.name, status.at, &status.alerts);
            events.into_iter().for_each(|event| core.chronicle.warn(event));
        }
    }

    /// What a target waits for that would go.
    fn going(&self, core: &Core) -> Option<Wait> {
        let Phase::Leaving { restart } = core.machine.phase() else { return None };
        let (sessions, agentless) = core.machine.still_here();
        Some(Wait {
            for_whom: "the disks".to_owned(),
            what: lingering(&sessions, agentless),
            since: self.clock.unix_ms(restart.since),
            ..Wait::default()
        })
    }

    /// Outcomes of sharers that are not stored, where changes of others wait for that [SAFE-11].
    fn outcomes(&self, core: &Core) -> impl Iterator<Item = Wait> {
        let places = self.shared.iter().enumerate();
        let wait = |(place, shared): (usize, &Shared)| {
            let since = core.keeping.since(ResourceIndex(place))?;
            let waiting = shared.sharers.waiting();
            let changes =
                if waiting == 1 { "1 change waits" } else { &format!("{waiting} changes wait") };
            (waiting > 0).then(|| Wait {
                for_whom: "the state".to_owned(),
                what: format!("keep what others' changes of {} came to: {changes}", shared.name),
                since: self.clock.unix_ms(since),
                ..Wait::default()
            })
        };
        places.filter_map(wait)
    }

    fn resources(&self, core: &Core, now: MonoTime) -> Vec<ResourceStatus> {
        let mut held_by = vec![Vec::new(); self.shared.len()];
        for Seat { entry, .. } in core.machine.seats() {
            let access = granted(core, entry);
            held_by[entry.resource.0].push(format!("{} {access}", entry.node));
        }
        let known = core.machine.resources().iter().zip(self.shared.iter()).zip(held_by);
        known
            .enumerate()
            .map(|(place, ((resource, shared), held_by))| ResourceStatus {
                name: shared.name.clone(),
                backend: shared.backend.describe(),
                engine: shared.backend.engine().to_owned(),
                size: resource.geometry.size,
                path: resource.path.as_slice().iter().map(ToString::to_string).collect(),
                incarnation: resource.incarnation.to_string(),
                tenure: resource.tenure.0,
                held_by,
                flushes: shared.toll.flushes(),
                durable_writes: shared.toll.durable(),
                full: shared.toll.full(),
                missed: core.missed.get(&ResourceIndex(place)).map_or(0, |(count, _)| *count),
                last_missed: core.missed.get(&ResourceIndex(place)).map(|(_, last)| last.clone()),
                faulted: lost_above(core, place),
                waits_for: self
                    .closed(core, resource)
                    .or_else(|| self.below(shared, now))
                    .or_else(|| self.doubted(core, shared)),
            })
            .collect()
    }

    /// Whom the sharers of a resource wait for [RESUME-2].
    fn closed(&self, core: &Core, resource: &target::Resource) -> Option<Wait> {
        let place = core.machine.resources().iter().position(|one| one.name == resource.name)?;
        let closed = core.machine.closed(target::ResourceIndex(place))?;
        let names: Vec<_> = closed.missing.iter().map(|seat| seat.entry.node.to_string()).collect();
        let since = closed.missing.iter().map(|seat| seat.since).min().unwrap_or(core.since);
        Some(Wait {
            for_whom: if names.is_empty() { "the state".to_owned() } else { names.join(", ") },
            what: if names.is_empty() {
                "be written".to_owned()
            } else {
                "send again what is unanswered".to_owned()
            },
            since: self.clock.unix_ms(since),
            deadline: closed.until.map(|until| self.clock.unix_ms(until)),
            then: "let the other sharers go on without it".to_owned(),
            ..Wait::default()
        })
    }

    /// Whom a resource waits for that rests on somebody else's.
    fn below(&self, shared: &Shared, now: MonoTime) -> Option<Wait> {
        let waiting = shared.backend.waiting()?;
        let elapsed = waiting.elapsed.as_millis() as u64;
        Some(Wait {
            for_whom: waiting.for_whom,
            what: waiting.what,
            since: self.clock.unix_ms(now).saturating_sub(elapsed),
            ..Wait::default()
        })
    }

    /// Sharers that are away with something to send again, over which the others cannot write until then [SAFE-11].
    fn doubted(&self, core: &Core, shared: &Shared) -> Option<Wait> {
        let away = shared.sharers.away();
        let seats = || core.machine.seats().filter(|seat| away.contains(&seat.entry.attachment));
        let names: Vec<_> = seats().map(|seat| seat.entry.node.to_string()).collect();
        Some(Wait {
            since: self.clock.unix_ms(seats().map(|seat| seat.since).min()?),
            for_whom: names.join(", "),
            what: "send again what was not executed".to_owned(),
            ..Wait::default()
        })
    }

    /// The clients without an agent.
    pub(crate) fn agentless(&self, core: &Core) -> Vec<AgentlessStatus> {
        let status = |agent: &Agent| AgentlessStatus {
            peer: agent.client.peer.clone(),
            resource: self.shared(agent.resource).name.clone(),
            access: if agent.read_only { Access::Ro } else { Access::Rw },
            since: agent.since,
            in_flight: agent.client.gauge.in_flight() as u64,
            thread: agent.client.thread as u64,
        };
        core.agentless.values().map(status).collect()
    }

    fn session(&self, core: &Core, seat: &Seat) -> SessionStatus {
        let entry = &seat.entry;
        let resource = self.shared(entry.resource).name.clone();
        let mut status = SessionStatus {
            initiator: entry.node.to_string(),
            attachment: resource.clone(),
            resource,
            access: granted(core, entry),
            phase: SessionPhase::Lost,
            since: self.clock.unix_ms(seat.since),
            epoch: entry.epoch.0,
            instance: entry.instance.to_string(),
            hold_ms: (entry.hold != Duration::MAX).then_some(entry.hold.as_millis() as u64),
            ..SessionStatus::default()
        };
        let Holder::Taken(conn) = seat.holder else {
            status.waits_for = Some(Wait {
                for_whom: entry.node.to_string(),
                what: "come back".to_owned(),
                since: status.since,
                deadline: seat.until().map(|until| self.clock.unix_ms(until)),
                then: "let another writer in".to_owned(),
                ..Wait::default()
            });
            return status;
        };
        if let Some(link) = core.connections.get(&conn) {
            status.peer.clone_from(&link.peer);
            status.in_flight = link.gauge.in_flight() as u64;
            status.thread = link.thread as u64;
        }
        status.phase = match core.machine.session(conn) {
            Some(SessionState::Arriving { .. }) => SessionPhase::Replaying,
            // It waits for others, whom the resource's status names.
            Some(SessionState::Ready { .. }) => SessionPhase::Attaching,
            Some(SessionState::Sharing { .. }) => SessionPhase::Sharing,
            Some(SessionState::Asked { progress, .. }) => {
                let told = progress.unwrap_or_default();
                status.in_flight = u64::from(told.in_flight);
                status.oldest_ms = told.oldest.as_millis() as u64;
                status.unflushed = told.unflushed;
                status.waits_for = core.machine.phase().restart().map(|restart| Wait {
                    for_whom: entry.node.to_string(),
                    what: "complete the pause".to_owned(),
                    since: self.clock.unix_ms(restart.since),
                    deadline: pause_deadline(core).map(|until| self.clock.unix_ms(until)),
                    then: at_pause_end(core).to_owned(),
                    ..Wait::default()
                });
                if told.in_flight == 0 && progress.is_some() {
                    SessionPhase::Flushing
                } else {
                    SessionPhase::Draining
                }
            }
            Some(SessionState::Complete { .. }) => SessionPhase::Paused,
            Some(SessionState::Closing { .. } | SessionState::Detaching { .. }) => {
                SessionPhase::Disconnected
            }
            Some(
                SessionState::Accepted { .. }
                | SessionState::Greeted { .. }
                | SessionState::Fencing { .. }
                | SessionState::Recording { .. },
            )
            | None => SessionPhase::Attaching,
        };
        status.since = match status.phase {
            SessionPhase::Draining | SessionPhase::Flushing => asked(core),
            SessionPhase::Paused => completed(core, &entry.attachment),
            SessionPhase::Sharing => resumed(core).filter(|at| *at > status.since),
            _ => None,
        }
        .unwrap_or(status.since);
        status
    }

    fn restart_status(
        &self,
        core: &Core,
        now: MonoTime,
        names: &[String],
    ) -> Option<RestartStatus> {
        let record = core.chronicle.current()?;
        let span = record.phases.last();
        let phase = span.map_or(RestartPhase::StartingSuccessor, |span| span.phase);
        let now_rows = core.machine.rows(now);
        let rows = if core.chronicle.is_returning() {
            record.rows.iter().map(returned_row).collect()
        } else {
            let recorded = |row: &Row| core.chronicle.recorded(&row.entry.attachment);
            now_rows.iter().map(|row| self.row(now, recorded(row), row, names)).collect()
        };
        let deadline = if core.chronicle.is_returning() {
            core.chronicle.deadline()
        } else {
            pause_deadline(core)
        };
        let machine_phase = core.machine.phase();
        let pausing = matches!(machine_phase, Phase::Pausing { .. });
        let late = match pausing {
            true => not_ready(&now_rows, names, now, &self.clock),
            false => core.chronicle.storage_late(machine_phase),
        };
        let question = match machine_phase.question() {
            Some(Question::Open(until)) => Some(AdminQuestion {
                since: span.map_or(0, |span| span.start),
                deadline: self.clock.unix_ms(until),
                not_ready: late.clone(),
            }),
            Some(Question::NotYet(_)) | None => None,
        };
        let waits = |late: NotReady| Wait {
            for_whom: late.initiator,
            what: match (pausing, &*late.attachment) {
                (true, _) => format!("complete the pause ({})", late.because),
                (false, "") => format!("write its state ({})", late.because),
                (false, disk) => format!("make \"{disk}\" durable ({})", late.because),
            },
            since: record.started,
            deadline: deadline.map(|until| self.clock.unix_ms(until)),
            then: at_pause_end(core).to_owned(),
            ..Wait::default()
        };
        let waits = late.into_iter().map(waits).collect();
        Some(RestartStatus {
            id: record.id,
            kind: record.kind,
            reason: record.reason.clone(),
            phase,
            started: record.started,
            phase_since: span.map_or(record.started, |span| span.start),
            deadline: deadline.map(|until| self.clock.unix_ms(until)),
            question,
            waits,
            rows,
        })
    }

    fn row(
        &self,
        now: MonoTime,
        recorded: Option<&RecordRow>,
        row: &Row,
        names: &[String],
    ) -> RestartRow {
        let resource = names[row.entry.resource.0].clone();
        let initiator = row.entry.node.to_string();
        let told = |progress: Option<Progress>| progress.unwrap_or_default();
        let (phase, told) = match row.state {
            RowState::Sharing => (RowPhase::Sharing, told(None)),
            RowState::Draining(None) => (RowPhase::Asked, told(None)),
            RowState::Draining(Some(said)) if said.in_flight == 0 => (RowPhase::Flushing, said),
            RowState::Draining(Some(said)) => (RowPhase::Draining, said),
            RowState::Complete(proof) => {
                (RowPhase::Paused, Progress { unflushed: proof.retained, ..Progress::default() })
            }
            RowState::Lost { .. } => (RowPhase::Lost, told(None)),
        };
        RestartRow {
            initiator,
            attachment: resource.clone(),
            resource,
            phase,
            in_flight: u64::from(told.in_flight),
            oldest_ms: told.oldest.as_millis() as u64,
            unflushed: told.unflushed,
            pause_complete_ms: recorded.and_then(|row| row.pause_complete_ms),
            not_completed_because: (phase != RowPhase::Paused)
                .then(|| because(&row.state, now, &self.clock)),
            stall_ms: recorded.and_then(|row| row.stall_ms),
        }
    }
}

/// What has become of a resource that lies on another target's, where no time brings it back [SAFE-5].
fn lost_above(core: &Core, place: usize) -> Option<String> {
    let hold = core.machine.hold(target::ResourceIndex(place))?;
    let whom = hold.path.as_slice().last()?;
    (hold.never == Some(Never::Fenced)).then(|| format!("{whom} {}", hold.reason))
}

fn returned_row(row: &RecordRow) -> RestartRow {
    RestartRow {
        initiator: row.initiator.clone(),
        attachment: row.attachment.clone(),
        resource: row.resource.clone(),
        phase: if row.resumed_ms.is_some() { RowPhase::Resumed } else { RowPhase::Away },
        pause_complete_ms: row.pause_complete_ms,
        not_completed_because: row.not_completed_because.clone(),
        stall_ms: row.stall_ms,
        ..RestartRow::default()
    }
}

/// When PAUSE was sent, in Unix milliseconds.
fn asked(core: &Core) -> Option<u64> {
    let phases = &core.chronicle.current()?.phases;
    phases.iter().find(|span| span.phase == RestartPhase::Pausing).map(|span| span.start)
}

/// When its PAUSE COMPLETE came, in Unix milliseconds.
fn completed(core: &Core, attachment: &AttachmentId) -> Option<u64> {
    Some(asked(core)? + core.chronicle.recorded(attachment)?.pause_complete_ms?)
}

/// When the last pause ended that no restart followed, in Unix milliseconds.
fn resumed(core: &Core) -> Option<u64> {
    let record = core.chronicle.last()?;
    let paused = record.phases.iter().any(|span| span.phase == RestartPhase::Pausing);
    let restarted = record.phases.last().is_some_and(|span| span.phase == RestartPhase::Resuming);
    record.ended.filter(|_| paused && !restarted)
}

fn pause_deadline(core: &Core) -> Option<MonoTime> {
    core.machine.phase().question().map(Question::until)
}

/// What an initiator may do: who asked to write reads where the resource is read-only by itself.
fn granted(core: &Core, entry: &Entry) -> Access {
    match core.machine.resources()[entry.resource.0].geometry.features.has(Features::READ_ONLY) {
        true => Access::Ro,
        false => access(entry.access),
    }
}

/// What follows the pause timer.
fn at_pause_end(core: &Core) -> &'static str {
    let phase = core.machine.phase();
    let Some(restart) = phase.restart() else { return "" };
    let asked = matches!(phase.question(), Some(Question::Open(_)));
    match (restart.order.unstoppable, asked, restart.order.on_timeout) {
        // Its clean record is taken back, whatever the choice is.
        _ if matches!(phase, Phase::Revoking { .. }) => "try again",
        // Nobody is paused yet: it is given up, whatever the choice is.
        (false, ..) if matches!(phase, Phase::Intending { .. }) => "abort the restart",
        (true, _, _) | (_, false, OnTimeout::Proceed) => "proceed without it",
        (_, true, _) | (_, _, OnTimeout::Abort) => "abort the restart",
        (_, _, OnTimeout::Ask) => "ask the operator",
        (_, _, OnTimeout::Wait) => "wait on",
    }
}

fn target_phase(core: &Core) -> TargetPhase {
    if core.starting.is_some() && core.plan == Plan::HandOver {
        return TargetPhase::StartingSuccessor;
    }
    match core.machine.phase() {
        Phase::Serving if core.chronicle.is_returning() => TargetPhase::Resuming,
        Phase::Serving => TargetPhase::Serving,
        Phase::Intending { .. } | Phase::Pausing { .. } => TargetPhase::Pausing,
        Phase::Settling { .. } | Phase::Sealing { .. } | Phase::Revoking { .. } => {
            TargetPhase::Settling
        }
        Phase::Quiet { .. } => TargetPhase::Paused,
        Phase::Leaving { .. } | Phase::Down { .. } => TargetPhase::Down,
    }
}
