//! pgbench: transactions that each change three balances and write a line of history, so that sums show what is missing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use super::{LIMIT, Postgres, finish};
use crate::command::Running;
use crate::process;
use crate::wait::wait_until;

/// So long that the end is always ordered.
const SECONDS: &str = "86400";
/// What pgbench keeps of its log until it writes it, in bytes.
const BUFFER: u64 = 4096;

/// pgbench at work; it is killed when this is dropped.
#[derive(Debug)]
pub struct Pgbench {
    running: Running,
    log: PathBuf,
}

/// What clients have seen.
#[derive(Debug)]
pub struct PgbenchReport {
    /// Transactions that were acknowledged.
    pub done: u64,
    /// Those among them that the log has, in the order of their ends; all but where pgbench was killed.
    pub transactions: Vec<Transaction>,
}

/// A transaction as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Transaction {
    /// When it was acknowledged, in Unix microseconds.
    pub at_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

impl Postgres {
    /// Makes the tables, 100000 accounts for each of `scale`.
    #[track_caller]
    pub fn lay_out(&self, scale: u32) {
        let mut pgbench = self.client("pgbench");
        let scale = format!("--scale={scale}");
        pgbench.args(["--initialize", "--quiet", &scale, "postgres"]);
        finish(pgbench).ok();
    }

    /// Starts so many clients, each of which makes one transaction after the other until the load is finished.
    pub fn load(&self, clients: u32) -> Pgbench {
        static LOADS: AtomicU32 = AtomicU32::new(0);
        let number = LOADS.fetch_add(1, Ordering::Relaxed);
        let log = self.world.path(&format!("pgbench-{number}"));
        let mut pgbench = self.client("pgbench");
        pgbench.arg(format!("--client={clients}")).args(["--jobs=1", "--protocol=prepared"]);
        // Nothing is vacuumed: that would empty the history.
        pgbench.args(["--no-vacuum", "--time", SECONDS, "--log"]);
        pgbench.arg(format!("--log-prefix={}", log.display())).arg("postgres");
        let running = Running::start(pgbench);
        let log = log.with_extension(running.pid().to_string());
        Pgbench { running, log }
    }

    /// The lines of history, after the sums of all tables have been found to agree with it.
    ///
    /// # Panics
    /// Where they do not.
    #[track_caller]
    pub fn balance(&self) -> u64 {
        let sum = |what, table| format!("(SELECT coalesce(sum({what}), 0) FROM pgbench_{table})");
        let sums = [
            sum("abalance", "accounts"),
            sum("tbalance", "tellers"),
            sum("bbalance", "branches"),
            sum("delta", "history"),
        ];
        let said = self
            .ask(&format!("SELECT {}, (SELECT count(*) FROM pgbench_history)", sums.join(", ")));
        let columns: Vec<&str> = said.split('|').collect();
        let [accounts, tellers, branches, history, lines] = columns[..] else {
            panic!("no five sums: {said}");
        };
        assert_eq!([accounts, tellers, branches], [history; 3], "sums of balances and history");
        lines.parse().expect("a count")
    }
}

impl Pgbench {
    /// Waits until a hundred transactions or more have ended since this was called.
    #[track_caller]
    pub fn wait_progress(&mut self) {
        let length = |log: &PathBuf| log.metadata().map_or(0, |meta| meta.len());
        let before = length(&self.log);
        wait_until("transactions end", LIMIT, || {
            assert!(!self.running.has_ended(), "pgbench has ended");
            length(&self.log) >= before + 2 * BUFFER
        });
    }

    /// Has it end as it does when its time is over: each client finishes its transaction.
    ///
    /// # Panics
    /// Where one transaction failed, or one client was given up.
    #[track_caller]
    pub fn finish(self) -> PgbenchReport {
        // It is what its own timer sends.
        process::send(self.running.pid(), Signal::ALARM);
        let finished = self.running.finish(LIMIT).ok();
        let failed = number(&finished.stdout, "number of failed transactions: ");
        assert_eq!(failed, Some(0), "{}\n{}", finished.stdout, finished.stderr);
        for word in ["error", "aborted"] {
            assert!(!finished.stderr.contains(word), "{}", finished.stderr);
        }
        report(&finished.stdout, &self.log)
    }

    /// Its server is dead: it ends by itself, and says what was acknowledged before.
    ///
    /// # Panics
    /// Where it does not notice.
    #[track_caller]
    pub fn bereft(self) -> PgbenchReport {
        let finished = self.running.finish(LIMIT).code(2);
        report(&finished.stdout, &self.log)
    }
}

#[track_caller]
fn report(said: &str, log: &PathBuf) -> PgbenchReport {
    let done = number(said, "number of transactions actually processed: ");
    let done = done.unwrap_or_else(|| panic!("pgbench counts its transactions: {said}"));
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| panic!("{log:?}: {error}"));
    let transactions: Vec<_> = text.lines().filter_map(parse).collect();
    assert_eq!(transactions.len() as u64, done, "a line for each transaction");
    PgbenchReport { done, transactions }
}

/// Client, its count, microseconds, script, seconds and microseconds of the end.
fn parse(line: &str) -> Option<Transaction> {
    let mut words = line.split(' ').skip(2);
    let took_us = words.next()?.parse().ok()?;
    let mut next = || words.next()?.parse::<u64>().ok();
    let (_script, seconds, us) = (next()?, next()?, next()?);
    Some(Transaction { at_us: seconds * 1_000_000 + us, took_us })
}

/// The number behind these words.
fn number(text: &str, words: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(words))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
