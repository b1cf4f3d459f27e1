//! `lull status` for people.

use std::fmt::Write as _;

use lull_admin::{
    AgentlessStatus, Alert, AttachmentStatus, HookOutcome, InitiatorStatus, Outage, ResourceStatus,
    RestartKind, RestartStatus, RetainingStatus, SessionPhase, SessionStatus, ShutdownPhase,
    Status, TargetPhase, TargetStatus, Wait, show_bytes,
};

use super::clock_time::Zone;
use super::live::{phase_words, what_it_is};
use super::table::{or_dash, within};
use crate::units::{counted, show_ms};

/// The whole document as text, each line with its end. `width`: the most characters of a line of a table.
pub fn status_text(status: &Status, zone: &Zone, width: Option<usize>) -> String {
    let mut text = String::new();
    if let Some(target) = &status.target {
        target_text(&mut text, status, target, zone, width);
    }
    if let Some(initiator) = &status.initiator {
        initiator_text(&mut text, status, initiator, zone, width);
    }
    text
}

fn age(status: &Status, since: u64) -> String {
    // A state that was left behind has no times.
    if since == 0 {
        return or_dash("").to_owned();
    }
    show_ms(status.at.saturating_sub(since))
}

fn process(status: &Status) -> String {
    match status.pid {
        0 => "not running".to_owned(),
        pid => format!("{}, process {pid}, up {}", status.version, age(status, status.since)),
    }
}

fn target_text(
    text: &mut String,
    status: &Status,
    target: &TargetStatus,
    zone: &Zone,
    width: Option<usize>,
) {
    let name = or_dash(&target.name);
    let _ = match status.pid {
        0 => writeln!(text, "target {name}: not running"),
        _ => writeln!(text, "target {name}: {} ({})", what_it_does(target.phase), process(status)),
    };
    if !target.listen.is_empty() {
        let _ = writeln!(text, "  listens on {}", target.listen.join(", "));
    }
    if !target.nbd.is_empty() {
        let _ = writeln!(text, "  without agent, over NBD, on {}", target.nbd.join(", "));
    }
    alerts(text, status, |alert| alert.attachment.is_none());
    resources(text, target, width);
    sessions(text, status, &target.initiators, width);
    agentless(text, status, target, width);
    let unsaid = |session: &&SessionStatus| !is_said(status, target, session);
    let session_waits = target.initiators.iter().filter(unsaid);
    let session_waits = session_waits.filter_map(|session| session.waits_for.as_ref());
    let resource_waits = target.resources.iter().filter_map(|one| one.waits_for.as_ref());
    let all: Vec<_> = target.waits.iter().chain(resource_waits).chain(session_waits).collect();
    if !all.is_empty() {
        text.push('\n');
        waits(text, status, all.into_iter());
    }
    if let Some(restart) = &target.restart {
        restart_text(text, status, restart, zone);
    }
}

/// Whether what is waited for from an initiator is told elsewhere: by the restart that it is to pause for, or, where it has
/// no end that would have to be told, by an alert.
fn is_said(status: &Status, target: &TargetStatus, session: &SessionStatus) -> bool {
    let Some(wait) = &session.waits_for else { return true };
    let mut in_restart = target.restart.iter().flat_map(|restart| &restart.waits);
    let by_restart =
        session.phase != SessionPhase::Lost && in_restart.any(|one| one.for_whom == wait.for_whom);
    let by_alert = status.alerts.iter().any(|alert| {
        alert.node.as_ref() == Some(&session.initiator)
            && alert.resource.as_ref() == Some(&session.resource)
    });
    by_restart || by_alert && wait.deadline.is_none()
}

fn what_it_does(phase: TargetPhase) -> &'static str {
    match phase {
        TargetPhase::StartingSuccessor => "starting its successor",
        phase => phase.as_str(),
    }
}

