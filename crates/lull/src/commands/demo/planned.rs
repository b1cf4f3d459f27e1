//! A planned restart to a new process.

use std::time::Duration;

use lull_admin::{OutcomeKind, RestartKind, RestartOrder};

use super::face::{Colour, Face};
use super::follow::{Show, restart};
use super::head;
use super::result::Results;
use super::stage::{INITIATORS, Stage, TARGET};
use super::work::Work;
use crate::exit::Failure;

/// Plays it.
pub async fn play(
    stage: &mut Stage,
    face: &mut Face,
    results: &mut Results,
) -> Result<(), Failure> {
    head(face, 2, "A planned restart (lull restart): a new process takes over")?;
    let client = stage.client(TARGET);
    let work = Work::begin(INITIATORS.map(|name| stage.front_end(name))).await?;
    work.run_for(Duration::from_millis(1500), face).await?;
    let before = client.status().await?.pid;
    let order = RestartOrder {
        kind: RestartKind::Daemon,
        reason: "a new binary".to_owned(),
        ..RestartOrder::default()
    };
    work.mark();
    let record = restart(&client, &order, Show::Messages, &work, face).await?;
    let after = client.status().await?.pid;
    work.run_for(Duration::from_millis(1500), face).await?;
    let stalls = work.stalls();
    let reports = work.end(face).await?;
    let in_flight: u64 = record.rows.iter().map(|row| row.in_flight_at_pause).sum();
    face.line(&format!(
        "   process {before} → {after}; {in_flight} requests were in flight when PAUSE arrived"
    ))?;
    face.coloured(Colour::Good, &format!("   longest wait of a consumer: {stalls}"))?;
    results.row("2 a planned restart to a new process", &INITIATORS, &reports, &stalls);
    let completed = record.outcome.as_ref().is_some_and(|o| o.kind == OutcomeKind::Completed);
    results.promise(completed, "part 2: the restart was not completed");
    results.promise(before != after, "part 2: it is the same process as before");
    results.promise_no_errors(2, &INITIATORS, &reports);
    results.promise_right(2, &reports);
    Ok(())
}
