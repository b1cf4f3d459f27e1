//! `lull detach`: end an attachment.

use lull_admin::Role;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

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
pub async fn run(args: Args) -> Result<(), Failure> {
    find(Role::Initiator, &args.admin).await?.detach(&args.name).await?;
    eprintln!("{} is detached", args.name);
    Ok(())
}
