//! The target is killed and stays away for longer than one initiator will wait.

use std::time::Duration;

use lull_admin::AttachmentPhase;
use tokio::time::Instant;

use super::face::{Colour, Face};
use super::head;
use super::result::{Results, error_words, of, stalls};
use super::stage::{IMPATIENCE, IMPATIENT, INITIATORS, Stage, TARGET};
use super::work::Work;
use crate::exit::Failure;
use crate::units::show_ms;

/// How long the target is away.
const AWAY: Duration = Duration::from_millis(3000);

/// Plays it.
pub async fn play(
    stage: &mut Stage,
    face: &mut Face,
    results: &mut Results,
) -> Result<(), Failure> {
    head(face, 4, "The target is killed, and stays away for longer than one of them waits")?;
    let work = Work::begin(INITIATORS.map(|name| stage.front_end(name))).await?;
    work.run_for(Duration::from_millis(1000), face).await?;
    let killed = Instant::now();
    let since = || show_ms(killed.elapsed().as_millis() as u64);
    stage.kill(TARGET);
    face.line(&format!(
        "{:>8}     {TARGET} is killed (SIGKILL); {IMPATIENT} waits {}, then its policy is `error`",
        "0 ms",
        show_ms(IMPATIENCE.as_millis() as u64),
    ))?;
    stage.until_phase(IMPATIENT, "run its policy", AttachmentPhase::Expired).await?;
    let text =
        format!("{:>8}     {IMPATIENT}: the restart timer has ended, requests fail", since());
    face.coloured(Colour::Bad, &text)?;
    work.run_for(AWAY.saturating_sub(killed.elapsed()), face).await?;
    let patient: Vec<&str> = INITIATORS.into_iter().filter(|name| *name != IMPATIENT).collect();
    for name in &patient {
        if let Some(attachment) = stage.attachment(name).await {
            let (held, errors) = (attachment.held, attachment.errors);
            let text = format!("{:>8}     {name}: holds {held} requests, {errors} errors", since());
            face.coloured(Colour::Waiting, &text)?;
        }
    }
    stage.start_target(false).await?;
    face.line(&format!("{:>8}     {TARGET} is back", since()))?;
    for name in INITIATORS {
        stage.until_shares(name).await?;
    }
    face.coloured(Colour::Good, &format!("{:>8}     all share again, {IMPATIENT} too", since()))?;
    let before = work.watch(IMPATIENT).whole().done;
    work.run_for(Duration::from_millis(1000), face).await?;
    let goes_on = work.watch(IMPATIENT).whole().done > before;
    let reports = work.end(face).await?;
    face.line(&format!("   {}", error_words(of(&reports, IMPATIENT))))?;
    face.line(&format!("   longest stall: {}", stalls(&reports)))?;
    let waited: Vec<_> = patient.iter().map(|name| of(&reports, name)).collect();
    let failed = of(&reports, IMPATIENT);
    let names = patient.join(" and ");
    results.row(format!("the target is killed: {names} wait"), &waited, false);
    results.row(format!("  {IMPATIENT} waits {} only", show_ms(1000)), &[failed], true);
    results.promise_no_errors(4, &waited);
    results.promise(failed.error_count() > 0, format!("part 4: no request of {IMPATIENT} failed"));
    let lost = failed.connections_lost;
    results.promise(lost == 0, format!("part 4: {IMPATIENT} cut {lost} connections"));
    results.promise(goes_on, format!("part 4: {IMPATIENT} did not go on"));
    results.promise_right(4, &reports);
    Ok(())
}
