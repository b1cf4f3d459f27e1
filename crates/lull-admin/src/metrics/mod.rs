//! The state of a daemon as metrics: the document of `GET /metrics`.
//!
//! Nothing is counted here: each scrape renders a [`Status`], so that metrics and `lull status`
//! cannot disagree.

mod exposition;
mod initiator;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use exposition::CONTENT_TYPE;

use prometheus_client::registry::Unit;

use crate::alert::Alert;
use crate::status::Status;
use exposition::{Exposition, Family, Number};

/// The text of all metrics of a daemon.
///
/// # Errors
/// None that is known: the text grows in memory.
pub(crate) fn render(status: &Status) -> Result<String, std::fmt::Error> {
    let mut families = daemon(status);
    if let Some(of) = &status.target {
        families.extend(target::families(of, status.at));
    }
    if let Some(of) = &status.initiator {
        families.extend(initiator::families(of, status.at));
    }
    families.push(alerts(&status.alerts));
    Exposition::new(families).into_text()
}

fn daemon(status: &Status) -> Vec<Family> {
    let mut build = Family::info("lull_build", "The daemon's node and version.");
    build.label([("node", &*status.name), ("version", &*status.version)]);
    let mut start = Family::gauge(
        "lull_start_time",
        "When this process began to serve, counted from the Unix epoch.",
    )
    .of(Unit::Seconds);
    start.put([], Number::of_ms(status.since));
    vec![build, start]
}

/// A series for each alert that is present, as [`Alert`] names what it is about.
fn alerts(alerts: &[Alert]) -> Family {
    let mut family = Family::gauge("lull_alert", "What an operator should look at: 1 for each.");
    for alert in alerts {
        let name =
            |name: &'static str, of: &'_ Option<String>| (name, of.clone().unwrap_or_default());
        let labels = [
            ("kind", alert.kind.as_str().to_owned()),
            name("attachment", &alert.attachment),
            name("resource", &alert.resource),
            name("node", &alert.node),
        ];
        let labels = labels.each_ref().map(|(name, text)| (*name, text.as_str()));
        family.put(labels, true);
    }
    family
}

/// From `since` to `at`, both in Unix milliseconds; zero where a clock was set back between them.
fn age(at: u64, since: u64) -> Number {
    Number::of_ms(at.saturating_sub(since))
}
