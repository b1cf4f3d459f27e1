//! A machine's reports in words.

use std::path::Path;
use std::time::Duration;

use lull_admin::{ApiError, ErrorCode, show_bytes};
use lull_proto::initiator::{End, Held, Policy, Report, Timer, Why};
use lull_wire::messages::Refused;
use lull_wire::{RefusalCode, Retry};

use crate::attachment::Told;
use crate::config::AttachmentConfig;
use crate::journal::{Damage, Extent};

/// A word for programs, a sentence for people, the restart that it belongs to.
#[derive(Debug)]
pub struct Words {
    /// A short stable word.
    pub what: &'static str,
    /// The sentence, without its subject.
    pub text: String,
    /// The restart's number at its target.
    pub restart: Option<u64>,
}

/// What a report says.
pub fn of_report(report: &Report, told: &Told, config: &AttachmentConfig) -> Words {
    let (what, text) = match report {
        Report::Connected { .. } => {
            ("connected", format!("{} answers", told.target.as_deref().unwrap_or("the target")))
        }
        Report::Attached { epoch, changed: false, .. } => ("attached", format!("epoch {epoch}")),
        Report::Attached { epoch, incarnation, changed: true } => {
            ("attached", format!("epoch {epoch}, new incarnation {}", short(incarnation)))
        }
        Report::Replaying { changes, bytes } => (
            "replaying",
            format!("the target lost its memory: {} {} sent again", kept(*changes, *bytes), are(*changes)),
        ),
        Report::Faulted { status, changes, bytes } => {
            let kept = kept(*changes, *bytes);
            (
                "faulted",
                format!(
                    "the target could not take {kept} again ({status}); all of it is kept, and tried again"
                ),
            )
        }
        Report::LogLost { changes, bytes } => (
            "log_lost",
            format!("{} {} lost: nobody will send that again", kept(*changes, *bytes), are(*changes)),
        ),
        Report::LogLeft { changes, bytes } => (
            "log_left",
            format!("{} {} kept for the next start", kept(*changes, *bytes), are(*changes)),
        ),
        Report::LogMissing { changed: false } => (
            "log_missing",
            "the process before this one left no log of its unflushed writes, and the target still has them: they are flushed first".to_owned(),
        ),
        Report::LogMissing { changed: true } => (
            "log_lost",
            "the process before this one left no log of its unflushed writes, and the target lost its memory: an unknown number of them is lost".to_owned(),
        ),
        Report::Missed { changes, bytes } => (
            "missed",
            format!(
                "the other sharers were let go on without this one: {} of {} {} answered with errors, and the \
                 outcome is unknown",
                if *changes == 1 { "1 unanswered change".to_owned() } else { format!("{changes} unanswered changes") },
                show_bytes(*bytes),
                were(*changes)
            ),
        ),
        Report::Sharing(done) if done.why == Why::First => ("sharing", "requests flow".to_owned()),
        Report::Sharing(done) => {
            let gone = done.marks.gone.or(done.marks.paused).unwrap_or(done.resumed);
            let mut text = format!("back after {}", span(done.resumed.since(gone)));
            if done.held > 0 {
                text += &format!("; held {}", requests(done.held.into()));
            }
            if !done.longest.is_zero() {
                text += &format!("; the longest wait was {}", span(done.longest));
            }
            if done.again.requests > 0 {
                text += &format!("; sent {} again in all", requests(done.again.requests));
            }
            ("resumed", text)
        }
        Report::Pausing { in_flight, reason, .. } => {
            let work = requests((*in_flight).into());
            ("draining", format!("the target pauses{}; finishing {work}", because(reason.as_str())))
        }
        Report::Drained { after, .. } => ("flushing", format!("finished after {}", span(*after))),
        Report::Paused { after, retained: 0, .. } => {
            ("paused", format!("paused after {}", span(*after)))
        }
        Report::Paused { after, retained, .. } => {
            let kept = show_bytes(*retained);
            (
                "paused",
                format!("paused after {}, {kept} unflushed because a flush failed", span(*after)),
            )
        }
        Report::PauseAborted { longest, .. } => {
            ("resumed", format!("the pause ended without a restart; the longest wait was {}", span(*longest)))
        }
        Report::Away { leaving: true, why, .. } => ("asked_again", unheard(*why, told)),
        Report::Away { why, in_flight, deadline, leaving: false } => {
            away(*why, *in_flight, deadline.is_some(), told, config)
        }
        Report::Refused { refused, .. } => ("refused", refusal(refused, &told.state)),
        Report::Unusable => {
            let text = "the target's resource is another one, is smaller, or can do less than the one that consumers know; \
                        give them that one back, or end this daemon and start it with --adopt";
            ("unusable", text.to_owned())
        }
        Report::Violation(violation) => {
            ("violation", format!("the target broke the protocol: {violation}"))
        }
        Report::Expired { timer, policy } => ("expired", expired(*timer, *policy)),
        Report::ShutdownCancelled => {
            ("target_back", "the target is back before the shutdown has begun".to_owned())
        }
        Report::ShuttingDown => {
            ("point_of_no_return", "the target has not come back; the shutdown begins".to_owned())
        }
        Report::Holding { held, .. } => {
            ("holding", format!("holds: waits for {}, which {}", end_of(held), held.reason))
        }
        Report::HoldOver { lasted, longest } => (
            "hold_over",
            format!(
                "shares again after a hold of {}; the longest wait was {}",
                span(*lasted),
                span(*longest)
            ),
        ),
        Report::HoldSilent => (
            "lost",
            "the target did not say its hold again: taken for lost, and dialled".to_owned(),
        ),
        Report::GivenBack => {
            ("given_back", "the resource begins anew: whoever wrote it writes again".to_owned())
        }
        Report::LateAnswered => {
            ("late_answered", "the target has finished what was given back to its users".to_owned())
        }
        Report::Ended(end) => ended(*end, told),
    };
    Words { what, text, restart: restart(report) }
}

