//! `lull history` for people.

use std::fmt::Write as _;

use lull_admin::{
    Outcome, OutcomeKind, PhaseSpan, RecordRow, RestartKind, RestartPhase, RestartRecord,
};

use super::clock_time::Zone;
use super::event_line;
use super::live::what_it_is;
use super::sequence::sequence;
use super::table::{or_dash, within};
use crate::units::show_ms;

/// All restarts, the newest last, in lines of at most `width` characters where that is said. The stall is the longest of
/// any initiator's.
pub fn record_list(records: &[RestartRecord], zone: &Zone, width: Option<usize>) -> String {
    if records.is_empty() {
        return "no restart yet\n".to_owned();
    }
    let heads = ["ID>", "WHEN", "KIND", "OUTCOME", "TOOK>", "STALL>", "INITIATORS>", "REASON~"];
    let row = |record: &RestartRecord| {
        let took = record.ended.map(|ended| show_ms(ended.saturating_sub(record.started)));
        let stall = record.rows.iter().filter_map(|row| row.stall_ms).max().map(show_ms);
        vec![
            record.id.to_string(),
            format!("{} {}", zone.date(record.started), zone.time(record.started)),
            record.kind.to_string(),
            outcome_word(record.outcome.as_ref()).to_owned(),
            took.unwrap_or_else(|| "-".to_owned()),
            stall.unwrap_or_else(|| "-".to_owned()),
            record.rows.len().to_string(),
            or_dash(&record.reason).to_owned(),
        ]
    };
    let spared = ["REASON", "INITIATORS", "KIND", "TOOK", "STALL"];
    within(&heads, records.iter().map(row).collect(), &spared, width)
}

fn outcome_word(outcome: Option<&Outcome>) -> &str {
    outcome.map_or("no outcome", |outcome| outcome.kind.as_str())
}

/// Characters of a line where nobody knows how many there may be.
const PAPER: usize = 100;

/// One restart in full: phases, what each initiator saw, every transition, the sequence drawn.
pub fn record_text(record: &RestartRecord, zone: &Zone, width: Option<usize>) -> String {
    let mut text = String::new();
    let when = format!("{} {}", zone.date(record.started), zone.time(record.started));
    let what = what_it_is(record.kind);
    let _ = writeln!(text, "{what} {} of {} ({}), {when}", record.id, record.node, record.kind);
    let _ = writeln!(text, "reason: {}", or_dash(&record.reason));
    text.push_str(&summary(record, width));
    if !record.transitions.is_empty() {
        text.push_str("\ntransitions\n");
        for event in &record.transitions {
            let _ = writeln!(text, "  {}", event_line(event, zone));
        }
    }
    if !record.messages.is_empty() {
        text.push_str("\nmessages, by the time since the order\n");
        for line in sequence(&record.messages, &record.node, width.unwrap_or(PAPER)).lines() {
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// How it ended, how long each phase took, and what each initiator saw.
pub fn summary(record: &RestartRecord, width: Option<usize>) -> String {
    let mut text = format!("{}\n", outcome_sentence(record));
    if !record.phases.is_empty() {
        let phases: Vec<_> = record.phases.iter().map(phase_time).collect();
        let _ = writeln!(text, "phases: {}", phases.join(", "));
    }
    if record.rows.is_empty() {
        text.push_str("nobody was attached\n");
        return text;
    }
    let heads = ["INITIATOR", "RESOURCE", "IN FLIGHT AT PAUSE>", "PAUSED AFTER>", "STALL>", "~"];
    let row = |row: &RecordRow| {
        let span = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), show_ms);
        let remark = match (&row.not_completed_because, row.resumed_ms) {
            (Some(why), _) => format!("not ready: {why}"),
            // Who went on after a pause was never away, and told what it cost.
            (None, None) if completed(record) && row.stall_ms.is_none() => {
                "has not come back".to_owned()
            }
            (None, _) => String::new(),
        };
        vec![
            row.initiator.clone(),
            row.resource.clone(),
            row.in_flight_at_pause.to_string(),
            span(row.pause_complete_ms),
            span(row.stall_ms),
            remark,
        ]
    };
    let rows = record.rows.iter().map(row).collect();
    let spared = ["IN FLIGHT AT PAUSE", "PAUSED AFTER", "RESOURCE"];
    let _ = write!(text, "\n{}", within(&heads, rows, &spared, width));
    text
}

fn completed(record: &RestartRecord) -> bool {
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    matches!(kind, Some(OutcomeKind::Completed | OutcomeKind::Proceeded))
}

fn outcome_sentence(record: &RestartRecord) -> String {
    let Some(outcome) = &record.outcome else {
        let ends = matches!(record.kind, RestartKind::Stop | RestartKind::Host);
        let down = record.phases.last().is_some_and(|span| span.phase == RestartPhase::Down);
        return if ends && down {
            "no outcome yet: the target has stopped, and whoever starts it next ends the pause"
        } else {
            "no outcome: it is under way, or the target died in it"
        }
        .to_owned();
    };
    let took = record.ended.map(|ended| show_ms(ended.saturating_sub(record.started)));
    let took = took.map(|took| format!(" after {took}")).unwrap_or_default();
    match &outcome.why {
        Some(why) => format!("{}{took}: {why}", outcome.kind),
        None => format!("{}{took}", outcome.kind),
    }
}

fn phase_time(span: &PhaseSpan) -> String {
    // Most kinds of a restart have no successor.
    let name = match span.phase {
        RestartPhase::StartingSuccessor => "preparing",
        phase => phase.as_str(),
    };
    match span.end {
        Some(end) => format!("{name} {}", show_ms(end.saturating_sub(span.start))),
        None => format!("{name} (not ended)"),
    }
}