/// What the operator should look at first.
fn alerts(text: &mut String, status: &Status, of: impl Fn(&Alert) -> bool) {
    for alert in status.alerts.iter().filter(|alert| of(alert)) {
        let subject = alert.subject();
        let lasts = match alert.since {
            since if since < status.at => format!(" (for {})", age(status, since)),
            _ => String::new(),
        };
        let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        let _ = writeln!(text, "  ! {subject}{}{lasts}", alert.text);
        let _ = writeln!(text, "      next: {}", alert.next);
    }
}

fn resources(text: &mut String, target: &TargetStatus, width: Option<usize>) {
    if target.resources.is_empty() {
        return;
    }
    let heads = ["RESOURCE", "SIZE>", "BACKEND", "HELD BY~", "INCARNATION", "ENGINE"];
    let row = |resource: &ResourceStatus| {
        let held = match &resource.faulted {
            // An alert says why.
            Some(_) => "faulted".to_owned(),
            None => or_dash(&resource.held_by.join(", ")).to_owned(),
        };
        vec![
            resource.name.clone(),
            show_bytes(resource.size),
            resource.backend.clone(),
            held,
            short(&resource.incarnation).to_owned(),
            resource.engine.clone(),
        ]
    };
    let rows = target.resources.iter().map(row).collect();
    let spared = ["ENGINE", "INCARNATION", "BACKEND", "SIZE"];
    let _ = write!(text, "\n{}", within(&heads, rows, &spared, width));
    for resource in &target.resources {
        path_text(text, &resource.name, &resource.path);
    }
}

/// Where a resource rests on another target's: all of the way, the nearest first.
fn path_text(text: &mut String, name: &str, path: &[String]) {
    if path.len() > 1 {
        let _ = writeln!(text, "  {name} leads through {}", path.join(", "));
    }
}

fn sessions(text: &mut String, status: &Status, sessions: &[SessionStatus], width: Option<usize>) {
    if sessions.is_empty() {
        return;
    }
    let heads = [
        "INITIATOR",
        "RESOURCE",
        "ACCESS",
        "PHASE",
        "FOR>",
        "IN FLIGHT>",
        "OLDEST>",
        "UNFLUSHED>",
        "FROM",
        "EPOCH>",
    ];
    let row = |session: &SessionStatus| {
        let shown = |known: bool, text: String| if known { text } else { or_dash("").to_owned() };
        // Initiators tell of it while they drain and flush; at other times a 0 would be an invitation to pull the plug.
        let told = matches!(session.phase, SessionPhase::Draining | SessionPhase::Flushing);
        vec![
            session.initiator.clone(),
            session.resource.clone(),
            session.access.to_string(),
            session.phase.to_string(),
            age(status, session.since),
            shown(session.since > 0, session.in_flight.to_string()),
            shown(told && session.in_flight > 0, show_ms(session.oldest_ms)),
            shown(told, show_bytes(session.unflushed)),
            or_dash(&session.peer).to_owned(),
            session.epoch.to_string(),
        ]
    };
    let rows = sessions.iter().map(row).collect();
    let spared = ["EPOCH", "OLDEST", "UNFLUSHED", "FROM", "ACCESS", "IN FLIGHT", "FOR"];
    let _ = write!(text, "\n{}", within(&heads, rows, &spared, width));
}

fn agentless(text: &mut String, status: &Status, target: &TargetStatus, width: Option<usize>) {
    if target.agentless.is_empty() {
        return;
    }
    let heads = ["CANNOT BE PAUSED", "RESOURCE", "ACCESS", "FOR>", "IN FLIGHT>"];
    let row = |client: &AgentlessStatus| {
        vec![
            client.peer.clone(),
            client.resource.clone(),
            client.access.to_string(),
            age(status, client.since),
            client.in_flight.to_string(),
        ]
    };
    let rows = target.agentless.iter().map(row).collect();
    let _ = write!(text, "\n{}", within(&heads, rows, &["IN FLIGHT", "ACCESS", "FOR"], width));
}

