//! The target is killed and stays away for longer than one initiator will wait.

use std::time::Duration;

use lull_admin::AttachmentPhase;
use tokio::time::Instant;

use super::face::{Colour, Face};
use super::head;
use super::result::{Results, error_words, of};
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
    head(face, 4, "The target is killed, and stays away for longer than mail waits (1 s)")?;
    let work = Work::begin(INITIATORS.map(|name| stage.front_end(name))).await?;
    work.run_for(Duration::from_millis(1000), face).await?;
    work.mark();
    let killed = Instant::now();
    let ms = || killed.elapsed().as_millis();
    stage.kill(TARGET);
    face.moment(0, None, &format!("{TARGET} is killed (SIGKILL)"))?;
    stage.until_phase(IMPATIENT, "run its policy", AttachmentPhase::Expired).await?;
    let text = format!("{IMPATIENT}: its restart timer has ended; its policy: requests fail");
    face.moment(ms(), Some(Colour::Bad), &text)?;
    work.run_for(AWAY.saturating_sub(killed.elapsed()), face).await?;
    let patient: Vec<&str> = INITIATORS.into_iter().filter(|name| *name != IMPATIENT).collect();
    for name in &patient {
        if let Some(attachment) = stage.attachment(name).await {
            let (held, errors) = (attachment.held, attachment.errors);
            let text = format!("{name}: holds {held} requests, {errors} errors");
            face.moment(ms(), Some(Colour::Waiting), &text)?;
        }
    }
    stage.start_target(false).await?;
    face.moment(ms(), None, &format!("{TARGET} is started again"))?;
    for name in INITIATORS {
        stage.until_shares(name).await?;
    }
    let text = format!("all share again, {IMPATIENT} too");
    face.moment(ms(), Some(Colour::Good), &text)?;
    let before = work.watch(IMPATIENT).whole().done;
    work.run_for(Duration::from_millis(1000), face).await?;
    let goes_on = work.watch(IMPATIENT).whole().done > before;
    let stalls = work.stalls();
    let reports = work.end(face).await?;
    face.line(&format!("   {}", error_words(of(&reports, IMPATIENT))))?;
    face.line(&format!("   longest wait of a consumer: {stalls}"))?;
    let names = patient.join(" and ");
    results.row(format!("4 the target is killed: {names} wait"), &patient, &reports, &stalls);
    let what = format!("  {IMPATIENT} waits {} only", show_ms(IMPATIENCE.as_millis() as u64));
    results.row(what, &[IMPATIENT], &reports, &stalls);
    results.promise_no_errors(4, &patient, &reports);
    let failed = of(&reports, IMPATIENT);
    results.promise(failed.error_count() > 0, format!("part 4: no request of {IMPATIENT} failed"));
    let lost = failed.connections_lost;
    results.promise(lost == 0, format!("part 4: {IMPATIENT} cut {lost} connections"));
    results.promise(goes_on, format!("part 4: {IMPATIENT} did not go on"));
    results.promise_right(4, &reports);
    Ok(())
}
