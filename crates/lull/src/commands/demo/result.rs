//! What came of each part, what was promised, and the summary.

use super::face::{Colour, Face};
use super::stage::INITIATORS;
use super::work::Stalls;
use crate::load::Report;
use crate::units::{grouped, show_ms};

/// What came of everything.
#[derive(Debug, Default)]
pub struct Results {
    rows: Vec<Row>,
    broken: Vec<String>,
    verified: u64,
    reads: u64,
}

/// One line of the summary.
#[derive(Debug)]
struct Row {
    what: String,
    errors: u64,
    stall_ms: u64,
    verified: u64,
}

impl Results {
    /// Notes a line of the summary: what these initiators saw of `what`.
    pub fn row(
        &mut self,
        what: impl Into<String>,
        names: &[&str],
        reports: &[Report],
        stalls: &Stalls,
    ) {
        let sum = |number: fn(&Report) -> u64| names.iter().map(|n| number(of(reports, n))).sum();
        let errors: u64 = sum(Report::error_count);
        let verified: u64 = sum(verified_blocks);
        let checked = |report: &Report| report.verification.as_ref().map_or(0, |v| v.checked_reads);
        self.verified += verified;
        self.reads += sum(checked);
        let stall_ms = stalls.longest(names);
        self.rows.push(Row { what: what.into(), errors, stall_ms, verified });
    }

    /// Notes whether something promised has happened.
    pub fn promise(&mut self, kept: bool, otherwise: impl Into<String>) {
        if !kept {
            self.broken.push(otherwise.into());
        }
    }

    /// Every block of these was right in the end, and nothing is left unread.
    pub fn promise_right(&mut self, part: u8, reports: &[Report]) {
        for report in reports {
            let Some(found) = &report.verification else { continue };
            let right = found.complete && found.wrong_blocks + found.unread_blocks == 0;
            let told = found.told.first().map(|told| format!(": {told}")).unwrap_or_default();
            let (wrong, unread) = (found.wrong_blocks, found.unread_blocks);
            let place = &report.place;
            let text =
                format!("part {part}: {place} has {wrong} wrong and {unread} unread blocks{told}");
            self.promise(right, text);
        }
    }

    /// No request of these initiators failed.
    pub fn promise_no_errors(&mut self, part: u8, names: &[&str], reports: &[Report]) {
        for report in names.iter().map(|name| of(reports, name)) {
            let errors = error_words(report);
            self.promise(report.errors.is_empty(), format!("part {part}: {errors}"));
        }
    }

    /// What was promised and has not happened.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// What was checked in all.
    pub fn sum(&self) -> String {
        let (reads, verified) = (grouped(self.reads), grouped(self.verified));
        format!("{reads} reads and {verified} blocks checked, none wrong")
    }

    /// The summary in a box.
    pub fn table(&self, face: &Face) -> Vec<String> {
        const HEADS: [&str; 4] = ["what happened", "failed", "longest wait", "verified"];
        let cells: Vec<[String; 4]> = self.rows.iter().map(Row::cells).collect();
        let width = |column: usize| {
            let cells = cells.iter().map(|row| row[column].chars().count());
            cells.chain([HEADS[column].chars().count()]).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2), width(3)];
        let rule = |left: &str, middle: &str, right: &str| {
            let parts = widths.map(|width| "─".repeat(width + 2));
            face.paint(Colour::Dim, &format!("{left}{}{right}", parts.join(middle)))
        };
        let bar = face.paint(Colour::Dim, "│");
        let row = |cells: [String; 4]| format!("{bar} {} {bar}", cells.join(&format!(" {bar} ")));
        let heads = |n: usize| {
            let w = widths[n];
            if n == 0 { format!("{:w$}", HEADS[n]) } else { format!("{:>w$}", HEADS[n]) }
        };
        let mut lines = vec![rule("┌", "┬", "┐")];
        lines.push(row([0, 1, 2, 3].map(|n| face.paint(Colour::Bold, &heads(n)))));
        lines.push(rule("├", "┼", "┤"));
        for (result, [what, errors, stall, verified]) in self.rows.iter().zip(cells) {
            let colour = if result.errors == 0 { Colour::Good } else { Colour::Bad };
            lines.push(row([
                format!("{what:w$}", w = widths[0]),
                face.paint(colour, &format!("{errors:>w$}", w = widths[1])),
                format!("{stall:>w$}", w = widths[2]),
                format!("{verified:>w$}", w = widths[3]),
            ]));
        }
        lines.push(rule("└", "┴", "┘"));
        lines
    }
}

impl Row {
    fn cells(&self) -> [String; 4] {
        [self.what.clone(), grouped(self.errors), show_ms(self.stall_ms), grouped(self.verified)]
    }
}

fn verified_blocks(report: &Report) -> u64 {
    report.verification.as_ref().map_or(0, |found| found.verified_blocks)
}

/// `web: 8 × connection lost`.
pub fn error_words(report: &Report) -> String {
    let kinds = report.errors.iter().map(|(kind, count)| format!("{} × {kind}", grouped(*count)));
    let kinds: Vec<String> = kinds.collect();
    let words = if kinds.is_empty() { "no errors".to_owned() } else { kinds.join(", ") };
    format!("{}: {words}", report.place)
}

/// The report of one initiator.
pub fn of<'a>(reports: &'a [Report], name: &str) -> &'a Report {
    let at = INITIATORS.iter().position(|initiator| *initiator == name).unwrap_or(0);
    &reports[at]
}
