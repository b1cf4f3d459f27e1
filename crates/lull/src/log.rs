//! What a daemon in the foreground tells people, and programs that collect logs.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::output::Zone;

/// Names the line that says that a daemon serves, so that a filter can be told of it alone.
const SERVING: &str = "serving";

/// The flags that every verb has stand below its own in its help.
const LAST: usize = 900;

/// How much a daemon tells.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Volume {
    /// A daemon tells more, for finding a mistake (LULL_LOG, where it is set, wins)
    #[arg(short, long, global = true, conflicts_with = "quiet", display_order = LAST)]
    pub verbose: bool,
    /// A daemon tells nothing but warnings and errors (LULL_LOG, where it is set, wins)
    #[arg(short, long, global = true, display_order = LAST)]
    pub quiet: bool,
}

/// `--log-format`, for every verb that is a daemon.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FormatArgs {
    /// How each line on standard error is written: plain for people, json for programs
    #[arg(long, value_name = "FORMAT", default_value = "plain", hide_possible_values = true)]
    pub log_format: Format,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: the sentence, with its time unless the journal takes it
    Plain,
    /// For programs: a JSON document with time, level and place
    Json,
}

/// Prints what happens on standard error, one line each. The variable `LULL_LOG` changes how much:
/// `warn`, `debug`, `lull_initiator=debug`.
pub fn to_stderr(volume: Volume, format: Format) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(volume, std::env::var("LULL_LOG").ok().as_deref()))
        .with_writer(|| Patient)
        .with_ansi(false);
    // Where somebody listens already, they keep listening.
    let _ = match format {
        Format::Plain => {
            let lines = lines.with_level(false).with_target(false);
            if is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref(), io::stderr()) {
                lines.without_time().try_init()
            } else {
                lines.with_timer(LocalTime(Zone::local())).try_init()
            }
        }
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
}

/// Whether what is written there goes to the journal, which has a time for each line: `said` by who started this process.
fn is_journal(said: Option<&str>, stream: impl AsFd) -> bool {
    let Ok(found) = rustix::fs::fstat(stream) else { return false };
    said == Some(&format!("{}:{}", found.st_dev, found.st_ino))
}

/// Date and time of day where the reader is, as `lull events` has them.
struct LocalTime(Zone);

impl FormatTime for LocalTime {
    #[expect(clippy::disallowed_methods, reason = "of what is said, and of nothing that is done")]
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        write!(line, "{} {}", self.0.date(at), self.0.time_ms(at))
    }
}

/// Standard error, where nobody is waited for: whoever reads it may write to a disk that this process serves. What is not
/// taken is left out, and counted.
struct Patient;

/// Lines that were left out since the last one that was taken.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let mut poll = [PollFd::new(&stderr, PollFlags::OUT)];
        // Where it cannot even be asked, writing says why.
        if matches!(rustix::event::poll(&mut poll, Some(&Timespec::default())), Ok(0)) {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let mut stderr = stderr.lock();
        let count = LEFT_OUT.swap(0, Ordering::Relaxed);
        if count > 0 {
            writeln!(stderr, "{count} lines are left out here: nobody took them")?;
        }
        stderr.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that a daemon serves. Whoever started it may wait for this line, so `LULL_LOG` does not
/// take it away; only `--quiet` does.
pub fn serving(what: &str) {
    tracing::info!(target: SERVING, "{what}");
}

fn filter(volume: Volume, said: Option<&str>) -> EnvFilter {
    let said = said.filter(|said| !said.is_empty());
    if let Some(said) = said.and_then(|said| EnvFilter::try_new(said).ok()) {
        return with_serving(said);
    }
    match volume {
        Volume { quiet: true, .. } => EnvFilter::new("warn"),
        // Our own crates alone: what lies below them has much to say that helps nobody here.
        Volume { verbose: true, .. } => with_serving(EnvFilter::new("info,lull=debug")),
        Volume { .. } => EnvFilter::new("info"),
    }
}

fn with_serving(filter: EnvFilter) -> EnvFilter {
    let level = LevelFilter::INFO;
    match format!("{SERVING}={level}").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(volume: Volume, said: Option<&str>) -> String {
        let mut parts: Vec<_> =
            filter(volume, said).to_string().split(',').map(str::to_owned).collect();
        parts.sort();
        parts.join(",")
    }

    #[test]
    fn only_a_stream_that_is_the_journals_has_its_time_from_there() {
        let (file, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let found = rustix::fs::fstat(&file).unwrap();
        let said = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_journal(Some(&said), &file));
        assert!(!is_journal(Some(&said), &other), "it was redirected");
        assert!(!is_journal(None, &file));
    }

    #[test]
    fn flags_choose_the_level_and_the_variable_wins() {
        let normal = Volume::default();
        let quiet = Volume { quiet: true, ..normal };
        let verbose = Volume { verbose: true, ..normal };
        assert_eq!(shown(normal, None), "info");
        assert_eq!(shown(quiet, None), "warn");
        assert_eq!(shown(verbose, None), "info,lull=debug,serving=info");
        assert_eq!(shown(quiet, Some("debug")), "debug,serving=info");
        assert_eq!(shown(verbose, Some("warn")), "serving=info,warn");
        assert_eq!(shown(quiet, Some("")), "warn", "an empty variable says nothing");
        assert_eq!(shown(quiet, Some("a=b=c")), "warn", "nor does one that means nothing");
    }
}
