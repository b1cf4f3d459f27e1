//! `cargo xtask soak`: the end-to-end tests that disturb, each at greater counts; what came of it is kept in a page.

use crate::lab;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The tests, and what one round of each is.
const TESTS: [(&str, &str); 16] = [
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
        "a_guests_disk_outlives_its_target_and_the_daemon_on_its_host",
        "target, and the daemon on the host, killed under a virtual machine's disk",
    ),
    (
        "a_guest_runs_with_root_and_swap_on_a_disk_whose_target_restarts",
        "the same under its root file system and swap",
    ),
    (
        "systems_that_have_each_others_disks_reboot_in_turn_and_one_loses_its_power",
        "both operating systems of a ring rebooted, one cut",
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
    /// Write the outcome to docs/soak.md
    #[arg(long)]
    write: bool,
}

/// Runs every test at every count. True if all passed.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    ensure!(!args.counts.contains(&0), "a count of 0 disturbs nothing");
    // Beforehand: building is no part of any time.
    for build in
        [&["build", "--package", "lull"][..], &["test", "--no-run", "--package", "lull-e2e"]]
    {
        ensure!(cargo(tree, build).status()?.success(), "`cargo {}` failed", build.join(" "));
    }
    lab::prepare(tree)?;
    let mut page = head(tree, &args.counts)?;
    let mut outcomes = String::new();
    let mut passed = true;
    for (test, what) in TESTS {
        write!(page, "| {what} |")?;
        let mut said = String::new();
        for count in &args.counts {
            eprintln!("soak: {what}, {count} times");
            let begun = now();
            let (ok, outcome) = soak(tree, test, *count)?;
            if !outcome.is_empty() {
                said = format!("\n## {what}, {count} times\n\n{outcome}");
            }
            let word = if ok { "passed" } else { "FAILED" };
            write!(page, " {word}, {:.0} s |", (now() - begun).as_secs_f64())?;
            passed &= ok;
        }
        page.push('\n');
        outcomes.push_str(&said);
    }
    page.push_str(&outcomes);
    println!("{page}");
    if args.write {
        fs::write(tree.root().join(PAGE), page)?;
    }
    Ok(passed)
}

/// One test at one count, alone on the machine as far as it is up to us: whether it passed, and what it said of itself.
fn soak(tree: &Tree, test: &str, count: u32) -> Result<(bool, String)> {
    let words = ["nextest", "run", "--profile", "soak", "--package", "lull-e2e", "--no-capture"];
    let mut command = cargo(tree, &words);
    command.arg(test).env("LULL_E2E_ROUNDS", count.to_string()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cargo nextest, which `cargo xtask test` installs")?;
    let mut outcome = String::new();
    if let Some(lines) = child.stderr.take() {
        for line in BufReader::new(lines).lines() {
            let line = line?;
            eprintln!("{line}");
            if let Some(said) = line.strip_prefix(OUTCOME) {
                outcome.push_str(said);
                outcome.push('\n');
            }
        }
    }
    Ok((child.wait()?.success(), outcome))
}

fn head(tree: &Tree, counts: &[u32]) -> Result<String> {
    let said = |command: &mut Command| -> Result<String> {
        Ok(String::from_utf8_lossy(&command.output()?.stdout).trim().to_owned())
    };
    let date = said(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let kernel = said(Command::new("uname").args(["--kernel-release", "--machine"]))?;
    let release =
        said(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(tree.root()))?;
    let cores = std::thread::available_parallelism()?;
    let columns: String = counts.iter().map(|count| format!(" {count} times |")).collect();
    Ok(format!(
        "# Soak\n\nWhat `cargo xtask soak` last printed: disturbances that the end-to-end tests make, one after the \
         other, with\nevery block checked in the end. The time is the whole test's, and moves with the machine. Below the table is what the\n\
         tests say of their largest count.\n\n\
         {date}, {cores} cores, Linux {kernel}, on top of {release}, development build.\n\n\
         | one round |{columns}\n| --- |{}\n",
        " --- |".repeat(counts.len())
    ))
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
