//! What one restart cost: a consumer's longest stall, laid end to end.

use lull_admin::{RecordRow, RestartRecord};
use serde::Serialize;

/// The longest stall of one restart in microseconds. All but `stall_us` and `before_us` follow each other in time and
/// add up to the stall, `rest_us` being what is left: on the way to the old process, and in the new one's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pieces {
    /// The longest request of a consumer around the restart, by the consumer's clock.
    pub stall_us: u64,
    /// PAUSE to the last answer to what was in flight.
    pub pause_us: u64,
    /// The initiator's own flush after that.
    pub flush_us: u64,
    /// Until the old process had answered the others' last request.
    pub others_us: u64,
    /// The old process's last answer to the new one's first accept.
    pub down_us: u64,
    /// That first accept to this initiator's CONNECT.
    pub connect_us: u64,
    /// CONNECT to RESUME.
    pub resume_us: u64,
    /// What remains.
    pub rest_us: u64,
    /// For comparison: the longest request of the same consumer under the same load before the restart.
    pub before_us: u64,
    /// Requests that were in flight at this initiator when PAUSE arrived.
    pub in_flight: u64,
}

/// What the columns are called, in the order of [`Pieces::columns`].
pub const COLUMNS: [&str; 10] = [
    "stall",
    "= pause",
    "+ flush",
    "+ others",
    "+ down",
    "+ connect",
    "+ resume",
    "+ rest",
    "beyond down",
    "(before)",
];

impl Pieces {
    /// The stall that a consumer of `row` saw, in pieces as the record has them.
    pub fn of(record: &RestartRecord, row: &RecordRow, stall_us: u64, before_us: u64) -> Self {
        let begun = record.started * 1000;
        let sent = |name: &str| {
            let mut messages = record.messages.iter();
            let found =
                messages.find(|message| message.name == name && message.to == row.initiator);
            found.map_or(0, |message| begun + message.offset_us)
        };
        let last_answer = record.last_answer_us.unwrap_or(0);
        let first_accept = record.first_accept_us.unwrap_or(last_answer);
        let own_end = sent("PAUSE") + row.drain_us + row.flush_us;
        let mut pieces = Self {
            stall_us,
            before_us,
            pause_us: row.drain_us,
            flush_us: row.flush_us,
            others_us: last_answer.saturating_sub(own_end),
            down_us: first_accept.saturating_sub(last_answer),
            connect_us: sent("CONNECT").saturating_sub(first_accept),
            resume_us: row.resume_us,
            rest_us: 0,
            in_flight: row.in_flight_at_pause,
        };
        pieces.rest_us = stall_us.saturating_sub(
            pieces.pause_us
                + pieces.flush_us
                + pieces.others_us
                + pieces.down_us
                + pieces.connect_us
                + pieces.resume_us,
        );
        pieces
    }

    /// What no restart of a process could avoid is left out.
    pub fn beyond_down_us(&self) -> u64 {
        self.stall_us.saturating_sub(self.down_us)
    }

    /// In the order of [`COLUMNS`].
    pub fn columns(&self) -> [u64; 10] {
        [
            self.stall_us,
            self.pause_us,
            self.flush_us,
            self.others_us,
            self.down_us,
            self.connect_us,
            self.resume_us,
            self.rest_us,
            self.beyond_down_us(),
            self.before_us,
        ]
    }
}

/// The median of each column by itself.
pub fn medians(rounds: &[Pieces]) -> [u64; 10] {
    std::array::from_fn(|column| median(rounds.iter().map(|one| one.columns()[column]).collect()))
}

/// The worst of each column by itself.
pub fn worst(rounds: &[Pieces]) -> [u64; 10] {
    std::array::from_fn(|column| rounds.iter().map(|one| one.columns()[column]).max().unwrap_or(0))
}

/// The middle one; the higher of two; 0 of none.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A row of the table: a name, and milliseconds under [`COLUMNS`].
pub fn table_row(name: &str, columns: &[u64; 10]) -> String {
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
    use lull_admin::Message;

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
                message(11_100, "web0", "CONNECT"),
                message(11_300, "web1", "CONNECT"),
            ],
            ..RestartRecord::default()
        };
        let pieces = Pieces::of(&record, &row, 12_000, 50);
        assert_eq!(pieces.others_us, 5000 - 1500 - 2100);
        assert_eq!((pieces.down_us, pieces.connect_us), (6000, 300));
        assert_eq!(pieces.beyond_down_us(), 6000);
        assert_eq!(pieces.columns()[1..8].iter().sum::<u64>(), 12_000);
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9, 1, 5]), 5);
        assert_eq!(median(vec![]), 0);
    }
}
