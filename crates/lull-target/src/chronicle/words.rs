//! Transitions in words.

use crate::clock::{Clock, time_of_day};
use crate::refusal;
use lull_admin::NotReady;
use lull_proto::target::{Decision, Report, Row, RowState, Target, Why};
use lull_proto::{ConnId, MonoTime};
use lull_wire::messages::Name;
use lull_wire::{AttachmentId, DisconnectCode, Message};
use std::borrow::Cow;
use std::time::Duration;

/// How many of those that a target waits for are named.
const LINGERERS_NAMED: usize = 8;

/// The initiator on a connection, as far as it is known.
pub fn name_of(machine: &Target, conn: ConnId) -> String {
    machine.node(conn).map_or_else(|| format!("connection {}", conn.0), ToString::to_string)
}

fn name(machine: &Target, attachment: AttachmentId) -> String {
    machine.seat(attachment).map_or_else(
        || "an initiator that left the roster".to_owned(),
        |seat| peer(machine, &seat.entry.node),
    )
}

fn speaker(machine: &Target, conn: ConnId) -> String {
    told_apart(machine.name().as_str(), name_of(machine, conn))
}

fn peer(machine: &Target, node: &Name) -> String {
    told_apart(machine.name().as_str(), node.to_string())
}

/// A node that uses disks of the target `own`, in lists where both are named: on one host both may bear its name.
pub fn told_apart(own: &str, node: String) -> String {
    if node == own { format!("{node} (initiator)") } else { node }
}

/// What of a message matters to somebody who looks at a restart; `None`: not drawn.
pub fn describe(message: &Message) -> Option<String> {
    Some(match message {
        Message::Hello(_) | Message::Welcome(_) | Message::Connect(_) | Message::Detached(_) => {
            String::new()
        }
        Message::Attach(attach) => format!("\"{}\" epoch {}", attach.resource, attach.epoch),
        Message::Attached(_) | Message::Resume(_) | Message::Detach(_) => String::new(),
        Message::Ready(ready) if ready.replayed > 0 => format!("{} sent again", ready.replayed),
        Message::Ready(_) => String::new(),
        Message::Refused(refused) => refused.code.to_string(),
        Message::Pause(pause) => format!("within {}", span(Duration::from_millis(pause.span_ms))),
        Message::PauseProgress(told) => format!("{} in flight", told.in_flight),
        Message::PauseComplete(told) => format!("{} in flight", was(told.in_flight_at_pause)),
        Message::Disconnect(told) => told.code.to_string(),
        Message::Stall(stall) => {
            format!("longest stall {}", span(Duration::from_micros(stall.longest_us)))
        }
        Message::Hold(_) | Message::Resized(_) => String::new(),
        Message::Ping(_)
        | Message::Pong(_)
        | Message::Knock(_)
        | Message::Request(_)
        | Message::Reply(_) => return None,
    })
}

