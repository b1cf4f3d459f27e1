//! Alerts of a target.

use super::{Alert, AlertKind, MISSED_MS, PATIENCE_MS};
use crate::restart::RestartPhase;
use crate::status::{SessionPhase, TargetStatus};

/// Each finds what there is of one kind at the moment `at`, in Unix milliseconds.
const RULES: &[fn(&TargetStatus, u64, &mut Vec<Alert>)] =
    &[not_serving, state_not_written, faulted, question, not_ready, reserved, missed, agentless];

/// All of a target.
pub(super) fn alerts(of: &TargetStatus, at: u64, all: &mut Vec<Alert>) {
    RULES.iter().for_each(|rule| rule(of, at, all));
}

fn not_serving(of: &TargetStatus, _at: u64, all: &mut Vec<Alert>) {
    all.extend(of.trouble.as_ref().map(|fault| Alert {
        kind: AlertKind::NotServing,
        since: fault.since,
        text: format!("cannot serve: {}", fault.why),
        next: "mend that; it is tried again every second, and initiators hold".to_owned(),
        ..Alert::default()
    }));
}

fn state_not_written(of: &TargetStatus, _at: u64, all: &mut Vec<Alert>) {
    all.extend(of.state_fault.as_ref().map(|fault| {
        Alert {
            kind: AlertKind::StateNotWritten,
            since: fault.since,
            text: format!("its state cannot be written: {}", fault.why),
            next:
                "free space there or mend its file system: until then nobody new is let in, and no \
               restart is begun"
                    .to_owned(),
            ..Alert::default()
        }
    }));
}

fn faulted(of: &TargetStatus, at: u64, all: &mut Vec<Alert>) {
    all.extend(of.resources.iter().filter_map(|resource| {
        Some(Alert {
            kind: AlertKind::Faulted,
            resource: Some(resource.name.clone()),
            // It says no time of its own.
            since: resource.waits_for.as_ref().map_or(at, |wait| wait.since),
            text: format!("serves nobody: {}", resource.faulted.as_ref()?),
            next: match resource.engine.as_str() {
                // What lies on another target's is mended by a word.
                "lull" => format!(
                    "see at {} why; where it is right, start this target once with `--adopt {}`",
                    resource.backend, resource.name
                ),
                _ => format!("mend {}, then restart the target", resource.backend),
            },
            ..Alert::default()
        })
    }));
}

fn question(of: &TargetStatus, _at: u64, all: &mut Vec<Alert>) {
    let question = of.restart.as_ref().and_then(|restart| restart.question.as_ref());
    all.extend(question.map(|question| Alert {
        kind: AlertKind::Question,
        since: question.since,
        text: "a restart waits for an answer, and is aborted without one".to_owned(),
        next: "answer where the restart was ordered, or `lull abort`".to_owned(),
        ..Alert::default()
    }));
}

fn not_ready(of: &TargetStatus, at: u64, all: &mut Vec<Alert>) {
    let pauses = |phase| matches!(phase, RestartPhase::Pausing | RestartPhase::Asking);
    let Some(restart) = of.restart.as_ref().filter(|restart| pauses(restart.phase)) else { return };
    // The pause began before the question.
    let since = restart.waits.iter().map(|wait| wait.since).min().unwrap_or(restart.phase_since);
    if at.saturating_sub(since) < PATIENCE_MS {
        return;
    }
    all.extend(restart.waits.iter().map(|wait| Alert {
        kind: AlertKind::NotReady,
        node: Some(wait.for_whom.clone()),
        since,
        text: format!("restart {} waits for it to {}", restart.id, wait.what),
        next: format!(
            "look at lull status on {}; `lull abort` gives the restart up",
            wait.for_whom
        ),
        ..Alert::default()
    }));
}

fn reserved(of: &TargetStatus, at: u64, all: &mut Vec<Alert>) {
    let lost = of.initiators.iter().filter(|session| session.phase == SessionPhase::Lost);
    let lost = lost.filter(|session| at.saturating_sub(session.since) >= PATIENCE_MS);
    all.extend(lost.map(|session| {
        let (node, resource) = (&session.initiator, &session.resource);
        Alert {
            kind: AlertKind::Reserved,
            node: Some(node.clone()),
            resource: Some(resource.clone()),
            since: session.since,
            text: "lost; its place stays reserved for it".to_owned(),
            next: format!(
                "bring it back; or, if it is gone for good, `lull evict {node} --resource \
                 {resource}` ends that and declares its unflushed writes lost"
            ),
            ..Alert::default()
        }
    }));
}

fn missed(of: &TargetStatus, at: u64, all: &mut Vec<Alert>) {
    all.extend(of.resources.iter().filter_map(|resource| {
        let missed = resource.last_missed.as_ref()?;
        (at.saturating_sub(missed.at) < MISSED_MS).then(|| Alert {
            kind: AlertKind::Missed,
            node: Some(missed.initiator.clone()),
            resource: Some(resource.name.clone()),
            since: missed.at,
            text: "was not back in time: the other sharers went on without what it had unanswered"
                .to_owned(),
            next: "see to it; it may come again, as a new one".to_owned(),
            ..Alert::default()
        })
    }));
}

fn agentless(of: &TargetStatus, _at: u64, all: &mut Vec<Alert>) {
    let mut names: Vec<_> = of.agentless.iter().map(|client| &client.resource).collect();
    names.sort();
    names.dedup();
    all.extend(names.into_iter().map(|name| {
        let here = || of.agentless.iter().filter(|client| client.resource == *name);
        let count = here().count();
        let clients = if count == 1 { "client" } else { "clients" };
        Alert {
            kind: AlertKind::Agentless,
            resource: Some(name.clone()),
            since: here().map(|client| client.since).min().unwrap_or(0),
            text: format!("{count} {clients} without an agent: a restart cuts them off"),
            next: "before a restart end them, or attach them with `lull attach`".to_owned(),
            ..Alert::default()
        }
    }));
}
