//! The page that is made of the records.

use super::record::Record;
use std::collections::{BTreeMap, BTreeSet};
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
         | one round |{columns} commit |\n| --- |{} --- |\n",
        " --- |".repeat(counts.len()),
    );
    for row in rows.iter().filter(|row| !row.records.is_empty()) {
        _ = write!(page, "| {} |", row.what);
        for count in &counts {
            let found = row.records.iter().find(|(of, _)| of == count);
            let cell = found.map(|(_, record)| cell(record)).unwrap_or_default();
            _ = write!(page, " {cell} |");
        }
        _ = writeln!(page, " {} |", origins(row.records.iter().map(|(_, record)| record)));
    }
    for row in rows {
        let said = row.records.iter().rev().find(|(_, record)| !record.outcome.is_empty());
        if let Some((count, record)) = said {
            let lines = record.outcome.join("\n");
            _ = write!(
                page,
                "\n## {}, {count} times\n\n{}.\n\n{lines}\n",
                row.what,
                origins([record])
            );
        }
    }
    page
}

fn cell(record: &Record) -> String {
    let word = if record.passed { "passed" } else { "FAILED" };
    format!("{word}, {:.0} s", record.seconds)
}

/// Of what and when records are, and beside how much else.
fn origins<'a>(records: impl IntoIterator<Item = &'a Record>) -> String {
    let mut loads = BTreeMap::<_, (f64, f64)>::new();
    for Record { commit, date, load: [from, to], .. } in records {
        let (least, most) = loads.entry((date, commit)).or_insert((*from, *from));
        (*least, *most) = (least.min(*from).min(*to), most.max(*from).max(*to));
    }
    let told = |((date, commit), (least, most))| {
        format!("{commit} of {date}, at a load of {least:.0} to {most:.0}")
    };
    loads.into_iter().map(told).collect::<Vec<_>>().join("; ")
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
                "| one round | 10 times | 20 times | 50 times | commit |",
                "| --- | --- | --- | --- | --- |",
                "| killed | passed, 12 s |  | FAILED, 12 s | aaaa of 2026-11-23, at a load of 3 to 10; bbbb of 2026-11-23, at a load of 3 to 10 |",
                "| cut |  | passed, 12 s |  | aaaa of 2026-11-23, at a load of 3 to 10 |",
            ]
        );
        assert!(
            page.ends_with(
                "\n## killed, 50 times\n\nbbbb of 2026-11-23, at a load of 3 to 10.\n\nmany\n"
            ),
            "{page}"
        );
    }
}
