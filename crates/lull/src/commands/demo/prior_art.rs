//! The same load straight on an NBD server that is stopped and started again.

use std::time::Duration;

use tokio::time::Instant;

use super::face::{Colour, Face};
use super::head;
use super::result::{Results, error_words};
use super::stage::{INITIATORS, Stage, TARGET};
use super::work::Work;
use crate::exit::Failure;

/// Plays it.
pub async fn play(
    stage: &mut Stage,
    face: &mut Face,
    results: &mut Results,
) -> Result<(), Failure> {
    head(face, 1, "As it was: the loads straight on an NBD server, which is restarted")?;
    stage.start_target(true).await?;
    let work = Work::begin(INITIATORS.map(|disk| stage.straight(disk))).await?;
    work.run_for(Duration::from_millis(1500), face).await?;
    work.mark();
    let begun = Instant::now();
    let ms = || begun.elapsed().as_millis();
    face.moment(0, None, &format!("{TARGET} is told to stop (SIGTERM)"))?;
    stage.stop(TARGET).await?;
    face.moment(ms(), None, &format!("{TARGET} has ended, and is started again at once"))?;
    stage.start_target(true).await?;
    face.moment(ms(), None, &format!("{TARGET} serves again"))?;
    work.run_for(Duration::from_millis(1000), face).await?;
    let stalls = work.stalls();
    let reports = work.end(face).await?;
    stage.stop(TARGET).await?;
    for report in &reports {
        face.coloured(Colour::Bad, &format!("   {}", error_words(report)))?;
    }
    face.line(&format!("   longest wait of a consumer: {stalls}"))?;
    face.line(
        "   (these loads dial again by themselves; a kernel or a program would have failed)",
    )?;
    results.row("1 an NBD server is stopped and started", &INITIATORS, &reports, &stalls);
    let failed = reports.iter().any(|report| report.error_count() > 0);
    results.promise(failed, "part 1: a server went away, and no request noticed");
    results.promise_right(1, &reports);
    Ok(())
}
