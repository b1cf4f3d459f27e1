//! What was seen to happen: how often each machine went from one state to another, and which fault struck in which.

use crate::fault::Kind;
use std::collections::{BTreeMap, BTreeSet};
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
            "ready",
            "sharing",
            "asked",
            "complete",
            "closing",
            "detaching",
            "none",
        ],
    ),
];

/// So many worlds of all presets leave no cell empty: there is none that cannot be reached.
pub const ENOUGH: u64 = 20_000;

/// A fault that never struck in a state.
pub struct Empty {
    /// The machine.
    pub machine: &'static str,
    /// Its state.
    pub state: &'static str,
    /// The fault.
    pub fault: &'static str,
}

impl Coverage {
    /// Every cell that is empty, of all machines, their states, and all faults.
    pub fn empty(&self) -> Vec<Empty> {
        let mut empty = Vec::new();
        for (machine, states) in STATES {
            for (state, fault) in
                states.iter().flat_map(|state| Kind::ALL.map(|kind| (*state, kind.word())))
            {
                if !self.strikes.contains_key(&(machine, state, fault)) {
                    empty.push(Empty { machine, state, fault });
                }
            }
        }
        empty
    }

    /// States that were seen and that [`STATES`] does not have.
    pub fn unknown(&self) -> Vec<String> {
        let known = |machine: &str, state: &str| {
            // A life that has gone down is told from one that was killed in the transitions alone.
            let ends = [("target", "down"), ("initiator", "idle"), ("initiator", "ended")];
            let of = STATES.iter().find(|(of, _)| *of == machine);
            of.is_some_and(|(_, states)| states.contains(&state))
                || ends.contains(&(machine, state))
        };
        let moved = self.moves.keys().flat_map(|(of, from, to)| [(*of, *from), (*of, *to)]);
        let seen = moved.chain(self.strikes.keys().map(|(of, state, _)| (*of, *state)));
        let unknown = seen.filter(|(machine, state)| !known(machine, state));
        let all: BTreeSet<String> =
            unknown.map(|(machine, state)| format!("{machine} {state}")).collect();
        all.into_iter().collect()
    }

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
