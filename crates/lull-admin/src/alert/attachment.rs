//! Alerts of an attachment.

use super::{Alert, AlertKind, MISSED_MS, PATIENCE_MS};
use crate::attachment::{AttachmentStatus, HookOutcome, ShutdownPhase};

/// What is found, with its begin: since when, what, and the next step.
type Found = Option<(u64, String, String)>;

/// Whether there is something of a kind at a moment, in Unix milliseconds.
type Rule = fn(&AttachmentStatus, u64) -> Found;

/// Each kind with its condition.
const RULES: &[(AlertKind, Rule)] = &[
    (AlertKind::ShuttingDown, shutting_down),
    (AlertKind::TargetGone, target_gone),
    (AlertKind::HeldAbove, held_above),
    (AlertKind::HeldLonger, held_longer),
    (AlertKind::Refused, refused),
    (AlertKind::HookRunning, hook_running),
    (AlertKind::HookFailed, hook_failed),
    (AlertKind::StateNotWritten, state_not_written),
    (AlertKind::DeviceWaits, device_waits),
    (AlertKind::LogLost, log_lost),
    (AlertKind::LogNotKept, log_not_kept),
    (AlertKind::ReplayFailed, replay_failed),
    (AlertKind::Full, full),
    (AlertKind::Missed, missed),
];

/// Those of one attachment at the moment `at`, in Unix milliseconds.
pub(super) fn alerts(of: &AttachmentStatus, at: u64, all: &mut Vec<Alert>) {
    let found = RULES.iter().filter_map(|(kind, rule)| Some((*kind, rule(of, at)?)));
    all.extend(found.map(|(kind, (since, text, next))| Alert {
        kind,
        attachment: Some(of.name.clone()),
        resource: Some(of.resource.clone()),
        node: of.target.clone(),
        since,
        text,
        next,
    }));
}

fn target(of: &AttachmentStatus) -> &str {
    of.target.as_deref().unwrap_or("its target")
}

fn target_gone(of: &AttachmentStatus, _at: u64) -> Found {
    let outage = of.outage.as_ref().filter(|outage| outage.expired)?;
    let text = format!("cannot share past its time: {}; `{}` was run", outage.why, outage.policy);
    let next = format!("see to {}; whenever it is back, sharing goes on", target(of));
    Some((outage.since, text, next))
}

fn held_above(of: &AttachmentStatus, at: u64) -> Found {
    let held =
        of.held_above.as_ref().filter(|held| at.saturating_sub(held.since) >= PATIENCE_MS)?;
    let text = format!("{} holds its requests: it waits for {}", target(of), held.why);
    Some((held.since, text, "see to that one; until then requests are held".to_owned()))
}

fn held_longer(of: &AttachmentStatus, at: u64) -> Found {
    let outage = of.outage.as_ref().filter(|outage| !outage.expired)?;
    let expected = outage.expected.filter(|expected| *expected < at)?;
    let text = format!("{} has been away for longer than it announced", target(of));
    let next = format!("see to {}; until then requests are held", target(of));
    Some((expected, text, next))
}

fn refused(of: &AttachmentStatus, _at: u64) -> Found {
    let (outage, why) = (of.outage.as_ref()?, of.refused.as_ref()?);
    let next =
        format!("do as it says, or mend that at {}; it is tried again and again", target(of));
    Some((outage.since, why.clone(), next))
}

fn hook_running(of: &AttachmentStatus, _at: u64) -> Found {
    let hook = of.hook.as_ref().filter(|hook| hook.outcome == HookOutcome::Running)?;
    let text = format!("its hook runs: {}", hook.command);
    Some((hook.since, text, "wait for it; its own time limit ends it".to_owned()))
}

fn hook_failed(of: &AttachmentStatus, _at: u64) -> Found {
    let hook = of.hook.as_ref().filter(|hook| hook.outcome == HookOutcome::Failed)?;
    // With the outage what it was for is over.
    of.outage.as_ref()?;
    let why = hook.why.as_deref().unwrap_or("failed");
    let text = format!("its hook {why}: {}", hook.command);
    let next = "do by hand what it was to do; its output is in `lull status`".to_owned();
    Some((hook.ended.unwrap_or(hook.since), text, next))
}

fn shutting_down(of: &AttachmentStatus, _at: u64) -> Found {
    let shutdown = of.shutdown.as_ref()?;
    let (text, next) = match shutdown.phase {
        ShutdownPhase::Preparing | ShutdownPhase::Waiting => (
            "this host is to be shut down",
            "bring the target back, which cancels it; `lull detach` gives the disk up",
        ),
        ShutdownPhase::Begun | ShutdownPhase::Forced | ShutdownPhase::Unknown => {
            ("this host is being shut down", "wait; nothing takes this back")
        }
        ShutdownPhase::Failed => (
            "this host is still up although it was to be shut down",
            "shut it down by hand, or bring the target back",
        ),
    };
    Some((shutdown.since, text.to_owned(), next.to_owned()))
}

fn state_not_written(of: &AttachmentStatus, _at: u64) -> Found {
    let fault = of.state_fault.as_ref()?;
    let text = format!("its state cannot be written: {}", fault.why);
    let next = "free space there or mend its file system: until then a restart of this daemon may \
                be refused by the target";
    Some((fault.since, text, next.to_owned()))
}

fn device_waits(of: &AttachmentStatus, _at: u64) -> Found {
    let wait = of.device_waits.as_ref()?;
    let next = "see who has the device (`fuser -v` with its path), and the kernel's log; it goes on by itself when that is over";
    Some((wait.since, wait.why.clone(), next.to_owned()))
}

fn log_lost(of: &AttachmentStatus, _at: u64) -> Found {
    let fault = of.log_lost.as_ref()?;
    let next = "see what used the disk before that: what it was acknowledged and had not flushed may be missing";
    Some((fault.since, fault.why.clone(), next.to_owned()))
}

fn log_not_kept(of: &AttachmentStatus, _at: u64) -> Found {
    let fault = of.log_fault.as_ref()?;
    let next = "see that `lull keep-log` can run here, or that the unit keeps descriptors; it is tried again";
    Some((fault.since, fault.why.clone(), next.to_owned()))
}

fn replay_failed(of: &AttachmentStatus, _at: u64) -> Found {
    let fault = of.replay_fault.as_ref()?;
    let text = format!("what it keeps could not be written again: {}", fault.why);
    let next = format!("mend the medium of {}; all is kept and tried again", target(of));
    Some((fault.since, text, next))
}

fn missed(of: &AttachmentStatus, at: u64) -> Found {
    let missed = of.missed.as_ref().filter(|missed| at.saturating_sub(missed.since) < MISSED_MS)?;
    let next =
        "see what used the disk: it was given errors, and what it asked for may be there or not";
    Some((missed.since, missed.why.clone(), next.to_owned()))
}

/// How long a change that found no room is told of, in milliseconds.
const FULL_MS: u64 = 60_000;

fn full(of: &AttachmentStatus, at: u64) -> Found {
    let since = of.full_at.filter(|last| at.saturating_sub(*last) < FULL_MS)?;
    let text = format!("{} has no room left for its writes", target(of));
    let next = format!("make room for the medium of {} there", of.resource);
    Some((since, text, next))
}
