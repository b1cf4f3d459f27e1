//! The table, from logs alone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::outcome::Outcome;
use super::raw::{Disturbance, FAILED, NOTES};
use super::system::SYSTEMS;
use crate::load::content::BLOCK;

const COLUMNS: [&str; 14] = [
    "system",
    "rounds",
    "blocks: errors",
    "unanswered",
    "acknowledged writes lost",
    "of these, flushed",
    "corrupt",
    "files: errors",
    "wrong blocks",
    "file system unusable",
    "e2fsck complains",
    "kernel complains, lines",
    "target away, s",
    "longest stall, s (beyond that)",
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
    if rounds.is_empty() {
        let mut row = [const { String::new() }; COLUMNS.len()];
        row[0] = title.to_owned();
        row[1] = format!("0 ({} not measured)", all.len());
        return row;
    }
    let sum = |value: fn(&Outcome) -> u64| rounds.iter().map(|one| value(one)).sum::<u64>();
    let times = |fits: fn(&Outcome) -> bool| match rounds.iter().filter(|one| fits(one)).count() {
        0 => "no".to_owned(),
        count => format!("{count} of {}", rounds.len()),
    };
    let writes = |count: u64| match count {
        0 => "0".to_owned(),
        count => format!("{count} ({} KiB)", count * BLOCK as u64 / 1024),
    };
    let count = match all.len() - rounds.len() {
        0 => rounds.len().to_string(),
        failed => format!("{} ({failed} not measured)", rounds.len()),
    };
    let seconds = |ms: i64| format!("{:.1}", ms as f64 / 1000.0);
    let away = |order: fn(i64, i64) -> i64| {
        rounds.iter().map(|one| one.notes.outage_ms as i64).reduce(order).unwrap_or(0)
    };
    let stall = rounds.iter().max_by_key(|one| one.seen.stall_us);
    let stall = stall.map_or(0, |one| (one.seen.stall_us / 1000) as i64);
    let away_for_good = rounds.iter().filter(|one| !one.notes.went_on).count();
    let beyond = rounds.iter().map(|one| one.beyond_ms()).max().unwrap_or(0);
    let hung = rounds.iter().filter(|one| one.files.is_none()).count();
    let wrong = sum(|one| one.files.as_ref().map_or(0, |files| files.wrong.len() as u64));
    [
        title.to_owned(),
        count,
        sum(|one| one.seen.errors).to_string(),
        sum(|one| one.seen.unanswered).to_string(),
        writes(sum(|one| one.seen.lost)),
        writes(sum(|one| one.seen.flushed_lost)),
        sum(|one| one.seen.corrupt).to_string(),
        match (sum(|one| one.files.as_ref().map_or(0, |files| files.errors.values().sum())), hung) {
            (errors, 0) => errors.to_string(),
            (errors, hung) => format!("{errors}; {hung} of {} hung", rounds.len()),
        },
        wrong.to_string(),
        times(|one| one.stuck),
        times(|one| !one.clean),
        sum(|one| one.complaints).to_string(),
        format!("{} to {}", seconds(away(i64::min)), seconds(away(i64::max))),
        match away_for_good {
            0 => format!("{} ({:+.1})", seconds(stall), beyond as f64 / 1000.0),
            count => format!("did not go on in {count} of {}", rounds.len()),
        },
    ]
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

    /// A folder with one round of a system.
    fn round(logs: &Path, system: &str, disturbance: Disturbance, files: &[(&str, &str)]) {
        let dir = logs.join(system).join(format!("{}-1", disturbance.name()));
        fs::create_dir_all(&dir).expect("a folder");
        let system = system.to_owned();
        let notes = Notes { system, disturbance, round: 1, outage_ms: 6000, went_on: true };
        let notes = serde_json::to_string(&notes).expect("plain data");
        let quiet = "lull-history 1\npromise acknowledged before 0\n0 begin 1 by 1 flush\n4000000 end 1 done\n";
        let kernel = raw::kernel_log("web");
        let usual = [
            (NOTES, &*notes),
            (raw::HISTORY, quiet),
            (raw::BLOCKS, "{}"),
            (
                raw::FILES,
                r#"{"done":9,"syncs":1,"errors":{},"wrong":[],"verified":9,"longest_ms":1,"recent_ms":1}"#,
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
        let quiet =
            ["1", "0", "0", "0", "0", "0", "0", "0", "no", "no", "0", "6.0 to 6.0", "4.0 (-2.0)"];
        assert_eq!(cells("Lull, kernel NBD")[2..15], quiet);
        let bad = [
            "1",
            "0",
            "0",
            "1 (4 KiB)",
            "1 (4 KiB)",
            "0",
            "0; 1 of 1 hung",
            "0",
            "1 of 1",
            "1 of 1",
            "1",
            "6.0 to 6.0",
            "9.5 (+3.5)",
        ];
        assert_eq!(cells("Linux NBD")[2..15], bad);
    }

    #[test]
    fn a_round_in_which_the_lab_failed_is_counted_and_a_folder_without_logs_is_refused() {
        let logs = tempfile::tempdir().expect("a folder");
        assert!(table(logs.path()).is_err());
        let dir = logs.path().join("nvme/cut-1");
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join(FAILED), "why").expect("a log");
        assert!(table(logs.path()).expect("a table").contains("0 (1 not measured)"));
    }
}
