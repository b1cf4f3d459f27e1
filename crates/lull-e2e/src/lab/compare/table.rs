//! The table, from logs alone.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::outcome::Outcome;
use super::raw::{Disturbance, FAILED, NOTES};
use super::system::SYSTEMS;
use crate::lab::files::ALL_BLOCKS;
use crate::load::content::BLOCK;

const COLUMNS: [&str; 12] = [
    "system",
    "rounds",
    "errors",
    "acknowledged writes lost",
    "though flushed",
    "errors of files",
    "wrong blocks in files",
    "file system",
    "kernel's complaints",
    "target away, s",
    "longest stall, s",
    "beyond, s",
];

/// The table of all rounds whose logs are below `logs`, one part for each disturbance.
///
/// # Errors
/// Logs that cannot be read, or no logs.
pub fn table(logs: &Path) -> Result<String> {
    let mut text = String::new();
    for disturbance in Disturbance::ALL {
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        for system in SYSTEMS {
            let rounds = rounds(&logs.join(system.name), disturbance)?;
            if !rounds.is_empty() {
                rows.push(row(system.title, &rounds));
            }
        }
        if rows.len() > 1 {
            text += &format!("{}, one in each round\n\n{}\n", disturbance.title(), lines(&rows));
        }
    }
    ensure!(!text.is_empty(), "no logs of `cargo xtask lab compare` are in {}", logs.display());
    Ok(text)
}

/// A round is `None` where the lab failed in it.
fn rounds(dir: &Path, disturbance: Disturbance) -> Result<Vec<Option<Outcome>>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if name.to_string_lossy().split('-').next() != Some(disturbance.name()) {
            continue;
        }
        if path.join(NOTES).exists() {
            found.push(Some(Outcome::read(&path).with_context(|| path.display().to_string())?));
        } else if path.join(FAILED).exists() {
            found.push(None);
        }
    }
    Ok(found)
}

fn row(title: &str, all: &[Option<Outcome>]) -> [String; COLUMNS.len()] {
    let rounds: Vec<_> = all.iter().flatten().collect();
    let mut row = [const { String::new() }; COLUMNS.len()];
    row[0] = title.to_owned();
    row[1] = and(rounds.len(), (all.len() - rounds.len()) as u64, "not measured");
    if rounds.is_empty() {
        return row;
    }
    let sum = |value: fn(&Outcome) -> u64| rounds.iter().map(|one| value(one)).sum::<u64>();
    let times = |fits: fn(&Outcome) -> bool| match rounds.iter().filter(|one| fits(one)).count() {
        0 => None,
        count => Some(format!("in {count} of {}", rounds.len())),
    };
    row[2] = and(sum(|one| one.seen.errors), sum(|one| one.seen.unanswered), "without an answer");
    let lost = and(writes(sum(|one| one.seen.lost)), sum(|one| one.seen.corrupt), "blocks corrupt");
    row[3] = and(lost, sum(|one| one.seen.unread), "blocks unreadable");
    row[4] = writes(sum(|one| one.seen.flushed_lost));
    row[5] = sum(|one| one.files.iter().flat_map(|files| files.errors.values()).sum()).to_string();
    row[6] = and(sum(wrong), sum(unread), "unreadable");
    let unusable = times(|one| one.stuck).map(|times| format!("unusable {times}"));
    // What cannot be used at all is not looked through.
    let damaged = times(|one| !one.stuck && !one.clean).map(|times| format!("damaged {times}"));
    let state = [unusable, damaged].into_iter().flatten().collect::<Vec<_>>().join("; ");
    row[7] = if state.is_empty() { "sound".to_owned() } else { state };
    row[8] = sum(|one| one.complaints).to_string();
    let all = |value: fn(&Outcome) -> i64| rounds.iter().map(move |one| value(one));
    let away = |one: &Outcome| one.notes.outage_ms as i64;
    let (least, most) = (all(away).min().unwrap_or(0), all(away).max().unwrap_or(0));
    row[9] = format!("{} to {}", seconds(least), seconds(most));
    let stall = all(|one| (one.seen.stall_us / 1000) as i64).max().unwrap_or(0);
    (row[10], row[11]) = match times(|one| one.seen.ends_badly) {
        None => (seconds(stall), seconds(all(Outcome::beyond_ms).max().unwrap_or(0))),
        Some(times) => (format!("for good {times}"), "–".to_owned()),
    };
    row
}

/// Blocks of files that did not hold what was written last, each once.
fn wrong(one: &Outcome) -> u64 {
    let wrong = one.files.iter().flat_map(|files| &files.wrong);
    wrong.collect::<BTreeSet<_>>().len() as u64
}

