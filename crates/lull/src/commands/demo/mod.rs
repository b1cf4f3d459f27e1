//! `lull demo`: see it happen. A target and three initiators as real processes on real files, each
//! initiator's disk under a load whose every block is checked.

mod face;
mod follow;
mod killed;
mod planned;
mod prior_art;
mod process;
mod result;
mod silent;
mod stage;
mod work;

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::exit::Failure;
use face::{Colour, Face};
use result::Results;
use stage::{INITIATORS, Stage, TARGET};

/// The flags of `lull demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Takes about 20 seconds, needs no rights and leaves nothing behind. Exit \
    status: 0 only if everything happened as it should.")]
pub struct Args {
    /// Where its files are made, and left for inspection [default: a temporary directory, removed]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the demonstration.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut stage = Stage::new(args.dir)?;
    let mut face = Face::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let played = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            biased;
            end = interrupted() => end,
            played = play(&mut stage, &mut face) => played,
        }
    });
    face.clear()?;
    match played {
        Err(failure @ Failure::Usage(_)) => Err(failure),
        Err(failure) => {
            stage.keep();
            let directory = stage.directory().display();
            Err(Failure::failed(format!(
                "{}\n  next: look at {directory}/{TARGET}.log and the other logs beside it",
                failure.to_string().trim_start_matches("lull: ")
            )))
        }
        Ok(None) => Err(Failure::failed("interrupted; all processes are ended")),
        Ok(Some(())) => Ok(()),
    }
}

/// Ends when somebody wants it to end.
async fn interrupted() -> Result<Option<()>, Failure> {
    let mut end = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = end.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(None)
}

/// All parts and the summary.
async fn play(stage: &mut Stage, face: &mut Face) -> Result<Option<()>, Failure> {
    let begun = Instant::now();
    let mut results = Results::default();
    let names = INITIATORS.join(", ");
    face.line(&format!(
        "{}: a target, {TARGET}, owns three disks; {names} use one each.",
        face.paint(Colour::Bold, "lull demo")
    ))?;
    face.line("Each is a process; each disk is under a load that checks every block it reads.")?;
    face.coloured(Colour::Dim, &format!("in {}", stage.directory().display()))?;
    prior_art::play(stage, face, &mut results).await?;
    face.line("")?;
    face.coloured(Colour::Dim, "From here on each load goes through its initiator (lull attach).")?;
    stage.start_target(false).await?;
    for name in INITIATORS {
        stage.start_initiator(name).await?;
    }
    planned::play(stage, face, &mut results).await?;
    silent::play(stage, face, &mut results).await?;
    killed::play(stage, face, &mut results).await?;
    face.line("")?;
    for line in results.table(face) {
        face.line(&line)?;
    }
    let took = begun.elapsed().as_secs();
    match results.broken() {
        [] => {
            let verdict = format!("As promised: {}, in {took} s.", results.sum());
            face.coloured(Colour::Good, &verdict)?;
            Ok(Some(()))
        }
        broken => Err(Failure::failed(format!("not as promised: {}", broken.join("; ")))),
    }
}

/// The head of a part.
fn head(face: &mut Face, nth: u8, text: &str) -> Result<(), Failure> {
    face.line("")?;
    Ok(face.coloured(Colour::Bold, &format!("{nth}  {text}"))?)
}
