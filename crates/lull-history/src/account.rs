//! Which lines of a history a finding is about, for people who look there.

use crate::file::{Error, Event, Finding, Line, each_line};
use crate::{FaultKind, Held, Op, Outcome};
use std::collections::BTreeMap;
use std::io::BufRead;

/// Where a request stands in a file: numbers of lines, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Its begin.
    pub begin: usize,
    /// Its end; `None`: it has none, or none before the finding.
    pub end: Option<usize>,
    /// Whether it was answered with success.
    pub done: bool,
}

/// The requests behind one finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The read.
    pub read: Option<Lines>,
    /// The change that it returned.
    pub found: Option<Lines>,
    /// Another unit, for which what it returned was written by [`Account::found`].
    pub elsewhere: Option<u64>,
    /// The change that should have been there.
    pub newer: Option<Lines>,
    /// The first flush that covered that change.
    pub flush: Option<Lines>,
}

/// Goes through a history once more and finds the lines of these findings.
///
/// # Errors
/// As [`check`](crate::file::check).
pub fn of(from: impl BufRead, findings: &[Finding]) -> Result<Vec<Account>, Error> {
    let mut accounts = vec![Account::default(); findings.len()];
    let mut flushes = BTreeMap::new();
    each_line(from, |line, at| {
        let Line::Event(_, event) = at else { return };
        for (finding, account) in findings.iter().zip(&mut accounts) {
            if line <= finding.line {
                account.see(finding, line, &event, &flushes);
            }
        }
        if let Event::Begin { id, op: Op::Flush, .. } = event {
            flushes.insert(id, line);
        }
    })?;
    Ok(accounts)
}

impl Account {
    fn see(
        &mut self,
        finding: &Finding,
        line: usize,
        event: &Event,
        flushes: &BTreeMap<u64, usize>,
    ) {
        let fault = &finding.fault;
        match event {
            Event::Begin { id, op, .. } => {
                let lines = Lines { begin: line, end: None, done: false };
                if *id == fault.read {
                    self.read = Some(lines);
                }
                if Some(*id) == fault.newer {
                    self.newer = Some(lines);
                }
                match (fault.found, &fault.held) {
                    (Some(found), _) if found == *id => self.found = Some(lines),
                    (None, Held::Whole(number)) => self.wrote(*number, fault.unit, op, lines),
                    _ => {}
                }
            }
            Event::End { id, outcome, .. } => {
                let done = *outcome == Outcome::Done;
                let end = |lines: &mut Option<Lines>| {
                    if let Some(lines) = lines {
                        (lines.end, lines.done) = (Some(line), done);
                    }
                };
                if *id == fault.read {
                    end(&mut self.read);
                } else if Some(*id) == fault.newer {
                    end(&mut self.newer);
                } else if Some(*id) == fault.found {
                    end(&mut self.found);
                } else if let Some(begin) = flushes.get(id)
                    && done
                    && self.flush.is_none()
                    && finding.fault.kind == FaultKind::FlushedLost
                    && self.newer.is_some_and(|newer| newer.end.is_some_and(|end| end < *begin))
                {
                    self.flush = Some(Lines { begin: *begin, end: Some(line), done });
                }
            }
            Event::Settle { .. } | Event::Lost(_) | Event::Forsaken { .. } => {}
        }
    }

    /// Whether this is the write of a number that the unit does not know any more.
    fn wrote(&mut self, number: u64, unit: u64, op: &Op, lines: Lines) {
        if let Op::Write { first, count, content, .. } = *op
            && (content..content + count).contains(&number)
        {
            let there = first + (number - content);
            self.found = Some(lines);
            self.elsewhere = (there != unit).then_some(there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::check;

    const HISTORY: &str = "lull-history 1\npromise acknowledged before unknown\n\
        0 begin 1 by 1 write 5 1 40\n1 end 1 done\n2 begin 2 by 1 write 5 1 41\n3 end 2 done\n\
        4 begin 3 by 1 flush\n5 end 3 done\n6 begin 4 by 1 read 5 1\n7 end 4 done 40\n\
        8 begin 5 by 1 read 6 1\n9 end 5 done 41\n";

    #[test]
    fn a_finding_names_the_lines_of_all_that_it_is_about() {
        let verdict = check(HISTORY.as_bytes()).unwrap();
        let kinds: Vec<_> = verdict.findings.iter().map(|found| found.fault.kind).collect();
        assert_eq!(kinds, [FaultKind::FlushedLost, FaultKind::Corrupt]);
        let lines = |begin, end| Some(Lines { begin, end: Some(end), done: true });
        let accounts = of(HISTORY.as_bytes(), &verdict.findings).unwrap();
        let lost = &accounts[0];
        assert_eq!((lost.read, lost.newer), (lines(9, 10), lines(5, 6)));
        assert_eq!(
            (lost.found, lost.elsewhere),
            (Some(Lines { begin: 3, end: None, done: false }), None)
        );
        assert_eq!(lost.flush, lines(7, 8));
        let strange = &accounts[1];
        assert_eq!((strange.found.map(|found| found.begin), strange.elsewhere), (Some(5), Some(5)));
    }
}
