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
    let given_up = find(Role::Target, &args.admin).await?.resume().await?;
    super::abort::say("resumed", &given_up);
    Ok(())
}