/// Subject, word and sentence of a transition.
pub fn say(
    report: &Report,
    machine: &Target,
    now: MonoTime,
    clock: &Clock,
) -> Option<(String, &'static str, String)> {
    Some(match report {
        Report::Refused { node, refusal } => (
            peer(machine, node),
            "refused",
            format!("refused: {}", refusal::words(refusal, now, clock)),
        ),
        Report::Attached { attachment, epoch, .. } => {
            (name(machine, *attachment), "attached", format!("attached, epoch {epoch}"))
        }
        Report::Resumed { attachment, replayed: 0, .. } => {
            (name(machine, *attachment), "resumed", "shares".to_owned())
        }
        Report::Resumed { attachment, replayed, bytes, .. } => (
            name(machine, *attachment),
            "resumed",
            format!(
                "shares, after it sent {replayed} request{} again, {} of changes",
                if *replayed == 1 { "" } else { "s" },
                lull_admin::show_bytes(*bytes)
            ),
        ),
        Report::Lost { attachment } => (
            name(machine, *attachment),
            "lost",
            "its connection is lost, its place is kept".to_owned(),
        ),
        Report::Silent { conn } => {
            (speaker(machine, *conn), "silent", "silent for too long".to_owned())
        }
        Report::Violation { conn, violation } => {
            (speaker(machine, *conn), "violation", format!("broke the protocol: {violation}"))
        }
        Report::Detached { entry } => {
            (peer(machine, &entry.node), "detached", "left the roster".to_owned())
        }
        Report::Evicted { entry } => (
            peer(machine, &entry.node),
            "evicted",
            "evicted: what it has not replayed is lost".to_owned(),
        ),
        Report::Over { entry } => (
            peer(machine, &entry.node),
            "over",
            "lost for longer than its place is kept: its place is forgotten".to_owned(),
        ),
        Report::Missed { entry } => (
            peer(machine, &entry.node),
            "missed",
            "was not back in time: the other sharers go on without what it has unanswered"
                .to_owned(),
        ),
        Report::Lingering { sessions, agentless, .. } => {
            let what = lingering(sessions, *agentless);
            (machine.name().to_string(), "lingering", format!("waits for the disks to {what}"))
        }
        Report::Progress { attachment, state } => {
            (name(machine, *attachment), "draining", because(state, now, clock))
        }
        Report::Complete { attachment, proof } => (
            name(machine, *attachment),
            "paused",
            format!(
                "paused: {} in flight, drained in {}, flushed in {}",
                was(proof.in_flight_at_pause),
                span(proof.drain),
                span(proof.flush)
            ),
        ),
        Report::WriteBackFailed { resource, failures } => {
            let name = machine.resources()[resource.0].name.to_string();
            let again =
                if *failures > 1 { format!(", {failures} times in a row") } else { String::new() };
            let text = format!(
                "could not be written back{again}: whoever writes it replays; look at its disk"
            );
            (name, "write_back_failed", text)
        }
        Report::UpstreamBeganAnew { resource } => {
            let name = machine.resources()[resource.0].name.to_string();
            let text = "the resource on which it lies begins anew: whoever writes it replays";
            (name, "upstream_began_anew", text.to_owned())
        }
        Report::MediumForgot { resource } => {
            let name = machine.resources()[resource.0].name.to_string();
            let text = "may have lost what was not flushed, with the connection to its server: whoever writes it replays";
            (name, "medium_forgot", text.to_owned())
        }
        Report::Holding { resource, reason, path } => {
            let name = machine.resources()[resource.0].name.to_string();
            let whom = path.as_slice().last().map(ToString::to_string).unwrap_or_default();
            (name, "holding", format!("holds: waits for {whom}, which {reason}"))
        }
        Report::FencedAbove { resource, reason, path } => {
            let name = machine.resources()[resource.0].name.to_string();
            let whom = path.as_slice().last().map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "lost: {whom} {}; nobody is let in; where that is right, start this target once with `--adopt {name}`",
                plain(reason.as_str())
            );
            (name, "fenced_above", text)
        }
        Report::HoldOver { resource, lasted } => {
            let name = machine.resources()[resource.0].name.to_string();
            (name, "hold_over", format!("takes requests again after a hold of {}", span(*lasted)))
        }
        Report::Disconnected { node, code, .. } => {
            let why = match *code {
                // A medium that failed is one reason for it; a restart of the target above is another.
                DisconnectCode::WriteBackFailed => "what is not flushed has to be sent again",
                ref other => &other.to_string(),
            };
            (peer(machine, node), "away", format!("told to disconnect: {why}"))
        }
        Report::Stall { attachment, stall } => (
            name(machine, *attachment),
            "stall",
            format!(
                "longest stall {}, {} held",
                span(Duration::from_micros(stall.longest_us)),
                stall.held
            ),
        ),
        Report::Decided { decision, .. } => {
            let text = match decision {
                Decision::Wait => "decided: wait",
                Decision::Proceed => "decided: proceed",
                Decision::Abort => "decided: abort",
            };
            ("operator".to_owned(), "decided", text.to_owned())
        }
        Report::Pausing { .. }
        | Report::PausingAgain { .. }
        | Report::Asking { .. }
        | Report::Settling { .. }
        | Report::Quiet { .. }
        | Report::Leaving { .. }
        | Report::Aborted { .. } => return None,
    })
}

