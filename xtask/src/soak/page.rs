//! The page that is made of the records.

use super::record::Record;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A row: what one round is, and the record of each count that was run.
pub struct Row {
    /// For people.
    pub what: &'static str,
    /// By count, smallest first.
    pub records: Vec<(u32, Record)>,
}

/// The whole page; rows of which nothing was run are left out.
pub fn page(rows: &[Row], machine: &str) -> String {
    let records = || rows.iter().flat_map(|row| &row.records);
    let counts: BTreeSet<_> = records().map(|(count, _)| *count).collect();
    let columns: String = counts.iter().map(|count| format!(" {count} times |")).collect();
    let mut page = format!(
        "# Soak\n\nWhat `cargo xtask soak` last printed: disturbances that the end-to-end tests make, one after the \
         other, with\nevery block checked in the end. The time is the whole test's, and moves with the machine, as what the tests say of\n\
         themselves does: below the table, of their largest count. Development builds on {machine}.\n\n\
         | one round |{columns} commit, day, load |\n| --- |{} --- |\n",
        " --- |".repeat(counts.len()),
    );
    for row in rows.iter().filter(|row| !row.records.is_empty()) {
        _ = write!(page, "| {} |", row.what);
        for count in &counts {
            let found = row.records.iter().find(|(of, _)| of == count);
            let cell = found.map(|(_, record)| cell(record)).unwrap_or_default();
            _ = write!(page, " {cell} |");
        }
        _ = writeln!(page, " {} |", origins(row));
    }
    for row in rows {
        let said = row.records.iter().rev().find(|(_, record)| !record.outcome.is_empty());
        if let Some((count, record)) = said {
            let lines = record.outcome.join("\n");
            _ = write!(
                page,
                "\n## {}, {count} times\n\n{}.\n\n{lines}\n",
                row.what,
                origin(record)
            );
        }
    }
    page
}

fn cell(record: &Record) -> String {
    let word = if record.passed { "passed" } else { "FAILED" };
    format!("{word}, {:.0} s", record.seconds)
}

/// Of what and when a record is, and beside how much else.
fn origin(Record { commit, date, load: [from, to], .. }: &Record) -> String {
    let (least, most) = (from.min(*to), from.max(*to));
    format!("{commit}, {date}, {least:.0} to {most:.0}")
}

/// The same of all of a row, each once.
fn origins(row: &Row) -> String {
    let mut all: Vec<_> = row.records.iter().map(|(_, record)| origin(record)).collect();
    all.dedup();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(passed: bool, commit: &str, outcome: &[&str]) -> Record {
        let outcome = outcome.iter().map(|line| (*line).to_owned()).collect();
        let (commit, date) = (commit.to_owned(), "2026-11-23".to_owned());
        Record { passed, seconds: 12.4, date, commit, load: [9.6, 3.2], outcome }
    }

    #[test]
    fn a_page_has_each_count_that_was_run_and_the_words_of_the_largest() {
        let killed =
            vec![(10, record(true, "aaaa", &["few"])), (50, record(false, "bbbb", &["many"]))];
        let cut = vec![(20, record(true, "aaaa", &[]))];
        let none = Row { what: "never run", records: Vec::new() };
        let rows =
            [Row { what: "killed", records: killed }, none, Row { what: "cut", records: cut }];
        let page = page(&rows, "a machine");
        let table: Vec<_> = page.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            table,
            [
                "| one round | 10 times | 20 times | 50 times | commit, day, load |",
                "| --- | --- | --- | --- | --- |",
                "| killed | passed, 12 s |  | FAILED, 12 s | aaaa, 2026-11-23, 3 to 10; bbbb, 2026-11-23, 3 to 10 |",
                "| cut |  | passed, 12 s |  | aaaa, 2026-11-23, 3 to 10 |",
            ]
        );
        assert!(
            page.ends_with("\n## killed, 50 times\n\nbbbb, 2026-11-23, 3 to 10.\n\nmany\n"),
            "{page}"
        );
    }
}
