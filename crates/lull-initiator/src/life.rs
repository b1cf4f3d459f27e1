//! The lives of an initiator in one process: its own, after that of the process before it, and again its own where no
//! successor comes to serve [INIT-1].

use lull_admin::Moment;
use lull_transport::handover::Predecessor;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::config::Config;
use crate::daemon::Daemon;
use crate::error::RunError;
use crate::footing;
use crate::state_file;
use crate::succession::estate::{Announcement, Estate, VARIABLE};

/// Runs the daemon on this thread until it is stopped by a signal or its last attachment has ended. `told` hears of
/// each turn in its life.
///
/// # Errors
/// Why it did not start, or ended otherwise than it was told.
pub fn run(config: Config, told: impl Fn(Moment<'_>)) -> Result<(), RunError> {
    footing::take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, async {
        let (stop, stops) = mpsc::unbounded_channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
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
        lives(config, stops, told).await
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
    let (mut daemon, calls) = Daemon::start(config, None, true).await?;
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
) -> Result<(), RunError> {
    let mut predecessor = Predecessor::of_this_process()?;
    let mut estate = match &predecessor {
        Some(predecessor) => {
            let given = predecessor.wait(check(&config)).await?;
            // [SAFE-5] [SAFE-8] An operator's word was for the life that it was given to.
            config = without_words(config);
            Some(Estate::read(given)?)
        }
        None => None,
    };
    let (mut trouble, mut first) = (None, true);
    loop {
        let inherits = estate.is_some();
        let (mut daemon, calls) =
            match (Daemon::start(config.clone(), estate.take(), first).await, &predecessor) {
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
        if !daemon.turn(calls, &mut stops, &told).await? {
            daemon.end().await;
            return Ok(());
        }
        let Some((successor, left)) = daemon.part().await? else { return Ok(()) };
        told(Moment::HandingOver);
        let document = left.written()?;
        match successor.hand_over(&left.parcel(&document)).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::error!("{error}; this process goes on");
                (trouble, estate) = (Some(format!("{error}; the old process goes on")), Some(left));
            }
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
    let known = config.attachments.iter().map(|one| (one.name.as_str(), one.access));
    Announcement::check(&std::env::var(VARIABLE).unwrap_or_default(), known)?;
    config.attachments.iter().try_for_each(|one| {
        match state_file::read_stored(&config.state_dir, &one.name) {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
}
