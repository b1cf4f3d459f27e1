//! `cargo xtask soak`: the end-to-end tests that disturb, each at greater counts; what came of it is kept in a page.

mod page;
mod record;

use crate::dev::Dev;
use crate::lab;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use page::Row;
use record::Record;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The tests, and what one round of each is.
const TESTS: [(&str, &str); 18] = [
    ("many_restarts_in_a_row_fail_nothing_over_unix_sockets", "restart under three fios, unix"),
    ("many_restarts_in_a_row_fail_nothing_over_tcp", "restart under three fios, TCP"),
    ("a_killed_target_is_resumed_when_it_is_back", "target killed under load"),
    (
        "kills_under_three_fios_fail_nothing_and_every_block_is_right",
        "target killed under three fios",
    ),
    ("power_cuts_under_load_lose_nothing", "target killed, its unflushed writes lost"),
    ("both_sides_killed_at_once_find_each_other_again", "target and initiator killed"),
    (
        "a_database_fails_no_transaction_whoever_is_restarted_or_killed_below_it",
        "target restarted, and killed, under PostgreSQL",
    ),
    ("a_leaf_that_is_killed_finds_what_it_had_acknowledged", "end of a chain of three killed"),
    (
        "writes_of_a_lost_connection_that_come_at_any_moment_change_nothing",
        "writes of a lost connection held back, and let go later",
    ),
    (
        "a_kill_in_any_phase_of_a_restart_and_of_a_replay_loses_nothing",
        "target, its system, connection and initiator killed in every phase",
    ),
    (
        "file_systems_outlive_reboots_and_power_cuts_of_the_system_that_has_their_disks",
        "target's operating system rebooted, every second time cut too, and the daemon killed and replaced, under file systems \
         through every door",
    ),
    (
        "a_kernels_requests_outlive_a_long_hold_and_the_daemon_that_holds_them",
        "the daemon replaced and killed while its target has no power, half as often, after an outage of ten minutes",
    ),
    (
        "a_killed_daemon_costs_under_three_seconds_through_every_door",
        "the daemon killed under a file system, one guest at a time",
    ),
    (
        "a_device_that_is_asked_all_the_time_outlives_every_process_that_serves_it",
        "the daemon of a ublk device that is read all the time killed and replaced",
    ),
    (
        "a_guests_disk_outlives_its_target_and_the_daemon_on_its_host",
        "target, and the daemon on the host, killed under a virtual machine's disk",
    ),
    (
        "a_guest_runs_with_root_and_swap_on_a_disk_whose_target_restarts",
        "the same under its root file system and swap",
    ),
    (
        "systems_that_have_each_others_disks_reboot_in_turn_and_at_once_and_one_loses_its_power",
        "both operating systems of a ring rebooted, in turn and at once, and one cut",
    ),
    (
        "a_file_system_at_the_end_of_a_line_outlives_the_system_in_its_middle_and_waits_for_the_first",
        "operating system in the middle of a line rebooted, and cut, then the first cut",
    ),
];

/// What stands before a line that a test wants to be kept.
const OUTCOME: &str = "outcome: ";

/// Where the last outcome is kept.
const PAGE: &str = "docs/soak.md";

/// The flags of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Args {
    /// How often each disturbance comes
    #[arg(long, value_delimiter = ',', default_value = "10,20,50")]
    counts: Vec<u32>,
    /// Only tests whose name has one of these words in it, with commas between them [default: all]
    #[arg(long, value_delimiter = ',', value_name = "WORDS")]
    only: Vec<String>,
    /// A folder for what came of each test at each count; what has passed there is not run again
    #[arg(long, value_name = "DIR", default_value = "target/soak")]
    logs: PathBuf,
    /// Run nothing: only make the page of what is in the folder
    #[arg(long, conflicts_with_all = ["counts", "only"])]
    page: bool,
    /// Write the page to docs/soak.md
    #[arg(long)]
    write: bool,
}

