//! What one round came to, from its logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use lull_history::FaultKind;
use lull_history::file::{Finding, check};

use super::raw::{self, Notes};
use crate::lab::blocks::{BLOCKS, LAST_PASS};
use crate::lab::files::FilesReport;
use crate::lab::quiet;

/// How what is kept of a line ends that has succeeded.
const SUCCESS: &str = "exit status 0\n";

/// One round.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) notes: Notes,
    pub(super) seen: Seen,
    /// What the consumer of files says; `None`: it did not end.
    pub(super) files: Option<FilesReport>,
    /// Whether nothing can be written to its file system any more.
    pub(super) stuck: bool,
    /// Whether e2fsck finds nothing.
    pub(super) clean: bool,
    /// Lines of the initiator's kernel's log that complain.
    pub(super) complaints: u64,
}

impl Outcome {
    /// The one whose logs are in `dir`.
    ///
    /// # Errors
    /// What is not there, or is not what it should be.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let files = text(raw::FILES)?;
        let files = match &*files {
            "" => None,
            said => Some(serde_json::from_str(said).with_context(|| raw::FILES.to_owned())?),
        };
        Ok(Self {
            notes: serde_json::from_str(&text(raw::NOTES)?)?,
            seen: Seen::of(&text(raw::HISTORY)?).with_context(|| dir.display().to_string())?,
            files,
            stuck: !text(raw::PROBE)?.ends_with(SUCCESS),
            clean: text(raw::CHECK)?.ends_with(SUCCESS),
            complaints: quiet::complaints(&text(&raw::kernel_log("web"))?).len() as u64,
        })
    }

    /// The longest stall, as far as it was longer than the target was away; in milliseconds.
    pub(super) fn beyond_ms(&self) -> i64 {
        (self.seen.stall_us / 1000) as i64 - self.notes.outage_ms as i64
    }
}

/// What a consumer of blocks has seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests of the load that were answered with an error.
    pub(super) errors: u64,
    /// Requests that were not answered at all.
    pub(super) unanswered: u64,
    /// Whether the load's last requests had an error or no answer: it has not come out of its last stall.
    pub(super) ends_badly: bool,
    /// Acknowledged writes that are not there.
    pub(super) lost: u64,
    /// Those of them that a flush had covered which was answered with success.
    pub(super) flushed_lost: u64,
    /// Blocks that hold what nobody wrote there.
    pub(super) corrupt: u64,
    /// Blocks that could not be read in the end.
    pub(super) unread: u64,
    /// The longest request, or the longest time without any success, in microseconds.
    pub(super) stall_us: u64,
}

impl Seen {
    /// What is in a history.
    ///
    /// # Errors
    /// Where it is none.
    pub(super) fn of(history: &str) -> Result<Self> {
        let mut seen = Self::times(history);
        let findings = check(history.as_bytes())?.findings;
        let writes = |fits: fn(FaultKind) -> bool| {
            let found = findings.iter().filter(|one| fits(one.fault.kind));
            found.filter_map(|one| one.fault.newer).collect::<BTreeSet<_>>().len() as u64
        };
        seen.flushed_lost = writes(|kind| kind == FaultKind::FlushedLost);
        seen.lost = writes(|kind| kind != FaultKind::Corrupt);
        let corrupt = |one: &&Finding| one.fault.kind == FaultKind::Corrupt;
        let units: BTreeSet<_> =
            findings.iter().filter(corrupt).map(|one| one.fault.unit).collect();
        seen.corrupt = units.len() as u64;
        Ok(seen)
    }

