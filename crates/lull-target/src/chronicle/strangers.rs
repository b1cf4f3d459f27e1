//! What strangers can cause without end is told of now and then, with how often it was.

use super::{Chronicle, words};
use crate::connection::Ended;
use lull_proto::target::Target;
use lull_proto::{ConnId, MonoTime};
use std::time::Duration;

/// How often something of one kind is told of at most.
const EVERY: Duration = Duration::from_secs(1);

/// Things of one kind, of which nobody is told one by one [SEC-4].
#[derive(Debug, Default)]
pub struct Seldom {
    told: Option<MonoTime>,
    untold: u64,
}

impl Seldom {
    /// Notes one more at `now`. `Some` where it is to be told of, with the number of those before it that were not.
    pub fn one_more(&mut self, now: MonoTime) -> Option<Untold> {
        if self.told.is_some_and(|told| now.since(told) < EVERY) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(Untold(std::mem::take(&mut self.untold)))
    }
}

/// How many were not told of; the end of a sentence about the one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untold(u64);

impl std::fmt::Display for Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, "; {count} more before it"),
        }
    }
}

impl Chronicle {
    /// A connection ended by its peer, or by what came on it.
    pub fn lost(&mut self, now: MonoTime, machine: &Target, conn: ConnId, ended: &Ended) {
        let name = words::name_of(machine, conn);
        if let Ended::Closed = ended {
            return tracing::debug!("{name}: {ended}");
        }
        let text = match machine.node(conn) {
            Some(_) => ended.to_string(),
            // [SEC-4] A storm of them pushes nothing else out of the events, nor out of a restart's record.
            None => match self.strangers.one_more(now) {
                Some(untold) => format!("{ended}{untold}"),
                None => return,
            },
        };
        self.tell(now, &name, "connection_broken", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_a_line_each_second_which_counts_the_rest() {
        // [SEC-4]
        let mut storm = Seldom::default();
        let at = |ms: u64| MonoTime(ms * 1_000_000);
        assert_eq!(storm.one_more(at(0)), Some(Untold(0)));
        let told: Vec<_> = (1..=2500).filter_map(|ms| storm.one_more(at(ms))).collect();
        assert_eq!(told, [Untold(999), Untold(999)]);
        assert_eq!(format!("gone{}", told[0]), "gone; 999 more before it");
        let later = storm.one_more(at(9000));
        assert_eq!(later, Some(Untold(500)), "what was never told is told with the next");
        let single = storm.one_more(at(99_000)).unwrap();
        assert_eq!(format!("gone{single}"), "gone");
    }
}
