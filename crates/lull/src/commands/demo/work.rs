//! The load of one part: the same on each of the three disks.

use std::fmt;
use std::time::Duration;

use lull_frontend::nbd::Uri;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::face::Face;
use super::stage::INITIATORS;
use crate::exit::Failure;
use crate::load::{Load, Plan, Report, Watch, new_run};
use crate::units::show_ms;

/// Requests in flight at each disk.
const DEPTH: u16 = 8;

/// The part of each disk that is used.
const SPAN: u64 = 8 << 20;

/// A flush after so many writes.
const FLUSH_EVERY: u64 = 500;

/// How long the last requests may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the living line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Three loads.
#[derive(Debug)]
pub struct Work {
    loads: Vec<Load>,
    watches: Vec<Watch>,
}

/// Milliseconds in the order of [`INITIATORS`].
#[derive(Clone, Copy, Debug)]
pub struct Stalls([u64; 3]);

impl Stalls {
    /// The longest that one of these initiators stood still, in milliseconds.
    pub fn longest(&self, names: &[&str]) -> u64 {
        let stalls = INITIATORS.iter().zip(self.0);
        stalls.filter(|(name, _)| names.contains(name)).map(|(_, ms)| ms).max().unwrap_or(0)
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |(name, ms): (&str, u64)| format!("{name} {}", show_ms(ms));
        f.write_str(&INITIATORS.into_iter().zip(self.0).map(one).collect::<Vec<_>>().join(", "))
    }
}

impl Work {
    /// Begins on the disks at `places`, one for each name of [`INITIATORS`].
    ///
    /// # Errors
    /// One of them is not there.
    pub async fn begin(places: [Uri; 3]) -> Result<Self, Failure> {
        let run = new_run()?;
        let mut loads = Vec::new();
        for ((uri, name), nth) in places.into_iter().zip(INITIATORS).zip(0..) {
            let plan = Plan {
                name: name.to_owned(),
                depth: DEPTH,
                span: Some(SPAN),
                flush_every: FLUSH_EVERY,
                seed: nth,
                patience: PATIENCE,
                ..Plan::new(uri)
            };
            let started = Load::start(plan, run.wrapping_add(nth)).await;
            loads.push(started?);
        }
        let watches = loads.iter().map(Load::watch).collect();
        Ok(Self { loads, watches })
    }

    /// The load of one initiator.
    pub fn watch(&self, name: &str) -> &Watch {
        let at = INITIATORS.iter().position(|initiator| *initiator == name).unwrap_or(0);
        &self.watches[at]
    }

    /// Lets it work for so long.
    pub async fn run_for(&self, span: Duration, face: &mut Face) -> Result<(), Failure> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.draw(face)?;
            tokio::time::sleep_until(end.min(Instant::now() + DRAW_EVERY)).await;
        }
        Ok(())
    }

    /// From here on stalls are measured.
    pub fn mark(&self) {
        let _ = self.stalls();
    }

    /// The longest time that each of [`INITIATORS`] stood still since the mark, which moves here.
    pub fn stalls(&self) -> Stalls {
        let stall = |watch: &Watch| watch.take_window().longest_stall().as_millis() as u64;
        let mut stalls = self.watches.iter().map(stall);
        Stalls([(); 3].map(|()| stalls.next().unwrap_or_default()))
    }

    /// Draws the living line.
    pub fn draw(&self, face: &mut Face) -> Result<(), Failure> {
        if !face.lives() {
            return Ok(());
        }
        let one = |(name, watch): (&str, &Watch)| {
            let whole = watch.whole();
            let errors = match whole.errors {
                0 => String::new(),
                errors => format!(", {errors} errors"),
            };
            let still = watch.since_success();
            if still > Duration::from_millis(100) {
                return format!("{name}: waits {}{errors}", show_ms(still.as_millis() as u64));
            }
            format!("{name}: {} done{errors}", whole.done)
        };
        let parts: Vec<String> = INITIATORS.into_iter().zip(&self.watches).map(one).collect();
        Ok(face.live(&format!("  {}", parts.join("   ")))?)
    }

    /// Ends it, reads everything that was written once more, and reports, in the order of
    /// [`INITIATORS`].
    pub async fn end(self, face: &mut Face) -> Result<Vec<Report>, Failure> {
        self.watches.iter().for_each(Watch::stop);
        face.live("  reading once more everything that was written …")?;
        let mut ends = JoinSet::new();
        for (load, nth) in self.loads.into_iter().zip(0..) {
            ends.spawn_local(async move { (nth, load.finish().await) });
        }
        let mut reports: Vec<(usize, Report)> = ends.join_all().await;
        reports.sort_by_key(|(nth, _)| *nth);
        Ok(reports.into_iter().map(|(_, report)| report).collect())
    }
}