/// Runs every test that is wanted at every count that has not passed yet. True if all in the folder have passed.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(!args.counts.contains(&0), "a count of 0 disturbs nothing");
    let wanted = |test: &&str| {
        args.only.is_empty() || args.only.iter().any(|word| test.contains(word.as_str()))
    };
    let tests: Vec<_> = TESTS.iter().map(|(test, _)| *test).filter(wanted).collect();
    ensure!(!tests.is_empty(), "no test of a soak has {} in its name", args.only.join(" or "));
    let logs = tree.root().join(&args.logs);
    fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    if !args.page {
        disturb(tree, &logs, &tests, &args.counts)?;
    }
    let rows = TESTS.map(|(test, what)| Ok(Row { what, records: records(&logs, test)? }));
    let rows = rows.into_iter().collect::<Result<Vec<_>>>()?;
    let page = page::page(&rows, &machine()?);
    println!("{page}");
    if args.write {
        fs::write(tree.root().join(PAGE), page)?;
    }
    Ok(rows.iter().flat_map(|row| &row.records).all(|(_, record)| record.passed))
}

/// Builds what is needed, and runs what has not passed.
fn disturb(tree: &Tree, logs: &Path, tests: &[&str], counts: &[u32]) -> Result<()> {
    // Beforehand: building is no part of any time.
    for build in
        [&["build", "--package", "lull"][..], &["test", "--no-run", "--package", "lull-e2e"]]
    {
        ensure!(cargo(tree, build).status()?.success(), "`cargo {}` failed", build.join(" "));
    }
    lab::prepare(tree, Dev::Wanted)?;
    let describe = ["describe", "--always", "--dirty", "--exclude=*"];
    let commit = said(Command::new("git").args(describe).current_dir(tree.root()))?;
    for test in tests {
        for count in counts {
            let path = Record::path(logs, test, *count);
            if Record::load(&path)?.is_some_and(|record| record.passed) {
                eprintln!("soak: {test} has passed {count} times, as {} says", path.display());
                continue;
            }
            eprintln!("soak: {test}, {count} times");
            soak(tree, &commit, (test, *count), &path.with_extension("log"))?.save(&path)?;
        }
    }
    Ok(())
}

/// All records of a test, smallest count first.
fn records(logs: &Path, test: &str) -> Result<Vec<(u32, Record)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(logs)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let count =
            name.strip_prefix(test).and_then(|end| end.strip_prefix('-')?.strip_suffix(".json"));
        if let Some(count) = count.and_then(|count| count.parse().ok())
            && let Some(record) = Record::load(&path)?
        {
            found.push((count, record));
        }
    }
    found.sort_by_key(|(count, _)| *count);
    Ok(found)
}

/// One test at one count, alone on the machine as far as it is up to us. All that is said goes to `log` too.
fn soak(tree: &Tree, commit: &str, (test, count): (&str, u32), log: &Path) -> Result<Record> {
    let (begun, before) = (now(), load()?);
    let words = ["nextest", "run", "--profile", "soak", "--package", "lull-e2e", "--no-capture"];
    let mut command = cargo(tree, &words);
    command.arg(test).env("LULL_E2E_ROUNDS", count.to_string()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cargo nextest, which `cargo xtask test` installs")?;
    let mut kept = File::create(log).with_context(|| log.display().to_string())?;
    let mut outcome = Vec::new();
    if let Some(lines) = child.stderr.take() {
        for line in BufReader::new(lines).lines() {
            let line = line?;
            eprintln!("{line}");
            writeln!(kept, "{line}")?;
            outcome.extend(line.strip_prefix(OUTCOME).map(str::to_owned));
        }
    }
    let passed = child.wait()?.success();
    let seconds = (now() - begun).as_secs_f64();
    let date = said(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let commit = commit.to_owned();
    Ok(Record { passed, seconds, date, commit, load: [before, load()?], outcome })
}

/// How many tasks of this machine ran or were ready to run, in the last minute.
fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    text.split(' ').next().unwrap_or_default().parse().context("the first number of /proc/loadavg")
}

/// What this machine is, for people.
fn machine() -> Result<String> {
    let kernel = said(Command::new("uname").args(["--kernel-release", "--machine"]))?;
    Ok(format!("{} processors, Linux {kernel}", std::thread::available_parallelism()?))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed ({})", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cargo(tree: &Tree, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(tree.root()).stdin(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "how long a test took")]
fn now() -> Instant {
    Instant::now()
}
