//! How attachments stand, for people.

use lull_admin::{
    AttachmentPhase, AttachmentStatus, Fault, HookOutcome, HookStatus, Outage, RetainingStatus,
    ShutdownPhase, ShutdownStatus, TimeoutPolicy, Wait,
};
use lull_proto::initiator::{self as proto, Course, End, Expiry, Phase, Stage, View, Why};

use crate::attachment::{Attachment, Core};
use crate::command::{Ending, Run};
use crate::config::Policy;
use crate::front_end as face;
use crate::state_writer::StateWriter;
use crate::vault::Guard;
use crate::wording;

impl Attachment {
    /// How it stands now.
    pub fn status(&self) -> AttachmentStatus {
        let clock = self.clock();
        let core = self.core.borrow();
        let view = core.machine.view(clock.now());
        let config = self.config();
        let served = self.face.served();
        let front_end = if served.is_empty() { face::named(config) } else { served };
        AttachmentStatus {
            name: config.name.clone(),
            uri: config.uri.to_string(),
            resource: config.uri.resource.clone(),
            target: core.told.target.clone(),
            front_end,
            clients: self.face.clients(),
            path: core.machine.path().as_slice().iter().map(ToString::to_string).collect(),
            phase: phase(&view),
            since: clock.wall_at(match (&view.outage, view.phase) {
                // Each dial is a phase of the machine's, and none for people.
                (Some(outage), Phase::Away | Phase::Dialling) => outage.since,
                // Nor is what the machine calls sharing one while everybody is held [TIMER-5].
                (_, Phase::Sharing) => {
                    view.held_by.as_ref().map_or(core.told.since, |held| held.since)
                }
                _ => core.told.since,
            }),
            access: self.access(core.geometry),
            size: core.geometry.map_or(0, |geometry| geometry.size),
            incarnation: view.incarnation.to_string(),
            epoch: view.epoch.0,
            in_flight: view.in_flight.into(),
            oldest_ms: u64::try_from(view.oldest.as_millis()).unwrap_or(u64::MAX),
            held: view.held.into(),
            unflushed: view.retained.1,
            retaining: RetainingStatus {
                changes: view.retained.0,
                counted: view.counted,
                bound: config.retain,
                own_flushes: core.told.tally.own_flushes,
                waited: core.told.tally.waited,
                replayed_changes: core.told.tally.replayed.0,
                replayed_bytes: core.told.tally.replayed.1,
                replay_faults: core.told.tally.faults,
            },
            replay_fault: core
                .told
                .replay_fault
                .as_ref()
                .map(|(since, why)| Fault { why: why.clone(), since: clock.wall_at(*since) }),
            full_at: core.told.full_at.map(|at| clock.wall_at(at)),
            outage: self.outage(&core, &view),
            held_above: view.held_by.as_ref().map(|held| Fault {
                since: clock.wall_at(held.since),
                why: format!("{}, which {}", wording::end_of(held), held.reason),
            }),
            missed_changes: core.told.missed_changes,
            missed: core.told.missed.clone(),
            // Who cannot be reached refuses nothing.
            refused: core.told.refusal.clone().filter(|_| core.told.trouble.is_none()),
            log_fault: self.guard.borrow().as_ref().and_then(Guard::fault),
            log_lost: core.told.log_lost.clone(),
            device_waits: core.told.device_waits.clone(),
            state_fault: self.writer.borrow().as_ref().and_then(StateWriter::fault),
            longest_stall_ms: core.told.longest_stall_ms,
            errors: core.told.errors,
            hook: core.told.hook.as_ref().map(|run| self.hook(&run.borrow())),
            shutdown: self.shutdown(&core, &view),
            waits_for: self.waits_for(&core, &view),
        }
    }

    /// Whether anything may be wrong with it; cheaper than its status.
    pub fn may_alert(&self) -> bool {
        let core = self.core.borrow();
        core.told.phase != Phase::Sharing
            || core.told.shutdown.is_some()
            || core.told.log_lost.is_some()
            || self.guard.borrow().as_ref().is_some_and(|guard| guard.fault().is_some())
            || core.told.full_at.is_some()
            || core.told.device_waits.is_some()
            || core.told.missed.is_some()
            || core.machine.is_held_above()
            || self.writer.borrow().as_ref().is_some_and(|writer| writer.fault().is_some())
    }

    fn outage(&self, core: &Core, view: &View) -> Option<Outage> {
        let proto::Outage { why, since, deadline, expiry, back_by, .. } = *view.outage.as_ref()?;
        Some(Outage {
            why: wording::why(why, &core.told),
            since: self.clock().wall_at(since),
            deadline: deadline.map(|at| self.clock().wall_at(at)),
            expected: back_by.map(|at| self.clock().wall_at(at)),
            policy: match self.config().policy {
                Policy::Wait => TimeoutPolicy::Wait,
                Policy::Error => TimeoutPolicy::Error,
                Policy::Hook(_) => TimeoutPolicy::Hook,
                Policy::Shutdown { .. } => TimeoutPolicy::Shutdown,
            },
            expired: matches!(expiry, Expiry::Ran(_)),
        })
    }