    /// What there is to see without knowing what a block should hold. Lines that say nothing are the judge's business.
    fn times(history: &str) -> Self {
        let mut seen = Self::default();
        let mut open = BTreeMap::new();
        let (mut last, mut success) = (0, 0);
        let mut read = 0;
        for line in history.lines().skip(2) {
            let words: Vec<_> = line.split(' ').collect();
            let [at, verb, id, rest @ ..] = &*words else { continue };
            let (Ok(at), Ok(id)) = (at.parse::<u64>(), id.parse::<u64>()) else { continue };
            last = at;
            match *verb {
                "begin" => {
                    let last_pass = rest.get(1).is_some_and(|by| *by == LAST_PASS.to_string());
                    open.insert(id, (at, last_pass));
                }
                "end" => {
                    let Some((begun, last_pass)) = open.remove(&id) else { continue };
                    seen.stall_us = seen.stall_us.max(at - begun);
                    match (rest.first() == Some(&"done"), last_pass) {
                        (true, _) => {
                            seen.stall_us = seen.stall_us.max(at - success);
                            success = at;
                            read += u64::from(last_pass);
                        }
                        (false, true) => (),
                        (false, false) => seen.errors += 1,
                    }
                    if !last_pass {
                        seen.ends_badly = rest.first() != Some(&"done");
                    }
                }
                _ => (),
            }
        }
        let waiting = open.values().map(|(begun, _)| last - begun).max();
        seen.stall_us = seen.stall_us.max(last - success).max(waiting.unwrap_or(0));
        seen.ends_badly |= open.values().any(|(_, last_pass)| !last_pass);
        seen.unanswered = open.len() as u64;
        seen.unread = BLOCKS.saturating_sub(read);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "lull-history 1\npromise acknowledged before 0\n";

    #[test]
    fn a_write_that_is_gone_is_lost_and_worse_where_a_flush_had_covered_it() {
        let history = format!(
            "{HEAD}0 begin 1 by 1 write 0 1 1\n10 end 1 done\n20 begin 2 by 1 flush\n30 end 2 done\n\
             40 begin 3 by 1 write 1 1 3\n50 end 3 done\n60 begin 4 by 1 write 2 1 4\n70 end 4 unknown\n\
             80 begin 5 by 2 read 0 1\n90 end 5 done 0\n80 begin 6 by 2 read 1 1\n90 end 6 done 0\n\
             95 begin 7 by 2 read 2 1\n96 end 7 done 0\n"
        );
        let seen = Seen::of(&history).expect("a history");
        assert_eq!((seen.lost, seen.flushed_lost, seen.corrupt), (2, 1, 0));
        assert_eq!((seen.errors, seen.unanswered, seen.unread), (1, 0, BLOCKS - 3));
    }

    #[test]
    fn a_stall_is_the_longest_request_or_the_longest_time_of_errors_alone() {
        let waits = format!(
            "{HEAD}0 begin 1 by 1 flush\n9 begin 2 by 1 flush\n12 end 2 done\n95 end 1 done\n"
        );
        assert_eq!(Seen::of(&waits).expect("a history").stall_us, 95);
        let fails = format!(
            "{HEAD}0 begin 1 by 1 flush\n5 end 1 done\n6 begin 2 by 1 flush\n7 end 2 unknown\n\
             50 begin 3 by 1 flush\n52 end 3 unknown\n60 begin 4 by 1 flush\n65 end 4 done\n"
        );
        let seen = Seen::of(&fails).expect("a history");
        assert_eq!((seen.stall_us, seen.errors), (60, 2));
        assert!(!seen.ends_badly, "it has come out of it");
        let never = fails.replace("65 end 4 done", "65 end 4 unknown");
        assert!(Seen::of(&never).expect("a history").ends_badly);
    }

    #[test]
    fn who_is_not_answered_has_waited_until_the_end() {
        let history = format!("{HEAD}0 begin 1 by 1 flush\n5 begin 2 by 1 flush\n70 end 2 done\n");
        let seen = Seen::of(&history).expect("a history");
        assert_eq!((seen.unanswered, seen.stall_us), (1, 70));
        assert!(seen.ends_badly);
    }

    #[test]
    fn what_nobody_wrote_is_corrupt() {
        let history = format!("{HEAD}0 begin 1 by 2 read 7 1\n5 end 1 done ?\n");
        let seen = Seen::of(&history).expect("a history");
        assert_eq!((seen.corrupt, seen.lost), (1, 0));
    }
}
