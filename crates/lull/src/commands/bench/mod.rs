//! `lull bench`: load with verification.

mod check;
mod place;
mod text;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use lull_frontend::nbd::Uri;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::exit::Failure;
use crate::load::{Load, Plan, Report, Watch, new_run};
use crate::output::print_json;
use crate::units::{parse_size, parse_span_ms};

/// The flags of `lull bench`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each block that is written carries its place and the number of its write, \
    so that every read can be checked against the writes before and beside it. In the end all that \
    was written is read once more. Do not let two loads write to one disk: each would find the \
    other's blocks.\n\nWith --record all that was asked and answered is written to a file as well, one line \
    each, which --check judges, here or elsewhere, and whoever recorded it: it names the lines of \
    each read that the writes do not explain.\n\nExit status: 0 only if no request failed and every block was right; of --check: only if every read \
    is explained."
)]
pub struct Args {
    /// What to load, all at once: NBD servers, as unix:/path, tcp:host:port, nbd://host[:port]/name
    /// or nbd+unix:///name?socket=/path
    #[arg(value_name = "URI|ADDR", required_unless_present = "check")]
    pub places: Vec<String>,
    /// Overwrite what is on these disks; needed unless --read-percent is 100
    #[arg(long, alias = "yes")]
    pub write: bool,
    /// How long
    #[arg(long, alias = "for", value_name = "SPAN", default_value = "10s", value_parser = parse_span_ms)]
    pub time: u64,
    /// Stop after so many requests at each place
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Requests in flight at each place
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub depth: u16,
    /// Bytes of one request, a multiple of 512
    #[arg(long, alias = "block", value_name = "SIZE", default_value = "4K", value_parser = block_size)]
    pub block_size: u32,
    /// Reads among the requests, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_percent: u8,
    /// One block after the other
    #[arg(long)]
    pub sequential: bool,
    /// Any block at any time [this is the default]
    #[arg(long, conflicts_with = "sequential")]
    pub random: bool,
    /// The first bytes of each disk that are used [default: all]
    #[arg(long, alias = "size", value_name = "SIZE", value_parser = parse_size)]
    pub span: Option<u64>,
    /// A flush after so many writes; 0: only one, before everything is read once more
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub flush_every: u64,
    /// Requests per second at each place, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// What the load is derived from; the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Check every read, and read all that was written once more [this is the default]
    #[arg(long)]
    pub verify: bool,
    /// Check nothing
    #[arg(long, conflicts_with = "verify")]
    pub no_verify: bool,
    /// Stop at the first error or wrong block instead of counting on
    #[arg(long)]
    pub stop_at_error: bool,
    /// Write the history of the load to a new file; one place only
    #[arg(long, value_name = "FILE", conflicts_with = "no_verify")]
    pub record: Option<PathBuf>,
    /// Load nothing: judge the history in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "places", "write", "time", "count", "depth", "block_size", "read_percent", "sequential",
        "random", "span", "flush_every", "rate", "seed", "verify", "no_verify", "stop_at_error",
        "record", "patience",
    ])]
    pub check: Option<PathBuf>,
    /// How long requests may still take once the load has ended
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span_ms)]
    pub patience: u64,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

fn block_size(text: &str) -> Result<u32, String> {
    /// The most that NBD lets a client send without asking.
    const MOST: u64 = 32 << 20;
    match parse_size(text)? {
        size if size == 0 || size % 512 != 0 => Err(format!("`{text}` is no multiple of 512")),
        size if size > MOST => Err(format!("`{text}` is more than 32 MiB")),
        size => Ok(size as u32),
    }
}

