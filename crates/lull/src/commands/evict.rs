//! `lull evict`: end a lost initiator's reservation.

use lull_admin::Role;

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

/// The flags of `lull evict`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the initiator, as `lull status` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only its reservation of this resource
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<String>,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Ends the reservation and says what is lost by it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let target = find(Role::Target, &args.admin).await?;
    for line in target.evict(&args.name, args.resource.as_deref()).await? {
        eprintln!("{line}");
    }
    eprintln!("{} is evicted", args.name);
    Ok(())
}
