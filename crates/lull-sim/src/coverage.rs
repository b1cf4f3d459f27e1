//! What was seen to happen: how often each machine went from one state to another, and which fault struck in which.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    moves: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    strikes: BTreeMap<(&'static str, &'static str, &'static str), u64>,
}

/// The states of each machine, in the order of its drawing.
pub const STATES: [(&str, &[&str]); 3] = [
    (
        "target",
        &[
            "serving",
            "intending",
            "pausing",
            "asking",
            "settling",
            "quiet",
            "sealing",
            "revoking",
            "leaving",
            "dead",
        ],
    ),
    (
        "initiator",
        &[
            "away",
            "dialling",
            "attaching",
            "replaying",
            "ready",
            "sharing",
            "draining",
            "flushing",
            "paused",
            "detaching",
            "dead",
        ],
    ),
    (
        "session",
        &[
            "accepted",
            "greeted",
            "fencing",
            "recording",
            "arriving",
            "sharing",
            "asked",
            "complete",
            "closing",
            "detaching",
            "none",
        ],
    ),
];

impl Coverage {
    /// A machine went from one state to another.
    pub fn moved(&mut self, machine: &'static str, from: &'static str, to: &'static str) {
        *self.moves.entry((machine, from, to)).or_default() += 1;
    }

    /// A fault struck while a machine was in a state.
    pub fn struck(&mut self, fault: &'static str, machine: &'static str, state: &'static str) {
        *self.strikes.entry((machine, state, fault)).or_default() += 1;
    }

    /// Takes in another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.moves {
            *self.moves.entry(*key).or_default() += count;
        }
        for (key, count) in &other.strikes {
            *self.strikes.entry(*key).or_default() += count;
        }
    }

    /// How many different transitions were seen.
    pub fn transitions(&self) -> usize {
        self.moves.len()
    }

    /// Both tables as text.
    pub fn table(&self) -> String {
        let mut text = String::from("transitions\n");
        for ((machine, from, to), count) in &self.moves {
            let _ = writeln!(text, "  {machine:9} {from:>10} → {to:10} {count:>9}");
        }
        for (machine, states) in STATES {
            let mut faults: Vec<&str> = self
                .strikes
                .keys()
                .filter(|(of, _, _)| *of == machine)
                .map(|(_, _, fault)| *fault)
                .collect();
            faults.sort_unstable();
            faults.dedup();
            let _ = write!(text, "\nfaults × states: {machine}\n{:17}", "");
            for state in states {
                let _ = write!(text, "{state:>10}");
            }
            let _ = writeln!(text);
            for fault in faults {
                let _ = write!(text, "  {fault:15}");
                for state in states {
                    let count = self
                        .strikes
                        .iter()
                        .find(|((of, at, what), _)| *of == machine && at == state && *what == fault)
                        .map_or(0, |(_, count)| *count);
                    match count {
                        0 => text.push_str("         ·"),
                        count => {
                            let _ = write!(text, "{count:>10}");
                        }
                    }
                }
                let _ = writeln!(text);
            }
        }
        text
    }
}
