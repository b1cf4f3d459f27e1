//! What the database's clients saw of each restart and each kill.

use crate::bench::figures::{self, Pieces};
use crate::bench::load::{self, Answered};
use anyhow::{Context, Result, ensure};
use lull_admin::{OutcomeKind, RestartRecord};
use serde::Deserialize;

/// How far back before a restart the load's usual longest transaction is sought, in milliseconds.
const USUAL_MS: u64 = 2000;

/// What the database's process prints.
#[derive(Deserialize)]
pub struct Said {
    transactions: Vec<Transaction>,
    restarts: Vec<RestartRecord>,
    kills: Vec<Killed>,
}

/// A transaction: when it ended, in Unix microseconds, and how long it took.
#[derive(Clone, Copy, Deserialize)]
struct Transaction {
    at_us: u64,
    took_us: u64,
}

/// A kill, in Unix microseconds: SIGKILL, the new process serves, its user shares again.
#[derive(Clone, Copy, Deserialize)]
struct Killed {
    at_us: u64,
    serves_us: u64,
    shares_us: u64,
}

/// Everything, with what follows from it.
pub struct Seen {
    /// When each transaction ended, in microseconds since the first.
    pub ends_us: Vec<u64>,
    /// The disturbances in the order of time.
    pub events: Vec<Event>,
    /// Transactions per second, the median of the seconds in which nothing was done to the target.
    pub usual_rate: u64,
    /// The longest transaction that met no disturbance, in microseconds.
    pub usual_longest_us: u64,
}

/// Something that was done to the target.
pub struct Event {
    /// When it began, and when all was over, in microseconds since the first transaction's end.
    pub from_us: u64,
    pub to_us: u64,
    /// The longest transaction that it met, in microseconds.
    pub longest_us: u64,
    /// When that transaction ended, in microseconds since the first one's end.
    pub longest_end_us: u64,
    /// What it was, and what that transaction consists of.
    pub what: What,
}

/// Which disturbance.
pub enum What {
    Restart(Pieces),
    Kill { early_us: u64, down_us: u64, back_us: u64, served_us: u64 },
}

impl Seen {
    /// # Errors
    /// Where there was no load, or a restart did not complete.
    pub fn of(said: Said) -> Result<Self> {
        let mut all = said.transactions;
        all.sort_unstable_by_key(|one| one.at_us);
        let begun = all.first().context("no transaction at all")?.at_us;
        let answered =
            |one: &Transaction| Answered { at_ms: one.at_us / 1000, took_us: one.took_us };
        let requests: Vec<_> = all.iter().map(answered).collect();
        let restarts = said.restarts.iter().map(|record| restart(record, &requests));
        let kills = said.kills.iter().map(|killed| kill(*killed, &requests));
        let mut events = restarts.chain(kills).collect::<Result<Vec<_>>>()?;
        events.sort_unstable_by_key(|event| event.from_us);
        for event in &mut events {
            event.from_us = event.from_us.saturating_sub(begun);
            event.to_us = event.to_us.saturating_sub(begun);
            event.longest_end_us = event.longest_end_us.saturating_sub(begun);
        }
        let free = |from: u64, to: u64| {
            !events.iter().any(|event| event.from_us <= to && event.to_us >= from)
        };
        let ends_us: Vec<_> = all.iter().map(|one| one.at_us - begun).collect();
        let usual_rate = figures::median(free_seconds(&ends_us, free));
        let undisturbed = all.iter().filter(|one| {
            let end = one.at_us - begun;
            free(end.saturating_sub(one.took_us), end)
        });
        let usual_longest_us = undisturbed.map(|one| one.took_us).max().unwrap_or(0);
        Ok(Self { ends_us, events, usual_rate, usual_longest_us })
    }
}

/// How many transactions ended in each second in which nothing was done.
fn free_seconds(ends_us: &[u64], free: impl Fn(u64, u64) -> bool) -> Vec<u64> {
    let counts = counts(ends_us, 1_000_000);
    // The last one is not a whole second.
    let whole = &counts[..counts.len().saturating_sub(1)];
    let seconds = whole.iter().zip((0..).step_by(1_000_000));
    seconds.filter(|&(_, at)| free(at, at + 999_999)).map(|(count, _)| *count).collect()
}

/// How many transactions ended in each span of this length.
pub fn counts(ends_us: &[u64], span_us: u64) -> Vec<u64> {
    let spans = ends_us.last().map_or(0, |last| last / span_us + 1);
    let mut counts = vec![0; usize::try_from(spans).unwrap_or(0)];
    for end in ends_us {
        counts[(end / span_us) as usize] += 1;
    }
    counts
}

fn restart(record: &RestartRecord, requests: &[Answered]) -> Result<Event> {
    let id = record.id;
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    ensure!(kind == Some(OutcomeKind::Completed), "restart {id}: {:?}", record.outcome);
    let row = record.rows.first().with_context(|| format!("nobody in restart {id}"))?;
    let sent = |name| figures::sent_us(record, row, name).map(|us| us / 1000);
    let (from, to) = sent("PAUSE").zip(sent("RESUME")).with_context(|| format!("restart {id}"))?;
    let longest = load::longest(requests, from, to).context("no transaction was under way")?;
    let usual = load::longest(requests, record.started - USUAL_MS, record.started - 1);
    let pieces = Pieces::of(record, row, longest, usual.map_or(0, |one| one.took_us));
    Ok(Event {
        from_us: record.started * 1000,
        to_us: record.ended.unwrap_or(to) * 1000,
        longest_us: longest.took_us,
        longest_end_us: longest.at_ms * 1000,
        what: What::Restart(pieces),
    })
}

fn kill(killed: Killed, requests: &[Answered]) -> Result<Event> {
    let Killed { at_us, serves_us, shares_us } = killed;
    let longest = load::longest(requests, at_us / 1000, shares_us / 1000);
    let longest = longest.context("no transaction was under way")?;
    let (down_us, back_us) = (serves_us - at_us, shares_us - serves_us);
    let early_us = at_us.saturating_sub(longest.begun_ms() * 1000);
    let served_us = longest.took_us.saturating_sub(early_us + down_us + back_us);
    let what = What::Kill { early_us, down_us, back_us, served_us };
    let (longest_us, longest_end_us) = (longest.took_us, longest.at_ms * 1000);
    Ok(Event { from_us: at_us, to_us: shares_us, longest_us, longest_end_us, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_what_the_transaction_that_met_it_waited_for() {
        let each = |at_ms: u64| Transaction { at_us: at_ms * 1000, took_us: 1_000 };
        let mut transactions: Vec<_> = (1..5000).map(each).collect();
        transactions.retain(|one| !(2_000_000..2_300_000).contains(&one.at_us));
        transactions.push(Transaction { at_us: 2_300_000, took_us: 310_000 });
        let killed = Killed { at_us: 2_000_000, serves_us: 2_100_000, shares_us: 2_250_000 };
        let said = Said { transactions, restarts: Vec::new(), kills: vec![killed] };
        let seen = Seen::of(said).unwrap();
        assert_eq!((seen.usual_rate, seen.usual_longest_us), (1000, 1_000));
        let What::Kill { early_us, down_us, back_us, served_us } = seen.events[0].what else {
            panic!("a kill");
        };
        assert_eq!((early_us, down_us, back_us, served_us), (10_000, 100_000, 150_000, 50_000));
        assert_eq!(seen.events[0].longest_us, 310_000);
    }
}
