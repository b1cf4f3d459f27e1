//! The live table of a restart, and its question.

use lull_admin::{Question, RestartKind, RestartPhase, RestartRow, RestartStatus, RowPhase};

use super::clock_time::Zone;
use super::fit::{cut, fit};
use crate::units::show_ms;
use lull_admin::show_bytes;

/// What is known of a restart while it runs, also while no daemon answers.
#[derive(Clone, Debug)]
pub struct RestartView {
    /// Name of the target.
    pub target: String,
    /// The last state that was told.
    pub restart: RestartStatus,
    /// The daemon's clock when it was told, in Unix milliseconds.
    pub at: u64,
    /// For how many milliseconds no daemon has served, and why, where it says so; none: one does.
    pub away: Option<(u64, Option<String>)>,
}

/// Cells of a row's bar, one for each step from PAUSE to RESUME.
const BAR_CELLS: usize = 7;

impl RestartView {
    /// The table as lines of at most `width` characters and at most `height` in number.
    pub fn lines(&self, width: usize, height: usize) -> Vec<String> {
        let mut lines = vec![self.title()];
        // What went wrong is read to its end.
        lines.extend(fit(&self.timer(), width));
        let rows = &self.restart.rows;
        // The cursor's line is the last one.
        let room = height.saturating_sub(lines.len() + 1);
        let room = if rows.len() > room { room.saturating_sub(1).max(1) } else { room };
        let names: Vec<_> = rows.iter().map(row_name).collect();
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (row, name) in rows.iter().zip(&names).take(room) {
            lines.push(format!(
                "  {name:longest$}  {:10}  {}  {}",
                row.phase,
                bar(row.phase),
                details(row)
            ));
        }
        if rows.len() > room {
            lines.push(format!("  … and {} more", rows.len() - room));
        }
        lines.truncate(height.saturating_sub(1).max(1));
        lines.iter().map(|line| cut(line.trim_end(), width)).collect()
    }

    fn title(&self) -> String {
        let restart = &self.restart;
        let what = what_it_is(restart.kind);
        let reason = match &*restart.reason {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        format!("{what} {} of {} ({}){reason}", restart.id, self.target, restart.kind)
    }

    fn timer(&self) -> String {
        match &self.away {
            Some((ms, None)) => {
                return format!("  down: no daemon has answered for {}", show_ms(*ms));
            }
            Some((ms, Some(why))) => return format!("  down for {}: {why}", show_ms(*ms)),
            None => {}
        }
        let restart = &self.restart;
        let phase = phase_words(restart.phase, restart.kind);
        let lasted = show_ms(self.at.saturating_sub(restart.phase_since));
        let Some(deadline) = restart.deadline else {
            return format!("  {phase} for {lasted}");
        };
        let left = show_ms(deadline.saturating_sub(self.at));
        match restart.waits.iter().map(|wait| &*wait.then).find(|then| !then.is_empty()) {
            Some(then) => format!("  {phase} for {lasted}, {left} left, then: {then}"),
            None => format!("  {phase} for {lasted}, {left} left"),
        }
    }
}

/// A restart, or the pause for one that something else performs, as one word.
pub fn what_it_is(kind: RestartKind) -> &'static str {
    match kind {
        RestartKind::Pause => "pause",
        _ => "restart",
    }
}

/// The phase of a restart for people.
pub fn phase_words(phase: RestartPhase, kind: RestartKind) -> &'static str {
    match phase {
        RestartPhase::StartingSuccessor if kind == RestartKind::Daemon => {
            "nobody is paused yet: the successor checks itself"
        }
        RestartPhase::StartingSuccessor => "nobody is paused yet: writing back",
        RestartPhase::Pausing => "pausing",
        RestartPhase::Asking => "not everything is ready",
        RestartPhase::Settling => "making everything durable",
        RestartPhase::Paused => "all are paused",
        RestartPhase::Down => "down",
        RestartPhase::Resuming => "resuming",
        RestartPhase::Ended => "ended",
        RestartPhase::Unknown => "in a phase that this command does not know",
    }
}

fn row_name(row: &RestartRow) -> String {
    match &*row.resource {
        "" => row.initiator.clone(),
        resource => format!("{} on {resource}", row.initiator),
    }
}

fn bar(phase: RowPhase) -> String {
    let full = match phase {
        RowPhase::Sharing | RowPhase::Lost | RowPhase::Unknown => 0,
        RowPhase::Asked => 1,
        RowPhase::Draining => 2,
        RowPhase::Flushing => 3,
        RowPhase::Paused => 4,
        RowPhase::Away => 5,
        RowPhase::Replaying => 6,
        RowPhase::Resumed | RowPhase::Detached => BAR_CELLS,
    };
    "█".repeat(full) + &"░".repeat(BAR_CELLS - full)
}

fn details(row: &RestartRow) -> String {
    if let Some(stall_ms) = row.stall_ms {
        return format!("stood still for {}", show_ms(stall_ms));
    }
    if let Some(why) = &row.not_completed_because {
        return why.clone();
    }
    let mut parts = Vec::new();
    if row.in_flight > 0 {
        parts.push(format!("{} in flight, oldest {}", row.in_flight, show_ms(row.oldest_ms)));
    }
    if row.unflushed > 0 {
        parts.push(format!("{} unflushed", show_bytes(row.unflushed)));
    }
    if let (true, Some(ms)) = (parts.is_empty(), row.pause_complete_ms) {
        parts.push(format!("paused after {}", show_ms(ms)));
    }
    parts.join(", ")
}

/// The question of an ended pause timer, the last line without its end: the answer goes there.
pub fn question_lines(question: &Question, zone: &Zone) -> Vec<String> {
    let mut lines = vec!["The pause timer has ended, and not everything is ready:".to_owned()];
    lines.extend(question.not_ready.iter().map(|who| format!("  {who}")));
    lines.push("  wait     another pause timer's span".to_owned());
    lines.push("  proceed  restart without it; initiators hold, and replay afterwards".to_owned());
    lines.push("  abort    do not restart; everybody goes on".to_owned());
    // A time that stays: a countdown would be drawn over what is being typed.
    let end = zone.time(question.deadline);
    lines.push(format!("wait, proceed or abort? (abort at {end}) "));
    lines
}
