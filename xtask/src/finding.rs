//! What a check found: where, what, and what to do about it.

use std::fmt;

/// One thing to mend, as shown to a developer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root of the repository.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// The next step.
    pub fix: String,
}

impl Finding {
    /// A finding at `file:line`.
    pub fn new(file: &str, line: usize, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    → {}", self.file, self.line, self.what, self.fix)
    }
}

/// Prints findings in the order of their places, then one line of summary. True if there were none.
pub fn report(task: &str, checked: &str, mut findings: Vec<Finding>) -> bool {
    findings.sort();
    findings.dedup();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => eprintln!("{task}: {checked}, nothing to mend"),
        n => eprintln!("{task}: {checked}, {n} to mend"),
    }
    findings.is_empty()
}