/// Blocks of files that could not be read in the end.
fn unread(one: &Outcome) -> u64 {
    let right = one.files.as_ref().map_or(0, |files| files.verified);
    ALL_BLOCKS.saturating_sub(right + wrong(one))
}

fn writes(count: u64) -> String {
    match count {
        0 => "0".to_owned(),
        count => format!("{count} ({} KiB)", count * BLOCK as u64 / 1024),
    }
}

fn seconds(ms: i64) -> String {
    format!("{:.1}", ms as f64 / 1000.0)
}

/// What there is in any case, and what only where there is some.
fn and(usual: impl Display, more: u64, what: &str) -> String {
    if more == 0 { usual.to_string() } else { format!("{usual}; {more} {what}") }
}

/// Rows as Markdown has them, the first above the rest, in columns for those who read them as they are.
fn lines<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.map(|width| "-".repeat(width));
    let [head, rest @ ..] = rows else { return String::new() };
    [line(head), line(&rule)].into_iter().chain(rest.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::raw::{self, Notes};
    use super::*;
    use crate::lab::blocks::BLOCKS;

    /// A folder with one round of a system.
    fn round(logs: &Path, system: &str, disturbance: Disturbance, files: &[(&str, &str)]) {
        let dir = logs.join(system).join(format!("{}-1", disturbance.name()));
        fs::create_dir_all(&dir).expect("a folder");
        let system = system.to_owned();
        let notes = Notes { system, disturbance, round: 1, outage_ms: 6000 };
        let notes = serde_json::to_string(&notes).expect("plain data");
        let quiet = "lull-history 1\npromise acknowledged before 0\n0 begin 1 by 1 flush\n4000000 end 1 done\n";
        let kernel = raw::kernel_log("web");
        let usual = [
            (NOTES, &*notes),
            (raw::HISTORY, quiet),
            (raw::BLOCKS, "{}"),
            (
                raw::FILES,
                r#"{"done":9,"syncs":1,"errors":{},"wrong":[],"verified":1024,"longest_ms":1,"recent_ms":1}"#,
            ),
            (raw::PROBE, "1+0 records out\nexit status 0\n"),
            (raw::CHECK, "clean\nexit status 0\n"),
            (&*kernel, ""),
        ];
        for (name, text) in usual.iter().chain(files) {
            fs::write(dir.join(name), text).expect("a log");
        }
    }

    #[test]
    fn a_system_has_a_row_for_each_disturbance_with_its_worst() {
        let logs = tempfile::tempdir().expect("a folder");
        round(logs.path(), "lull-nbd", Disturbance::Reboot, &[]);
        let kernel = raw::kernel_log("web");
        let bad = [
            (raw::FILES, ""),
            (raw::PROBE, ""),
            (raw::CHECK, "bad\nexit status 4\n"),
            (&*kernel, "[9.0] blk_update_request: I/O error, dev nbd0\n"),
            (
                raw::HISTORY,
                "lull-history 1\npromise acknowledged before 0\n0 begin 1 by 1 write 0 1 1\n1 end 1 done\n\
                 2 begin 2 by 1 flush\n9500000 end 2 done\n9500000 begin 3 by 2 read 0 1\n9500001 end 3 done 0\n",
            ),
        ];
        round(logs.path(), "nbd", Disturbance::Cut, &bad);
        let text = table(logs.path()).expect("a table");
        let cells = |part: &str| {
            let line = text.lines().find(|line| line.contains(part)).expect("a row");
            line.split('|').map(str::trim).map(str::to_owned).collect::<Vec<_>>()
        };
        let row = |system: &str| cells(system)[2..13].join("|");
        let unread = format!("{BLOCKS} blocks unreadable");
        let quiet = format!("1|0|0; {unread}|0|0|0|sound|0|6.0 to 6.0|4.0|-2.0");
        assert_eq!(row("Lull, kernel NBD"), quiet);
        let unread = format!("{} blocks unreadable", BLOCKS - 1);
        let lost = format!("1 (4 KiB); {unread}|1 (4 KiB)|0|0; 1024 unreadable");
        let bad = format!("1|0|{lost}|unusable in 1 of 1|1|6.0 to 6.0|9.5|3.5");
        assert_eq!(row("Linux NBD"), bad);
    }

    #[test]
    fn a_round_in_which_the_lab_failed_is_counted_and_a_folder_without_logs_is_refused() {
        let logs = tempfile::tempdir().expect("a folder");
        assert!(table(logs.path()).is_err());
        let dir = logs.path().join("nvme/cut-1");
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join(FAILED), "why").expect("a log");
        assert!(table(logs.path()).expect("a table").contains("0; 1 not measured"));
    }
}
