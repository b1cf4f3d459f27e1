//! `lull detach`: end an attachment.

use std::io::IsTerminal as _;
use std::time::Duration;

use lull_admin::{Client, Role};
use tokio::time::Instant;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;
use crate::units::counted;

/// After which time somebody at a terminal wonders what is waited for; then it is said.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flags of `lull detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the attachment, as `lull status` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Also where its mounted file is in use: who uses it gets errors
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Flushes, leaves the roster, ends.
///
/// # Errors
/// `NotReady` where the target is away and keeps a place reserved, or somebody uses the mounted file.
pub async fn run(args: Args) -> Result<(), Failure> {
    let client = find(Role::Initiator, &args.admin).await?;
    if !args.force {
        may_cut_off(&client, &args.name).await?;
    }
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

/// A loop device, and with it a file system, does not survive the end of its file: somebody has to want that.
async fn may_cut_off(client: &Client, name: &str) -> Result<(), Failure> {
    let all = client.status().await?.initiator.map_or_else(Vec::new, |one| one.attachments);
    let Some(one) = all.into_iter().find(|one| one.name == name) else { return Ok(()) };
    let Some((_, file)) = one.front_end.split_once("fuse ") else { return Ok(()) };
    if one.clients == 0 {
        return Ok(());
    }
    let users = counted(one.clients, "user", "users");
    let users = format!("{file} is in use ({users}): they would get errors");
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::NotReady(format!(
            "{users}\n  next: unmount what lies on it, and end who has it open; or --force"
        )));
    }
    eprint!("{users}. Detach all the same? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(());
    }
    Err(Failure::NotReady("nothing was done".to_owned()))
}

/// What the attachment waits for before it can end.
async fn wait(client: &Client, name: &str) -> Option<String> {
    let all = client.status().await.ok()?.initiator?.attachments;
    let attachment = all.into_iter().find(|one| one.name == name)?;
    let wait = attachment.waits_for?;
    Some(format!("{} to {}", wait.for_whom, wait.what))
}