impl Args {
    /// One plan per place.
    ///
    /// # Errors
    /// A place that is no NBD server or is given twice, or a load that would write and was not told
    /// to.
    fn plans(&self) -> Result<Vec<Plan>, Failure> {
        let uris = place::parse_all(&self.places)?;
        if self.read_percent < 100 && !self.write {
            return Err(Failure::Usage(format!(
                "this would overwrite what is on {}\n  next: add --write if that may be lost, or \
                 --read-percent 100 to read only",
                self.places.join(" and ")
            )));
        }
        if self.record.is_some() && uris.len() > 1 {
            return Err(Failure::Usage(
                "a history is of one disk, and several are named\n  next: record one at a time"
                    .to_owned(),
            ));
        }
        let plan = |(uri, name): (Uri, &String)| Plan {
            name: name.clone(),
            depth: self.depth,
            block: self.block_size,
            span: self.span,
            read_percent: self.read_percent,
            sequential: self.sequential,
            flush_every: self.flush_every,
            seed: self.seed,
            verify: !self.no_verify,
            time: Some(Duration::from_millis(self.time)),
            count: self.count,
            rate: self.rate,
            stop_at_error: self.stop_at_error,
            patience: Duration::from_millis(self.patience),
            record: self.record.clone(),
            ..Plan::new(uri)
        };
        Ok(uris.into_iter().zip(&self.places).map(plan).collect())
    }
}

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Document {
    /// Whether no request failed and every block was right.
    ok: bool,
    /// The seed of the requests.
    seed: u64,
    /// One report per place.
    places: Vec<Report>,
}

/// Runs the load and prints what it saw.
pub fn run(args: Args) -> Result<(), Failure> {
    if let Some(file) = &args.check {
        return check::run(file, args.json);
    }
    let plans = args.plans()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reports = LocalSet::new().block_on(&runtime, load(plans))?;
    let ok = reports.iter().all(|report| report.ok);
    if args.json {
        print_json(&Document { ok, seed: args.seed, places: reports.clone() })?;
    } else {
        print!("{}", text::table(&reports));
    }
    if ok { Ok(()) } else { Err(Failure::failed(text::failure(&reports))) }
}

/// All places at once.
async fn load(plans: Vec<Plan>) -> Result<Vec<Report>, Failure> {
    let run = new_run()?;
    let mut loads = Vec::new();
    for (plan, nth) in plans.into_iter().zip(0..) {
        let started = Load::start(plan, run.wrapping_add(nth)).await;
        loads.push(started?);
    }
    let watches: Vec<Watch> = loads.iter().map(Load::watch).collect();
    let mut ends = JoinSet::new();
    for (load, nth) in loads.into_iter().zip(0..) {
        ends.spawn_local(async move { (nth, load.finish().await) });
    }
    let live = std::io::stderr().is_terminal();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    let mut reports: Vec<(usize, Report)> = Vec::new();
    let mut lasted = 0;
    let mut interrupted = false;
    loop {
        tokio::select! {
            end = ends.join_next() => match end {
                Some(Ok(report)) => reports.push(report),
                Some(Err(error)) => return Err(Failure::Failed(error.into())),
                None => break,
            },
            _ = seconds.tick() => {
                lasted += 1;
                if live {
                    eprintln!("{}", text::second(lasted, &watches));
                }
            }
            _ = tokio::signal::ctrl_c() => {
                if std::mem::replace(&mut interrupted, true) {
                    return Err(Failure::failed("interrupted before everything was read once more"));
                }
                eprintln!("ending the load; interrupt again to skip the last reading");
                watches.iter().for_each(Watch::stop);
            }
        }
    }
    reports.sort_by_key(|(nth, _)| *nth);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn plans(flags: &[&str]) -> Result<Vec<Plan>, String> {
        let line = ["lull", "bench"].iter().chain(flags);
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            Command::Bench(args) => args.plans().map_err(|failure| {
                assert_eq!(failure.code(), 2);
                failure.to_string()
            }),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_overwritten_without_being_told_to() {
        let refusal = plans(&["unix:/a", "unix:/b"]).unwrap_err();
        assert!(refusal.contains("unix:/a and unix:/b"), "{refusal}");
        assert!(refusal.contains("--write"), "{refusal}");
        assert!(!plans(&["unix:/a", "--read-percent", "100"]).unwrap()[0].writes());
        assert!(plans(&["unix:/a", "--write"]).unwrap()[0].writes());
        assert!(plans(&["unix:/a", "--yes"]).unwrap()[0].writes());
    }

    #[test]
    fn a_block_is_whole_sectors_and_not_too_many() {
        for wrong in ["0", "100", "513", "33M", "x"] {
            assert!(plans(&["unix:/a", "--write", "--block-size", wrong]).is_err(), "{wrong}");
        }
        let plans = plans(&["tcp:h:1", "--write", "--block-size", "64K", "--time", "2s"]).unwrap();
        assert_eq!((plans[0].block, plans[0].time), (65_536, Some(Duration::from_secs(2))));
    }
}
