//! `lull resume`: end a pause.

use lull_admin::Role;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

/// The flags of `lull resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Lets everybody go on after `lull pause`.
pub async fn run(args: Args) -> Result<(), Failure> {
    find(Role::Target, &args.admin).await?.resume().await?;
    eprintln!("resumed: everybody goes on");
    Ok(())
}