fn restart_text(text: &mut String, status: &Status, restart: &RestartStatus, zone: &Zone) {
    let reason = match &*restart.reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let phase_age = age(status, restart.phase_since);
    let kind = match restart.kind {
        RestartKind::Pause => String::new(),
        kind => format!(" ({kind})"),
    };
    let _ = writeln!(
        text,
        "\n{} {}{kind} since {}{reason}\n  {} for {phase_age}{}",
        what_it_is(restart.kind),
        restart.id,
        zone.time(restart.started),
        phase_words(restart.phase, restart.kind),
        countdown(status, restart.deadline),
    );
    if let Some(question) = &restart.question {
        for who in &question.not_ready {
            let _ = writeln!(text, "  not ready: {who}");
        }
    }
    waits(text, status, restart.waits.iter());
}

fn countdown(status: &Status, deadline: Option<u64>) -> String {
    match deadline {
        None => String::new(),
        Some(at) if at <= status.at => ", its time is over".to_owned(),
        Some(at) => format!(", {} left", show_ms(at - status.at)),
    }
}

/// [TIMER-5]: whatever waits says for whom, since when, until when, and what comes then.
fn waits<'a>(text: &mut String, status: &Status, all: impl Iterator<Item = &'a Wait>) {
    for wait in all {
        let end = match (wait.deadline, &*wait.then) {
            (None, _) => ", without end".to_owned(),
            (Some(_), "") => countdown(status, wait.deadline),
            (Some(_), then) => format!("{}, then: {then}", countdown(status, wait.deadline)),
        };
        let since = age(status, wait.since);
        let _ = writeln!(text, "  waits for {} to {}, for {since}{end}", wait.for_whom, wait.what);
        if !wait.next.is_empty() {
            let _ = writeln!(text, "      next: {}", wait.next);
        }
    }
}

fn initiator_text(
    text: &mut String,
    status: &Status,
    initiator: &InitiatorStatus,
    zone: &Zone,
    width: Option<usize>,
) {
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "initiator {} ({})", initiator.name, process(status));
    for missing in initiator.footing.iter().flat_map(|footing| &footing.missing) {
        let _ = writeln!(text, "  not safe in the way of I/O: {missing}");
    }
    alerts(text, status, |alert| alert.attachment.is_some());
    attachments(text, status, initiator, width);
    let holds = |one: &AttachmentStatus| {
        let waits = one.outage.is_some() || one.waits_for.is_some();
        let keeps = one.retaining
            != RetainingStatus { bound: one.retaining.bound, ..RetainingStatus::default() };
        waits || keeps || one.path.len() > 1 || one.hook.is_some() || one.shutdown.is_some()
    };
    if initiator.attachments.iter().any(holds) {
        text.push('\n');
    }
    for attachment in &initiator.attachments {
        path_text(text, &attachment.name, &attachment.path);
        if let Some(outage) = &attachment.outage {
            outage_text(text, status, &attachment.name, outage, zone);
        }
        waits(text, status, attachment.waits_for.iter());
        retaining_text(text, attachment);
        policy_text(text, status, attachment);
    }
}

fn attachments(
    text: &mut String,
    status: &Status,
    initiator: &InitiatorStatus,
    width: Option<usize>,
) {
    if initiator.attachments.is_empty() {
        return;
    }
    let heads = [
        "ATTACHMENT",
        "TARGET",
        "PHASE",
        "FOR>",
        "IN FLIGHT>",
        "HELD>",
        "ERRORS>",
        "UNFLUSHED>",
        "LONGEST STALL>",
        "CLIENTS>",
        "ACCESS",
        "SIZE>",
        "AT",
    ];
    let spared = [
        "AT",
        "SIZE",
        "ACCESS",
        "CLIENTS",
        "LONGEST STALL",
        "UNFLUSHED",
        "IN FLIGHT",
        "ERRORS",
        "TARGET",
        "FOR",
    ];
    let rows = initiator.attachments.iter().map(|one| attachment_row(status, one)).collect();
    let _ = write!(text, "\n{}", within(&heads, rows, &spared, width));
}

