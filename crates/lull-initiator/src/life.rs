//! The lives of an initiator in one process: its own, after that of the process before it, and again its own where no
//! successor comes to serve [INIT-1].

use std::time::Duration;

use lull_admin::Moment;
use lull_transport::handover::{Heir, Predecessor, Successor};
use lull_wire::InstanceId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::config::Config;
use crate::daemon::{Daemon, random};
use crate::error::RunError;
use crate::footing;
use crate::state_file;
use crate::states::States;
use crate::succession::announcement::{Announcement, Known, VARIABLE};
use crate::succession::estate::Estate;

/// How often what keeps a process from going on with its own estate is tried again, and signs of life are given.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the daemon on this thread until it is stopped by a signal or its last attachment has ended. `told` hears of
/// each turn in its life.
///
/// # Errors
/// Why it did not start, or ended otherwise than it was told.
pub fn run(config: Config, told: impl Fn(Moment<'_>)) -> Result<(), RunError> {
    footing::take(&config);
    if let Err(error) = lull_transport::raise_descriptor_limit() {
        tracing::warn!("the limit of open descriptors stays as it is: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, async {
        let (stop, stops) = mpsc::unbounded_channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut late = signal(SignalKind::terminate())?;
        tokio::task::spawn_local(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if stop.send(()).is_err() {
                    return;
                }
            }
        });
        let Some(heir) = lives(config, stops, told).await? else { return Ok(()) };
        // What has come is seen between two turns. It would have kept this process from handing over, if it had come before.
        // Of SIGINT a terminal tells the successor itself.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            _ = late.recv() => heir.terminate(),
            () = std::future::ready(()) => {}
        }
        Ok(())
    });
    runtime.shutdown_background();
    result
}

/// The same within a `LocalSet` of the caller's. The first message in `stops` ends all attachments; the second
/// does not wait for their targets.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    config: Config,
    mut stops: mpsc::UnboundedReceiver<()>,
    told: impl Fn(Moment<'_>),
) -> Result<(), RunError> {
    let states = States::take(&config, false)?;
    let (mut daemon, calls) = Daemon::start(config, states, None, true).await?;
    daemon.begin(&told);
    let left = daemon.turn(calls, &mut stops, &told).await;
    daemon.end().await;
    left.map(drop)
}

/// The lives of a daemon: its own, after that of the process before, and again its own where no successor comes to serve.
async fn lives(
    mut config: Config,
    mut stops: mpsc::UnboundedReceiver<()>,
    told: impl Fn(Moment<'_>),
) -> Result<Option<Heir>, RunError> {
    let mut predecessor = Predecessor::of_this_process()?;
    let mut estate = match &predecessor {
        Some(predecessor) => {
            let estate = given(predecessor, check(&config)).await?;
            // [SAFE-5] [SAFE-8] An operator's word was for the life that it was given to.
            config = without_words(config);
            Some(estate)
        }
        None => None,
    };
    let (mut trouble, mut first) = (None, true);
    loop {
        let inherits = estate.is_some();
        let states = match &predecessor {
            None if inherits => own_states(&config, &mut stops, &told).await,
            Some(_) | None => States::take(&config, inherits),
        };
        let started = match states {
            Ok(states) => Daemon::start(config.clone(), states, estate.take(), first).await,
            Err(error) => Err(error),
        };
        let (mut daemon, calls) = match (started, &predecessor) {
            (Ok(started), _) => started,
            (Err(error), Some(predecessor)) => {
                predecessor.refuse(&error.to_string()).await;
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        first = false;
        config = without_words(config);
        if inherits {
            // Before the predecessor may go: a service manager must know by then which process the daemon is.
            told(Moment::Serving(&format!("{} uses {}", daemon.node, daemon.attachment_names())));
            if let Some(predecessor) = predecessor.take() {
                predecessor.serving().await;
            }
            daemon.resume_restart(trouble.take());
        }
        daemon.begin(&told);
        match daemon.turn(calls, &mut stops, &told).await {
            Ok(true) => {}
            ended => {
                daemon.end().await;
                return ended.map(|_| None);
            }
        }
        let Some((successor, left)) = daemon.part().await else { return Ok(None) };
        told(Moment::HandingOver);
        match hand_over(*successor, &left, &told).await {
            Ok(heir) => return Ok(Some(heir)),
            Err(error) => {
                tracing::error!("{error}; this process goes on");
                let why =
                    format!("{error}; the old process goes on: mend that, and order it again");
                (trouble, estate) = (Some(why), Some(left));
            }
        }
    }
}

/// What the predecessor hands over. Where it cannot be read, or has lost descriptors on its way, the predecessor hears why.
async fn given(predecessor: &Predecessor, checked: Result<(), String>) -> Result<Estate, RunError> {
    let passed = checked.is_ok();
    let estate = match predecessor.wait(checked).await {
        Ok(given) => Estate::read(given).map_err(RunError::from),
        Err(error) => Err(error.into()),
    };
    if let (Err(error), true) = (&estate, passed) {
        predecessor.refuse(&error.to_string()).await;
    }
    estate
}

/// Gives all to the successor; says that this process lives while that one takes its time.
async fn hand_over(
    successor: Successor,
    left: &Estate,
    told: &impl Fn(Moment<'_>),
) -> Result<Heir, String> {
    let written = match left.written() {
        Ok(written) => written,
        Err(error) => {
            successor.end().await;
            return Err(format!("there is no memory for what is to be handed over: {error}"));
        }
    };
    let parcel = left.parcel(&written);
    let mut given = std::pin::pin!(successor.hand_over(&parcel));
    let mut beats = tokio::time::interval(AGAIN);
    loop {
        tokio::select! {
            given = &mut given => return given.map_err(|error| error.to_string()),
            _ = beats.tick() => told(Moment::Alive),
        }
    }
}

/// The states for a life that goes on with its own estate, whose consumers wait for it: nobody else can have them. What is
/// in the way may pass, be it a full disk or a successor that takes long to die.
async fn own_states(
    config: &Config,
    stops: &mut mpsc::UnboundedReceiver<()>,
    told: &impl Fn(Moment<'_>),
) -> Result<States, RunError> {
    let mut said = String::new();
    let instance = InstanceId(random()?);
    loop {
        let error = match States::take_for(instance, config, true) {
            Ok(states) => return Ok(states),
            Err(error) => error,
        };
        let text = error.to_string();
        if text != said {
            tracing::error!("{text}; consumers wait, and this is tried again every second");
            said = text;
        }
        told(Moment::Alive);
        tokio::select! {
            _ = stops.recv() => return Err(error),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Without what an operator said for once.
fn without_words(mut config: Config) -> Config {
    for attachment in &mut config.attachments {
        (attachment.take_over, attachment.adopt) = (false, false);
    }
    config
}

/// What a successor looks at before anybody waits [PAUSE-9].
fn check(config: &Config) -> Result<(), String> {
    config.check().map_err(|error| error.to_string())?;
    let known = config.attachments.iter().map(Known::from);
    Announcement::check(&std::env::var(VARIABLE).unwrap_or_default(), known)?;
    config.attachments.iter().try_for_each(|one| {
        state_file::try_writing(&config.state_dir, &one.name).map_err(|error| error.to_string())?;
        match state_file::read_stored(&config.state_dir, &one.name) {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
}
