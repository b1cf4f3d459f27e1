//! `lull detach`: end an attachment.

use std::time::Duration;

use lull_admin::{Client, Role};
use tokio::time::Instant;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

/// After which time somebody at a terminal wonders what is waited for; then it is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flags of `lull detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the attachment, as `lull status` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Flushes, leaves the roster, ends.
///
/// # Errors
/// `NotReady` where the target is away and keeps a place reserved.
pub async fn run(args: Args) -> Result<(), Failure> {
    let client = find(Role::Initiator, &args.admin).await?;
    let detach = client.detach(&args.name);
    tokio::pin!(detach);
    let mut looks = tokio::time::interval_at(Instant::now() + PATIENCE, PATIENCE);
    let mut said = None;
    loop {
        tokio::select! {
            done = &mut detach => break done?,
            _ = looks.tick() => {
                let waits = wait(&client, &args.name).await;
                if waits.is_some() && waits != said {
                    eprintln!("{} waits for {}", args.name, waits.as_deref().unwrap_or_default());
                    said = waits;
                }
            }
        }
    }
    eprintln!("{} is detached", args.name);
    Ok(())
}

/// What the attachment waits for before it can end.
async fn wait(client: &Client, name: &str) -> Option<String> {
    let all = client.status().await.ok()?.initiator?.attachments;
    let attachment = all.into_iter().find(|one| one.name == name)?;
    let wait = attachment.waits_for?;
    Some(format!("{} to {}", wait.for_whom, wait.what))
}
