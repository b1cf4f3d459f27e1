//! A restart in which one initiator does not answer, and the pause timer ends.

use std::time::Duration;

use lull_admin::{OnPauseTimeout, OutcomeKind, RestartKind, RestartOrder};
use rustix::process::Signal;
use tokio::time::Instant;

use super::face::{Colour, Face};
use super::follow::{Show, restart};
use super::head;
use super::result::Results;
use super::stage::{INITIATORS, Stage, TARGET};
use super::work::Work;
use crate::exit::Failure;
use crate::units::show_ms;

/// Who does not answer.
const SILENT: &str = "db";

/// The pause timer.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the others may take to go on once the restart is given up.
const SOON: Duration = Duration::from_secs(1);

/// Plays it.
pub async fn play(
    stage: &mut Stage,
    face: &mut Face,
    results: &mut Results,
) -> Result<(), Failure> {
    head(face, 3, "A restart while one initiator is frozen: the pause timer ends")?;
    let client = stage.client(TARGET);
    let work = Work::begin(INITIATORS.map(|name| stage.front_end(name))).await?;
    work.run_for(Duration::from_millis(800), face).await?;
    work.mark();
    stage.signal(SILENT, Signal::STOP);
    face.line(&format!("   {SILENT} is frozen (SIGSTOP); the pause timer is set to 2 s"))?;
    let order = RestartOrder {
        kind: RestartKind::Daemon,
        reason: "a new binary".to_owned(),
        pause_timeout_ms: Some(PAUSE_TIMEOUT.as_millis() as u64),
        on_pause_timeout: Some(OnPauseTimeout::Abort),
        ..RestartOrder::default()
    };
    let record = restart(&client, &order, Show::Transitions, &work, face).await;
    let given_up = Instant::now();
    let others: Vec<&str> = INITIATORS.into_iter().filter(|name| *name != SILENT).collect();
    let before: Vec<u64> = others.iter().map(|name| work.watch(name).whole().done).collect();
    let go_on = || {
        let now = others.iter().map(|name| work.watch(name).whole().done);
        now.zip(&before).all(|(now, before)| now > *before)
    };
    while !go_on() && given_up.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let went_on = go_on();
    if went_on {
        let after = show_ms(given_up.elapsed().as_millis() as u64);
        face.coloured(
            Colour::Good,
            &format!("   {} went on {after} after it was given up", others.join(" and ")),
        )?;
    }
    stage.signal(SILENT, Signal::CONT);
    let frozen = work.watch(SILENT).whole().done;
    face.line(&format!("   {SILENT} wakes up (SIGCONT)"))?;
    work.run_for(Duration::from_millis(1200), face).await?;
    let came_back = work.watch(SILENT).whole().done > frozen;
    let stalls = work.stalls();
    let reports = work.end(face).await?;
    let record = record?;
    face.line(&format!("   longest wait of a consumer: {stalls}"))?;
    let outcome = record.outcome.unwrap_or_default();
    let what = format!("3 {SILENT} is frozen, the restart is given up");
    results.row(what, &INITIATORS, &reports, &stalls);
    results.promise(outcome.kind == OutcomeKind::Aborted, "part 3: it was not given up");
    let named = outcome.not_ready.iter().any(|who| who.contains(SILENT));
    results.promise(named, format!("part 3: {SILENT} is not named as the one who was not ready"));
    results.promise(went_on, "part 3: the others did not go on within a second");
    results.promise(came_back, format!("part 3: {SILENT} did not come back"));
    results.promise_no_errors(3, &INITIATORS, &reports);
    results.promise_right(3, &reports);
    Ok(())
}