/// What the policy of an attachment does, or did.
fn policy_text(text: &mut String, status: &Status, attachment: &AttachmentStatus) {
    let name = &attachment.name;
    if let Some(shutdown) = &attachment.shutdown {
        let (lasts, left) = (age(status, shutdown.since), countdown(status, shutdown.deadline));
        let phase = match shutdown.phase {
            ShutdownPhase::Preparing => "its hook runs, and the target's return cancels it",
            ShutdownPhase::Waiting => "put off while the target comes back",
            ShutdownPhase::Begun => "the shutdown's command was run",
            ShutdownPhase::Forced => "the last resort was run",
            ShutdownPhase::Failed => "in vain, the host is still up",
            ShutdownPhase::Unknown => "in a phase that this command does not know",
        };
        let _ = writeln!(text, "  {name} shuts this host down, for {lasts}: {phase}{left}");
    }
    let Some(hook) = &attachment.hook else { return };
    let how = match (hook.outcome, &hook.why) {
        (HookOutcome::Running, _) => format!("runs for {}", age(status, hook.since)),
        (HookOutcome::Done, _) => "is done".to_owned(),
        (_, why) => why.as_deref().unwrap_or("failed").to_owned(),
    };
    let ended = hook.ended.map(|at| format!(", {} ago", age(status, at))).unwrap_or_default();
    let _ = writeln!(text, "  {name}'s hook {how}{ended}: {}", hook.command);
    for line in &hook.output {
        let _ = writeln!(text, "    {line}");
    }
}

fn attachment_row(status: &Status, attachment: &AttachmentStatus) -> Vec<String> {
    // What is kept while its daemon is down, a process of its own knows; a 0 would be an invitation to give it up.
    let known = |text: String| if attachment.since == 0 { or_dash("").to_owned() } else { text };
    vec![
        attachment.name.clone(),
        or_dash(attachment.target.as_ref().unwrap_or(&attachment.uri)).to_owned(),
        attachment.phase.to_string(),
        age(status, attachment.since),
        known(attachment.in_flight.to_string()),
        known(attachment.held.to_string()),
        known(attachment.errors.to_string()),
        known(show_bytes(attachment.unflushed)),
        known(show_ms(attachment.longest_stall_ms)),
        known(attachment.clients.to_string()),
        known(attachment.access.to_string()),
        known(show_bytes(attachment.size)),
        attachment.front_end.clone(),
    ]
}

/// What is kept for a target that crashes, and what came of it.
fn retaining_text(text: &mut String, attachment: &AttachmentStatus) {
    let kept = &attachment.retaining;
    let mut parts = Vec::new();
    if kept.changes > 0 {
        let (room, bound) = (show_bytes(kept.counted), show_bytes(kept.bound));
        let changes = counted(kept.changes, "unflushed change", "unflushed changes");
        parts.push(format!("{changes} kept for its target, {room} of {bound}"));
    }
    for (count, one, many) in [
        (kept.own_flushes, "flush by itself", "flushes by itself"),
        (kept.waited, "change waited for room", "changes waited for room"),
        (kept.replay_faults, "replay failed", "replays failed"),
    ] {
        if count > 0 {
            parts.push(counted(count, one, many));
        }
    }
    if kept.replayed_changes > 0 {
        let bytes = show_bytes(kept.replayed_bytes);
        let changes = counted(kept.replayed_changes, "acknowledged change", "acknowledged changes");
        parts.push(format!("{changes} sent again, {bytes}"));
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "  {}: {}", attachment.name, parts.join("; "));
    }
}

fn outage_text(text: &mut String, status: &Status, name: &str, outage: &Outage, zone: &Zone) {
    let end = match (outage.expired, outage.deadline) {
        (true, _) => format!("; its time is over and `{}` was carried out", outage.policy),
        (false, None) => "; without end".to_owned(),
        (false, deadline) => format!("{}, then `{}`", countdown(status, deadline), outage.policy),
    };
    let since = zone.time(outage.since);
    let lasted = age(status, outage.since);
    let _ = writeln!(text, "  {name} holds since {since}, for {lasted}: {}{end}", outage.why);
}

/// The first digits of an incarnation are enough to see that it changed.
fn short(incarnation: &str) -> &str {
    or_dash(incarnation.get(..8).unwrap_or(incarnation))
}