fn restart(report: &Report) -> Option<u64> {
    match report {
        Report::Pausing { restart, .. }
        | Report::Drained { restart, .. }
        | Report::Paused { restart, .. }
        | Report::PauseAborted { restart, .. } => Some(restart.0),
        Report::Away { why: Why::Restart(restart), .. } => Some(restart.0),
        Report::Sharing(done) => match done.why {
            Why::Restart(restart) => Some(restart.0),
            Why::First
            | Why::Lost
            | Why::WriteBack
            | Why::Faulted
            | Why::Shutdown
            | Why::Successor => None,
        },
        Report::Connected { .. }
        | Report::Attached { .. }
        | Report::Replaying { .. }
        | Report::Faulted { .. }
        | Report::LogLost { .. }
        | Report::LogLeft { .. }
        | Report::LogMissing { .. }
        | Report::Missed { .. }
        | Report::Away { .. }
        | Report::Refused { .. }
        | Report::Unusable
        | Report::Violation(_)
        | Report::Expired { .. }
        | Report::ShutdownCancelled
        | Report::ShuttingDown
        | Report::Holding { .. }
        | Report::HoldOver { .. }
        | Report::HoldSilent
        | Report::GivenBack
        | Report::LateAnswered
        | Report::Ended(_) => None,
    }
}

/// Who is waited for: the last node that HOLD names.
pub fn end_of(held: &Held) -> String {
    held.path
        .as_slice()
        .last()
        .map_or_else(|| "a target further up".to_owned(), ToString::to_string)
}

/// [CONN-5] The target may keep a place for what is about to end.
fn unheard(why: Why, told: &Told) -> String {
    let trouble = told.trouble.as_deref();
    let why = match why {
        Why::Restart(_) => "the target went down for a restart",
        Why::WriteBack => "a write-back failed at the target",
        Why::Shutdown => "the target was shut down",
        Why::First | Why::Lost | Why::Successor | Why::Faulted => {
            trouble.unwrap_or("the target fell silent")
        }
    };
    format!(
        "{why} before it said that it keeps no place for this; it is asked once more, for some seconds"
    )
}

