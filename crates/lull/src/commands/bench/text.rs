//! What a load says to people.

use std::fmt::Write as _;

use crate::load::{Latency, Report, Watch, Window};
use crate::output;
use crate::units::{grouped, show_ms};
use lull_admin::show_bytes;

/// One second of the load, all places together.
pub fn second(nth: u64, watches: &[Watch]) -> String {
    let mut all = Window::default();
    for window in watches.iter().map(Watch::take_window) {
        all.done += window.done;
        all.errors += window.errors;
        all.bytes += window.bytes;
        all.longest_request = all.longest_request.max(window.longest_request);
        all.longest_gap = all.longest_gap.max(window.longest_gap);
    }
    let in_flight: u64 = watches.iter().map(Watch::in_flight).sum();
    let wrong: u64 = watches.iter().map(Watch::wrong).sum();
    let mut line = format!(
        "{nth:>4} s {:>9} IOPS {:>11}/s  longest {:>7}  in flight {in_flight:>3}",
        grouped(all.done),
        show_bytes(all.bytes),
        show_us(u64::try_from(all.longest_request.as_micros()).unwrap_or(u64::MAX)),
    );
    if all.errors > 0 {
        let _ = write!(line, "  {} errors", grouped(all.errors));
    }
    if wrong > 0 {
        let _ = write!(line, "  {} WRONG", grouped(wrong));
    }
    line
}

/// The end of the load: what was measured, one column per place, and what was wrong.
pub fn table(reports: &[Report]) -> String {
    let mut text = String::new();
    let several = reports.len() > 1;
    let names: Vec<String> = (1..=reports.len()).map(|nth| format!("({nth})>")).collect();
    let mut heads = vec![""];
    if several {
        for (report, nth) in reports.iter().zip(1..) {
            let _ = writeln!(text, "({nth}) {}", report.place);
        }
        heads.extend(names.iter().map(String::as_str));
    } else {
        let _ = writeln!(text, "{}", reports.first().map_or("", |report| &*report.place));
        heads.push(">");
    }
    let mut rows = output::table(&heads);
    for (name, cell) in CELLS {
        let mut row = vec![(*name).to_owned()];
        row.extend(reports.iter().map(cell));
        if row[1..].iter().any(|cell| cell != "-") {
            rows.add_row(row);
        }
    }
    text.push_str(output::indented(&rows).trim_start_matches('\n'));
    for report in reports {
        let whose = if several { format!("{}: ", report.place) } else { String::new() };
        for (kind, count) in &report.errors {
            let _ = writeln!(text, "{whose}{} × {kind}", grouped(*count));
        }
        for told in report.verification.iter().flat_map(|verification| &verification.told) {
            let _ = writeln!(text, "{whose}WRONG {told}");
        }
    }
    for record in reports.iter().filter_map(|report| report.record.as_ref()) {
        let (file, lines) = (&record.file, grouped(record.lines));
        let _ = match &record.error {
            None => writeln!(text, "recorded in {file}: {lines} lines"),
            Some(error) => writeln!(text, "the history in {file} is not whole: {error}"),
        };
        if record.waited_ms > 0 {
            let waited = show_ms(record.waited_ms);
            let _ =
                writeln!(text, "  the load waited {waited} for that file: it is slower by that");
        }
    }
    if reports.iter().all(|report| report.ok) {
        let _ = writeln!(text, "{}", praise(reports));
    }
    text
}

/// A name and how its cell is made.
type Cell = (&'static str, fn(&Report) -> String);

/// The rows of the table; a row of dashes is left out.
const CELLS: &[Cell] = &[
    ("reads", |report| count(report.reads)),
    ("writes", |report| count(report.writes)),
    ("flushes", |report| count(report.flushes)),
    ("requests per second", |report| grouped(report.iops)),
    ("bytes per second", |report| show_bytes(report.bytes_per_second)),
    ("read p50 / p99", |report| latency(report.read_latency)),
    ("write p50 / p99", |report| latency(report.write_latency)),
    ("flush p50 / p99", |report| latency(report.flush_latency)),
    ("longest request", |report| show_ms(report.longest_request_ms)),
    ("longest time without success", |report| show_ms(report.longest_gap_ms)),
    ("connections lost", |report| count(report.connections_lost)),
    ("errors", |report| grouped(report.error_count())),
    ("reads checked", |report| of_verification(report, |found| found.checked_reads)),
    ("blocks written and verified", |report| {
        of_verification(report, |found| found.verified_blocks)
    }),
    ("blocks wrong", |report| of_verification(report, |found| found.wrong_blocks)),
    ("blocks not read", |report| match &report.verification {
        Some(found) if found.unread_blocks > 0 => grouped(found.unread_blocks),
        _ => "-".to_owned(),
    }),
];

fn of_verification(report: &Report, number: fn(&crate::load::Verification) -> u64) -> String {
    report.verification.as_ref().map_or_else(|| "-".to_owned(), |found| grouped(number(found)))
}

fn count(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { grouped(number) }
}

fn latency(latency: Option<Latency>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |latency| format!("{} / {}", show_us(latency.p50_us), show_us(latency.p99_us)),
    )
}

fn praise(reports: &[Report]) -> String {
    match reports.iter().map(|report| report.verification.as_ref()).collect::<Option<Vec<_>>>() {
        Some(found) => {
            let reads: u64 = found.iter().map(|found| found.checked_reads).sum();
            let blocks: u64 = found.iter().map(|found| found.verified_blocks).sum();
            let (reads, blocks) = (grouped(reads), grouped(blocks));
            format!("right: no errors, {reads} reads explained, {blocks} blocks verified")
        }
        None => "no errors; nothing was verified".to_owned(),
    }
}

/// What was not right, for the exit status' sentence.
pub fn failure(reports: &[Report]) -> String {
    let errors: u64 = reports.iter().map(Report::error_count).sum();
    let found = || reports.iter().filter_map(|report| report.verification.as_ref());
    let wrong: u64 = found().map(|found| found.wrong_blocks).sum();
    let unread: u64 = found().map(|found| found.unread_blocks).sum();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(format!("{} requests failed", grouped(errors)));
    }
    if wrong > 0 {
        parts.push(format!("{} blocks are wrong", grouped(wrong)));
    }
    if unread > 0 {
        parts.push(format!("{} blocks could not be read in the end", grouped(unread)));
    }
    if reports.iter().any(|report| report.record.as_ref().is_some_and(|it| it.error.is_some())) {
        parts.push("the history is not whole".to_owned());
    }
    if found().any(|found| !found.complete) {
        parts.push("not everything was read once more".to_owned());
    }
    parts.join(", ")
}

/// `85 µs`, `1.2 ms`, `3.4 s`.
fn show_us(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..100_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => show_ms(us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_spans_are_short() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let spans = [7, 1250, 99_999, 100_000, 2_500_000].map(show_us);
        assert_eq!(spans, ["7 µs", "1.2 ms", "99.9 ms", "100 ms", "2.5 s"]);
    }
}
