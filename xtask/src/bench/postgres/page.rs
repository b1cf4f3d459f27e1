//! The page around the picture: on what it was measured, and the figures.

use super::Args;
use super::seen::{Event, Seen, What};
use crate::bench::figures::{self, COLUMNS};
use crate::tree::Tree;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::process::Command;

/// How many of the restart's columns are told here: up to where the pieces end.
const PIECES: usize = 9;

/// The page in Markdown.
pub fn page(tree: &Tree, args: &Args, seen: &Seen, busy: &str) -> Result<String> {
    let mut page = head(tree, args, busy)?;
    let restarts: Vec<_> = seen.events.iter().filter_map(pieces).collect();
    let kills: Vec<_> = seen.events.iter().filter_map(kill).collect();
    let ms = |us: u64| format!("{:.1}", us as f64 / 1000.0);
    write!(
        page,
        "{} transactions in {} s, none failed. While nothing was done to the target: {} per second (median of the \
         seconds), the longest\nof them {} ms. After the last one server and target were killed together; ext4, every page's \
         checksum, all tables and\nindexes (`pg_amcheck`), and the sums of pgbench's tables were right, and no acknowledged \
         transaction was missing.\n",
        seen.ends_us.len(),
        seen.ends_us.last().unwrap_or(&0) / 1_000_000,
        seen.usual_rate,
        ms(seen.usual_longest_us)
    )?;
    let table = |page: &mut String, title: &str, columns: &[&str], rows: &[Vec<u64>]| {
        if rows.is_empty() {
            return;
        }
        let dashes = " --- |".repeat(columns.len());
        page.push_str(&format!("\n| {title} | {} |\n| --- |{dashes}\n", columns.join(" | ")));
        let column = |at: usize| rows.iter().map(move |row| row[at]);
        let medians = (0..columns.len()).map(|at| figures::median(column(at).collect()));
        let worst = (0..columns.len()).map(|at| column(at).max().unwrap_or(0));
        let line =
            |cells: &mut dyn Iterator<Item = u64>| cells.map(ms).collect::<Vec<_>>().join(" | ");
        page.push_str(&format!("| median | {} |\n", line(&mut { medians })));
        page.push_str(&format!("| worst | {} |\n", line(&mut { worst })));
    };
    table(&mut page, &format!("{} restarts, ms", restarts.len()), &COLUMNS[..PIECES], &restarts);
    let columns = ["stall", "= early", "+ down", "+ back", "+ served"];
    table(&mut page, &format!("{} kills, ms", kills.len()), &columns, &kills);
    page.push_str(WORDS);
    Ok(page)
}

/// What the columns mean.
const WORDS: &str = "
Each column by itself. *Stall*: the longest transaction that met the restart, by pgbench's clock. *Early*: what of it had
passed before. Of a restart, by the target's record (`lull history`): *pause*, PAUSE to the last answer; *flush*, the
initiator's own; *down*, between the old process's last answer and the new one's first accept; *connect* and *resume*, from
there to RESUME. Of a kill: *down*, until the process that was started at once serves; *back*, until the initiator has sent
again what was not flushed, and shares. *Served*: the rest, which is the database's own work, and what of it stood in line.
";

fn pieces(event: &Event) -> Option<Vec<u64>> {
    let What::Restart(pieces) = &event.what else { return None };
    Some(pieces.columns()[..PIECES].to_vec())
}

fn kill(event: &Event) -> Option<Vec<u64>> {
    let What::Kill { early_us, down_us, back_us, served_us } = event.what else { return None };
    Some(vec![event.longest_us, early_us, down_us, back_us, served_us])
}

fn head(tree: &Tree, args: &Args, busy: &str) -> Result<String> {
    let said = |program: &str, words: &[&str]| -> Result<String> {
        let output = Command::new(program).args(words).current_dir(tree.root()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let date = said("date", &["--utc", "+%Y-%m-%d"])?;
    let kernel = said("uname", &["--kernel-release", "--machine"])?;
    let release = said("git", &["rev-parse", "--short", "HEAD"])?;
    let cores = std::thread::available_parallelism()?;
    // Where the tests' worlds are.
    let place = std::env::temp_dir().display().to_string();
    let below = said("stat", &["--file-system", "--format", "%T", &place])?;
    let Args { restarts, kills, every, clients, scale, volatile, .. } = args;
    let medium = match volatile {
        true => {
            "a file whose writes are lost with a kill unless they were flushed, and which is read into memory at each start"
        }
        false => "a file",
    };
    Ok(format!(
        "# PostgreSQL\n\nWhat `cargo xtask bench postgres --write` last printed. Debian's PostgreSQL, with `fsync` and full \
         pages, has its files on ext4\non a loop device on a file that `lull attach --fuse` mounts; target and initiator are on \
         the same host, and the medium\nis {medium}, on {below}. pgbench runs with {clients} clients at scale {scale}; every {every} s the target is \
         restarted (`lull restart`, {restarts} times)\nor killed (SIGKILL, {kills} times). How to set such a disk up: \
         [recipes/postgresql.md](recipes/postgresql.md).\n\n\
         {date}, {cores} cores, Linux {kernel}, on top of {release}, release build, load average before: {busy}.\n\n\
         ![Transactions per second over time](postgres.svg)\n\n"
    ))
}

/// What else the machine had to do when this began.
pub fn load_average() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}
