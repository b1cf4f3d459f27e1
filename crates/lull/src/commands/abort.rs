//! `lull abort`: give up what is under way.

use lull_admin::Role;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

/// The flags of `lull abort`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Gives up the restart or pause; everybody goes on.
pub async fn run(args: Args) -> Result<(), Failure> {
    find(Role::Target, &args.admin).await?.abort().await?;
    eprintln!("given up: everybody goes on");
    Ok(())
}