/// What a target that goes waits for, as what the disks are to do.
pub fn lingering(sessions: &[Name], agentless: u32) -> String {
    let mut names: Vec<_> =
        sessions.iter().map(Name::as_str).filter(|name| !name.is_empty()).collect();
    names.dedup();
    let more = names.len().saturating_sub(LINGERERS_NAMED);
    let mut whom: Vec<_> = names.iter().take(LINGERERS_NAMED).map(ToString::to_string).collect();
    if more > 0 {
        whom.push(format!("{more} more"));
    }
    if agentless > 0 {
        let plural = if agentless == 1 { "" } else { "s" };
        whom.push(format!("{agentless} client{plural} without an agent"));
    }
    format!("answer what {} asked", whom.join(", "))
}

/// A text from elsewhere, fit for a line of a log or a terminal: one that would end the line, or tell the terminal
/// something, is shown as what it is.
pub fn plain(text: &str) -> Cow<'_, str> {
    let strange = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(strange) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|c| match strange(c) {
        true => c.escape_default().collect::<Vec<_>>(),
        false => vec![c],
    });
    Cow::Owned(escaped.collect())
}

/// Why a restart was given up.
pub fn aborted(why: Why, late: &[String]) -> String {
    match why {
        Why::Operator => "an operator gave it up".to_owned(),
        Why::NotComplete => format!("not ready in time: {}", late.join("; ")),
        Why::NotDurable => "a backend could not be flushed (see the target's log)".to_owned(),
        Why::NotRecorded => {
            "the target's state directory could not be written (lull status says why)".to_owned()
        }
        Why::FlushLate | Why::RecordLate => {
            format!("not on stable storage in time: {}; see what its disks do", late.join("; "))
        }
    }
}

/// Why an attachment has not completed, as it is read in its record long after.
pub fn because(state: &RowState, now: MonoTime, clock: &Clock) -> String {
    match state {
        RowState::Sharing => "it was not asked yet".to_owned(),
        RowState::Draining(None) => "it has not answered PAUSE".to_owned(),
        RowState::Draining(Some(told)) if told.in_flight == 0 => {
            format!("it flushes {} bytes", told.unflushed)
        }
        RowState::Draining(Some(told)) => {
            let plural = if told.in_flight == 1 { "" } else { "s" };
            format!(
                "{} request{plural} in flight, the oldest for {}",
                told.in_flight,
                span(told.oldest)
            )
        }
        RowState::Complete(_) => "it is paused".to_owned(),
        RowState::Lost { since } => {
            let now_ms = clock.unix_ms(now);
            let at = now_ms.saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            format!("its connection was lost at {}", time_of_day(at, now_ms))
        }
    }
}

/// Everybody who has not completed, and why.
pub fn not_ready(rows: &[Row], names: &[String], now: MonoTime, clock: &Clock) -> Vec<NotReady> {
    rows.iter()
        .filter(|row| !matches!(row.state, RowState::Complete(_)))
        .map(|row| NotReady {
            initiator: row.entry.node.to_string(),
            attachment: names.get(row.entry.resource.0).cloned().unwrap_or_default(),
            because: because(&row.state, now, clock),
        })
        .collect()
}

fn was(count: u32) -> String {
    match count {
        0 => "nothing was".to_owned(),
        1 => "1 was".to_owned(),
        _ => format!("{count} were"),
    }
}

/// A span as people say it.
pub fn span(span: Duration) -> String {
    match span.as_micros() {
        us @ 0..1_000 => format!("{us} µs"),
        us @ 1_000..10_000 => format!("{}.{} ms", us / 1000, us / 100 % 10),
        us @ 10_000..1_000_000 => format!("{} ms", us / 1000),
        us @ 1_000_000..10_000_000 => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
        us => format!("{} s", us / 1_000_000),
    }
}
