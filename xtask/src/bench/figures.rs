//! What one restart cost: a consumer's longest stall, laid end to end.

use super::load::Answered;
use lull_admin::{Message, RecordRow, RestartRecord};
use serde::Serialize;

/// The longest stall of one restart in microseconds. From `early_us` to `served_us` the pieces follow each other in
/// time and add up to the stall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pieces {
    /// The longest request of a consumer that was under way between PAUSE and RESUME, by the consumer's clock.
    pub stall_us: u64,
    /// What of it had passed when PAUSE was sent.
    pub early_us: u64,
    /// PAUSE to the last answer to what was in flight.
    pub pause_us: u64,
    /// The initiator's own flush after that.
    pub flush_us: u64,
    /// Until the old process had answered the others' last request.
    pub others_us: u64,
    /// The old process's last answer to the new one's first accept.
    pub down_us: u64,
    /// What of that had passed at DISCONNECT: media and record were made durable.
    pub settle_us: u64,
    /// That first accept to this initiator's CONNECT.
    pub connect_us: u64,
    /// CONNECT to RESUME.
    pub resume_us: u64,
    /// What remains: RESUME to the answer from the new process.
    pub served_us: u64,
    /// For comparison: the longest request of the same consumer in the two seconds before, under the same load.
    pub usual_us: u64,
    /// Requests that were in flight at this initiator when PAUSE arrived.
    pub in_flight: u64,
}

/// What the columns are called, in the order of [`Pieces::columns`].
pub const COLUMNS: [&str; WIDTH] = [
    "stall",
    "= early",
    "+ pause",
    "+ flush",
    "+ others",
    "+ down",
    "+ connect",
    "+ resume",
    "+ served",
    "beyond down",
    "(settle)",
    "(usual)",
];

/// How many columns there are.
const WIDTH: usize = 12;

impl Pieces {
    /// The stall that `longest`, a request of `row`'s consumer, is; in pieces as the record has them.
    pub fn of(record: &RestartRecord, row: &RecordRow, longest: Answered, usual_us: u64) -> Self {
        let pause = sent_us(record, row, "PAUSE").unwrap_or(0);
        let last_answer = record.last_answer_us.unwrap_or(0);
        let first_accept = record.first_accept_us.unwrap_or(last_answer);
        // It goes to a connection, which the drawing names where the attachment is gone from it.
        let disconnect = first_us(record, |message| message.name == "DISCONNECT").unwrap_or(0);
        let own_end = pause + row.drain_us + row.flush_us;
        let connect = sent_us(record, row, "CONNECT").unwrap_or(0);
        let mut pieces = Self {
            stall_us: longest.took_us,
            early_us: 0,
            pause_us: row.drain_us,
            flush_us: row.flush_us,
            others_us: last_answer.saturating_sub(own_end),
            down_us: first_accept.saturating_sub(last_answer),
            settle_us: disconnect.saturating_sub(last_answer),
            connect_us: connect.saturating_sub(first_accept),
            resume_us: row.resume_us,
            served_us: 0,
            usual_us,
            in_flight: row.in_flight_at_pause,
        };
        let rest = longest.took_us.saturating_sub(pieces.columns()[2..8].iter().sum());
        pieces.early_us = pause.saturating_sub(longest.begun_ms() * 1000).min(rest);
        pieces.served_us = rest - pieces.early_us;
        pieces
    }

    /// What no restart of a process could avoid is left out.
    pub fn beyond_down_us(&self) -> u64 {
        self.stall_us.saturating_sub(self.down_us)
    }

    /// In the order of [`COLUMNS`].
    pub fn columns(&self) -> [u64; WIDTH] {
        [
            self.stall_us,
            self.early_us,
            self.pause_us,
            self.flush_us,
            self.others_us,
            self.down_us,
            self.connect_us,
            self.resume_us,
            self.served_us,
            self.beyond_down_us(),
            self.settle_us,
            self.usual_us,
        ]
    }
}

/// When the target sent a message to the initiator of `row` first, in Unix microseconds.
pub fn sent_us(record: &RestartRecord, row: &RecordRow, name: &str) -> Option<u64> {
    first_us(record, |message| message.name == name && message.to == row.initiator)
}

fn first_us(record: &RestartRecord, fits: impl Fn(&&Message) -> bool) -> Option<u64> {
    let found = record.messages.iter().find(fits)?;
    Some(record.started * 1000 + found.offset_us)
}

/// The median of each column by itself.
pub fn medians(rounds: &[Pieces]) -> [u64; WIDTH] {
    std::array::from_fn(|column| median(rounds.iter().map(|one| one.columns()[column]).collect()))
}

/// The worst of each column by itself.
pub fn worst(rounds: &[Pieces]) -> [u64; WIDTH] {
    std::array::from_fn(|column| rounds.iter().map(|one| one.columns()[column]).max().unwrap_or(0))
}

/// The middle one; the higher of two; 0 of none.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A row of the table: a name, and milliseconds under [`COLUMNS`].
pub fn table_row(name: &str, columns: &[u64; WIDTH]) -> String {
    let mut row = format!("{name:<9}");
    for (title, us) in COLUMNS.iter().zip(columns) {
        let width = title.len().max(7);
        row.push_str(&format!("  {:>width$.2}", *us as f64 / 1000.0));
    }
    row
}

/// The head of the table.
pub fn table_head() -> String {
    let mut row = format!("{:<9}", "ms");
    for title in COLUMNS {
        let width = title.len().max(7);
        row.push_str(&format!("  {title:>width$}"));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset_us: u64, to: &str, name: &str) -> Message {
        Message { offset_us, to: to.into(), name: name.into(), ..Message::default() }
    }

    #[test]
    fn the_pieces_add_up_to_the_stall() {
        let row = RecordRow {
            initiator: "web1".into(),
            drain_us: 100,
            flush_us: 2000,
            resume_us: 800,
            ..RecordRow::default()
        };
        let record = RestartRecord {
            started: 1,
            last_answer_us: Some(1000 + 5000),
            first_accept_us: Some(1000 + 11_000),
            messages: vec![
                message(1500, "web0", "PAUSE"),
                message(1500, "web1", "PAUSE"),
                message(8000, "connection 2", "DISCONNECT"),
                message(11_100, "web0", "CONNECT"),
                message(11_300, "web1", "CONNECT"),
            ],
            ..RestartRecord::default()
        };
        let pieces = Pieces::of(&record, &row, Answered { at_ms: 14, took_us: 13_500 }, 50);
        assert_eq!(pieces.others_us, 5000 - 1500 - 2100);
        assert_eq!((pieces.down_us, pieces.settle_us, pieces.connect_us), (6000, 3000, 300));
        assert_eq!(pieces.beyond_down_us(), 7500);
        assert_eq!(pieces.early_us, 1500);
        assert_eq!(pieces.columns()[1..9].iter().sum::<u64>(), 13_500);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9, 1, 5]), 5);
        assert_eq!(median(vec![]), 0);
    }
}