    fn hook(&self, run: &Run) -> HookStatus {
        let (outcome, why) = match &run.ended {
            None => (HookOutcome::Running, None),
            Some((_, Ending::Done)) => (HookOutcome::Done, None),
            Some((_, Ending::Failed(how))) => (HookOutcome::Failed, Some(how.clone())),
        };
        HookStatus {
            command: run.command.clone(),
            since: self.clock().wall_at(run.since),
            ended: run.ended.as_ref().map(|(at, _)| self.clock().wall_at(*at)),
            outcome,
            why,
            output: run.output.iter().cloned().collect(),
        }
    }

    fn shutdown(&self, core: &Core, view: &View) -> Option<ShutdownStatus> {
        let shutdown = core.told.shutdown.as_ref()?;
        let stage = view.outage.as_ref().map(|outage| outage.expiry);
        let (phase, deadline) = match (shutdown.begun, self.made.host.descent()) {
            (true, Some(descent)) => (descent.phase, Some(descent.deadline)),
            (true, None) => (ShutdownPhase::Failed, None),
            (false, _) if stage == Some(Expiry::Ran(Course::ShuttingDown(Stage::Prepared))) => {
                (ShutdownPhase::Waiting, view.resume_by)
            }
            (false, _) => (ShutdownPhase::Preparing, shutdown.deadline),
        };
        Some(ShutdownStatus {
            phase,
            since: self.clock().wall_at(shutdown.since),
            deadline: deadline.map(|at| self.clock().wall_at(at)),
        })
    }

    /// [TIMER-5] Whom a hold waits for, since when, until when, and what comes then.
    fn waits_for(&self, core: &Core, view: &View) -> Option<Wait> {
        let clock = self.clock();
        if let Some(held) = &view.held_by {
            return Some(Wait {
                for_whom: wording::end_of(held),
                what: format!("take requests again: it {}", held.reason),
                since: clock.wall_at(held.since),
                // The span says how long it may last, not what would end it.
                ..Wait::default()
            });
        }
        let then = wording::then(self.config());
        let (what, deadline, then) = match view.phase {
            Phase::Idle | Phase::Sharing | Phase::Ended(_) => return None,
            Phase::Away | Phase::Dialling => {
                let proto::Outage { deadline, expiry, .. } = *view.outage.as_ref()?;
                let come_back =
                    if core.told.is_refused() { "let it in again" } else { "come back" };
                match (expiry, &core.told.shutdown) {
                    (Expiry::Running, _) => (come_back, deadline, then),
                    (Expiry::Ran(Course::ShuttingDown(Stage::Preparing)), Some(shutdown)) => {
                        (come_back, shutdown.deadline, then)
                    }
                    (Expiry::Due | Expiry::Ran(_), _) => (come_back, None, ""),
                }
            }
            Phase::Attaching => ("grant the attachment", view.resume_by, then),
            Phase::Replaying => ("answer what is sent again", view.resume_by, then),
            Phase::Ready => ("let it go on", view.resume_by, then),
            Phase::Draining => ("answer what is in flight", None, ""),
            Phase::Flushing => ("flush", None, ""),
            Phase::Paused => {
                ("restart", view.pause.map(|(_, until)| until), "take it for lost, and dial")
            }
            Phase::Detaching => ("answer what is in flight and let it go", None, ""),
        };
        Some(Wait {
            for_whom: core
                .told
                .target
                .clone()
                .unwrap_or_else(|| self.config().target().to_string()),
            what: what.to_owned(),
            since: clock.wall_at(view.outage.as_ref().map_or(core.told.since, |o| o.since)),
            deadline: deadline.map(|at| clock.wall_at(at)),
            then: if deadline.is_some() { then.to_owned() } else { String::new() },
            ..Wait::default()
        })
    }
}

fn phase(view: &View) -> AttachmentPhase {
    let outage = view.outage.as_ref();
    let outage = outage.map(|outage| (outage.why, matches!(outage.expiry, Expiry::Ran(_))));
    match (view.phase, outage) {
        (Phase::Idle, _) | (Phase::Away | Phase::Dialling, None | Some((Why::First, _))) => {
            AttachmentPhase::Dialling
        }
        (
            Phase::Away | Phase::Dialling | Phase::Attaching | Phase::Replaying | Phase::Ready,
            Some((_, true)),
        ) => AttachmentPhase::Expired,
        (Phase::Away | Phase::Dialling, Some((_, false))) => AttachmentPhase::Away,
        (Phase::Attaching, _) => AttachmentPhase::Attaching,
        (Phase::Replaying, _) => AttachmentPhase::Replaying,
        (Phase::Ready, _) => AttachmentPhase::Ready,
        (Phase::Sharing, _) if view.held_by.is_some() => AttachmentPhase::Held,
        (Phase::Sharing, _) => AttachmentPhase::Sharing,
        (Phase::Draining, _) => AttachmentPhase::Draining,
        (Phase::Flushing, _) => AttachmentPhase::Flushing,
        (Phase::Paused, _) => AttachmentPhase::Paused,
        (Phase::Detaching | Phase::Ended(End::Detached | End::Left), _) => {
            AttachmentPhase::Detached
        }
        (Phase::Ended(End::Refused | End::Fenced), _) => AttachmentPhase::Refused,
    }
}