fn away(
    why: Why,
    in_flight: u32,
    limited: bool,
    told: &Told,
    config: &AttachmentConfig,
) -> (&'static str, String) {
    let (what, mut text) = match why {
        Why::Restart(_) => ("away", "the target is down; requests are held".to_owned()),
        Why::First | Why::Lost | Why::Successor => {
            let why = told.trouble.as_deref().unwrap_or("the target fell silent");
            ("connection_lost", format!("{why}; requests are held"))
        }
        Why::WriteBack => (
            "away",
            "what the target had not flushed has to be sent again; requests are held".to_owned(),
        ),
        Why::Faulted => ("away", "requests are held until a replay succeeds".to_owned()),
        Why::Shutdown => {
            ("away", "the target was shut down for good; requests are held".to_owned())
        }
    };
    if in_flight > 0 {
        text += &format!(", {} unanswered", in_flight);
    }
    if limited && why != Why::First && matches!(why, Why::Lost | Why::Shutdown) {
        text += &format!("; after {} without it: {}", span(config.restart_timeout), then(config));
    }
    (what, text)
}

/// What comes when a timer of the attachment ends.
pub fn then(config: &AttachmentConfig) -> &'static str {
    match config.policy {
        crate::Policy::Wait => "hold on",
        crate::Policy::Error => "answer held requests with errors",
        crate::Policy::Hook(_) => "run the hook and hold on",
        crate::Policy::Shutdown { .. } => "shut this host down",
    }
}

/// Why there is an outage, as a phrase.
pub fn why(why: Why, told: &Told) -> String {
    // A target that is back and refuses is not away any more, however that began.
    if let Some(refusal) = told.refusal.as_ref().filter(|_| told.is_refused()) {
        return refusal.clone();
    }
    match why {
        Why::First => told.trouble.clone().unwrap_or("first attach".into()),
        Why::Restart(_) => format!("target restarts{}", because(&told.reason)),
        Why::Lost => told.trouble.clone().unwrap_or_else(|| "connection lost".to_owned()),
        Why::Successor => {
            told.trouble.clone().unwrap_or_else(|| "this daemon was started anew".to_owned())
        }
        Why::WriteBack => "what the target had not flushed has to be sent again".to_owned(),
        Why::Faulted => told.trouble.clone().unwrap_or_else(|| "a replay failed".to_owned()),
        Why::Shutdown => "the target was shut down for good".to_owned(),
    }
}

fn expired(timer: Timer, policy: Policy) -> String {
    let timer = match timer {
        Timer::Restart => "the target stayed away too long",
        Timer::Resume => "the target is there but did not go on",
    };
    let policy = match policy {
        Policy::Wait => "requests stay held",
        Policy::Error => "requests are answered with errors until it is back",
        Policy::Hook => "the hook runs, requests stay held",
        Policy::Shutdown => "requests are answered with errors, and this host is to be shut down",
    };
    format!("{timer}: {policy}")
}

fn ended(end: End, told: &Told) -> (&'static str, String) {
    match end {
        End::Detached => ("detached", "detached".to_owned()),
        End::Left if !told.known_there => ("left", "left before it was attached".to_owned()),
        End::Left if told.is_refused() => {
            let why = refused_because(told.refusal.as_deref());
            ("left", format!("left a target that refuses it{why}; a place there may stay reserved"))
        }
        End::Left if told.leaves_unheard => {
            ("left", "left without the target's word; a place there may stay reserved".to_owned())
        }
        End::Left => {
            ("left", "left while the target was away; its place there stays reserved".to_owned())
        }
        End::Refused => ("ended", ended_text(end, told)),
        End::Fenced => ("fenced", ended_text(end, told)),
    }
}

/// Why a target refuses what tries no more, in brackets.
fn refused_because(refusal: Option<&str>) -> String {
    let why = refusal.unwrap_or_default();
    let why = why.strip_prefix("refused: ").unwrap_or(why);
    because(why.strip_suffix("; trying again").unwrap_or(why))
}

