//! One seed from its first instant to the verdict, and many of them.

use crate::canary::Canary;
use crate::coverage::Coverage;
use crate::judge::Finding;
use crate::preset::Preset;
use crate::world::World;
use lull_proto::MonoTime;
use lull_proto::initiator::Phase;
use lull_proto::target::{OnTimeout, Purpose};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Once faults are over, everybody shares again within this.
const PROGRESS_WITHIN: Duration = Duration::from_secs(240);

/// What a run came to.
pub struct Verdict {
    /// What is wrong, if anything.
    pub finding: Option<Finding>,
    /// What was seen.
    pub coverage: Coverage,
    /// Requests of consumers.
    pub requests: u64,
    /// Things that happened.
    pub events: u64,
    /// The trace, where one was wanted.
    pub trace: Vec<String>,
}

/// Runs a seed of a preset.
pub fn run(preset: Preset, seed: u64, canary: Option<Canary>, trace: bool) -> Verdict {
    let mut world = preset.world(seed);
    world.canary = canary;
    world.trace = trace.then(Vec::new);
    let panicked = catch_unwind(AssertUnwindSafe(|| chaos_and_after(&mut world))).err();
    if let Some(panic) = panicked {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        world.found("panic", || text);
    }
    Verdict {
        finding: world.finding.take(),
        coverage: std::mem::take(&mut world.coverage),
        requests: world.requests,
        events: world.events,
        trace: world.trace.take().unwrap_or_default(),
    }
}

fn chaos_and_after(world: &mut World) {
    let until = world.plan.until;
    while world.step(until) {}
    settle(world);
    last_restart(world);
    verify(world);
}

/// Progress: from whatever chaos left behind, everybody shares again.
fn settle(world: &mut World) {
    if !world.until(PROGRESS_WITHIN, World::is_settled) {
        let picture = world.unsettled();
        world.found("progress", || {
            format!("{} s after the last fault:{picture}", PROGRESS_WITHIN.as_secs())
        });
    }
}

/// Half of the worlds end with a planned restart of every target, of some of which the system dies after it.
fn last_restart(world: &mut World) {
    if world.finding.is_some() || world.plan.chance.one_in(2) {
        return;
    }
    for at in 0..world.targets.len() {
        let mut order = world.any_order(Purpose::Restart, false);
        (order.span, order.on_timeout) = (Duration::from_secs(30), OnTimeout::Abort);
        let power = world.plan.chance.one_in(2).then_some(crate::disk::Death::Bare);
        world.targets[at].after = crate::target::After {
            downtime: Duration::from_millis(30),
            power,
            socket_stays: false,
        };
        world.order(at, order);
    }
    settle(world);
}

/// Everything is read once more by everybody.
fn verify(world: &mut World) {
    if world.finding.is_some() {
        return;
    }
    for at in 0..world.attachments.len() {
        let consumes = world.attachments[at].serves.is_none();
        if consumes && world.attachments[at].phase() == Some(Phase::Sharing) {
            world.read_all(at);
        }
    }
    settle(world);
}

/// Runs seeds from 1 on until one misses what is left out: its number and its verdict. `None`: so many found nothing.
pub fn hunt(canary: Canary, most: u64) -> Option<(u64, Verdict)> {
    (1..=most)
        .map(|seed| (seed, run(canary.preset(), seed, Some(canary), false)))
        .find(|(_, verdict)| verdict.finding.is_some())
}

/// Where a finding's trace begins to matter: so many lines before it.
pub const LINES_BEFORE: usize = 60;

/// A span since the first instant, for people.
pub fn since_begin(at: MonoTime) -> Duration {
    at.since(crate::preset::BEGIN)
}
