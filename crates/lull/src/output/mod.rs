//! What people see: text made from documents, so that it can be tested without a terminal.

mod clock_time;
mod fit;
mod live;
mod record;
mod screen;
pub mod sequence;
mod status;
mod table;

pub use clock_time::Zone;
pub use fit::{fit, wrapped};
pub use live::{RestartView, phase_words, question_lines, what_it_is};
pub use record::{record_list, record_text, summary};
pub use screen::{Screen, size_of, width_of};
pub use status::status_text;
pub use table::{indented, table};

use lull_admin::Event;

/// One transition as a line: its time, whom it is about, what happened.
pub fn event_line(event: &Event, zone: &Zone) -> String {
    format!("{} {event}", zone.time_ms(event.at))
}

/// The same for a stream that may last for days.
pub fn dated_event_line(event: &Event, zone: &Zone) -> String {
    let restart = event.restart.map(|id| format!(" (restart {id})")).unwrap_or_default();
    format!("{} {} {event}{restart}", zone.date(event.at), zone.time_ms(event.at))
}

/// A text on standard output, as wide as a terminal there is.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(wrapped(text, width_of(std::io::stdout())).as_bytes())?;
    Ok(out.flush()?)
}

/// A document on standard output, the only thing there with `--json`.
pub fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, document)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests;