/// What an operator is told who ended it.
///
/// # Errors
/// Where it ended otherwise than by leaving the target's roster.
pub fn detached(
    end: End,
    told: &Told,
    config: &AttachmentConfig,
    node: &str,
) -> Result<(), ApiError> {
    let name = &config.name;
    match end {
        End::Detached => Ok(()),
        End::Left if !told.known_there => Ok(()),
        End::Left => {
            let target = told.target.clone().unwrap_or_else(|| config.target().to_string());
            let evict = format!("lull evict {node} --resource {}", config.uri.resource);
            let (text, next) = if told.is_refused() {
                (
                    format!(
                        "{name} has ended here, but {target} refuses it{}: a place there may stay reserved",
                        refused_because(told.refusal.as_deref())
                    ),
                    format!("lull status at {target}: where it lists {node}, {evict} there"),
                )
            } else {
                let stays = if told.leaves_unheard { "may stay" } else { "stays" };
                (
                    format!(
                        "{name} has ended here, but {target} is away: its place there {stays} reserved"
                    ),
                    format!("when {target} is back: {evict} there"),
                )
            };
            Err(ApiError::new(ErrorCode::NotReady, text, next))
        }
        End::Refused | End::Fenced => Err(ApiError::new(
            ErrorCode::Failed,
            format!("{name} has ended, but not by leaving: {}", ended_text(end, told)),
            "lull status at the target shows what it knows of it",
        )),
    }
}

/// The same of an attachment that is the medium of a target's resource, which no state file of its own leads back to.
pub fn fenced_medium(config: &AttachmentConfig) -> Words {
    let text = format!(
        "the target above lets this node in no more: another instance or writer was let in, or an operator evicted it; \
         where that is right, start this target once with `--adopt {}`",
        config.name
    );
    Words { what: "fenced", text, restart: None }
}

/// Why an attachment ended against its operator's wish.
pub fn ended_text(end: End, told: &Told) -> String {
    if let Some(failure) = &told.failure {
        return failure.clone();
    }
    match (end, &told.refusal) {
        (End::Fenced, None) => format!(
            "another instance took the attachment over, or an operator evicted it; to attach anew, remove {} or give \
             another --state",
            told.state.display()
        ),
        (End::Refused | End::Fenced, Some(refusal)) => refusal.clone(),
        (End::Refused, None) => "the target refused it".to_owned(),
        (End::Detached | End::Left, _) => "it ended".to_owned(),
    }
}

fn refusal(refused: &Refused, state: &Path) -> String {
    let mut text = match refused.detail.as_str() {
        "" => format!("refused: {}", refused.code),
        detail => format!("refused: {detail}"),
    };
    match (refused.retry, refused.code) {
        (Retry::Later | Retry::Unknown(_), _) => text += "; trying again",
        (Retry::Final, RefusalCode::OtherInstance) if refused.detail.as_str().is_empty() => {
            text += "; with --take-over it is let in";
        }
        // A target says what to remove, and cannot know where that is.
        (Retry::Final, RefusalCode::StaleTenure) => {
            text += &format!(" (here it is {})", state.display());
        }
        (Retry::Final, _) => {}
    }
    text
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn requests(count: u64) -> String {
    match count {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    }
}

/// So many changes of so many bytes.
pub fn kept(changes: u64, bytes: u64) -> String {
    let many = if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") };
    format!("{many} ({}) that {} acknowledged and not flushed", show_bytes(bytes), were(changes))
}

fn are(count: u64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

fn were(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// Of a log nothing of which can be read.
pub const UNKNOWN_LOST: &str = "an unknown number of unflushed writes";

/// The same, with the bytes from the first to behind the last that they changed.
pub fn lost(all: &Extent) -> String {
    let (from, to) = all.range;
    format!("{} between bytes {from} and {to}", kept(all.changes, all.bytes))
}

/// What of a log cannot be read.
pub fn damaged(Damage { known, more }: &Damage) -> String {
    match (known.changes, more) {
        (0, _) => UNKNOWN_LOST.to_owned(),
        (_, true) => format!("{}, and an unknown number behind them", lost(known)),
        (_, false) => lost(known),
    }
}

fn short(id: &impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

/// A span for people.
pub fn span(span: Duration) -> String {
    match span.as_millis() {
        0 if !span.is_zero() => format!("{} µs", span.as_micros()),
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [CONN-5] Who cannot leave the roster is told what to mend there.
    #[test]
    fn an_end_at_a_target_that_refuses_says_why_it_does() {
        let refusal = "refused: the target cannot write its state directory; trying again";
        let why = refused_because(Some(refusal));
        assert_eq!(why, " (the target cannot write its state directory)");
        assert_eq!(refused_because(None), "");
    }
}
