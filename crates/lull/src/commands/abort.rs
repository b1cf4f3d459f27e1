//! `lull abort`: give up what is under way.

use lull_admin::{GivenUp, Role};

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
    let given_up = find(Role::Target, &args.admin).await?.abort().await?;
    say("given up", &given_up);
    Ok(())
}

/// What came of it, with what was begun outside of the daemon.
pub(super) fn say(done: &str, GivenUp { outside }: &GivenUp) {
    eprintln!("{done}: everybody goes on");
    if let Some(outside) = outside {
        eprintln!("  {outside}");
    }
}
