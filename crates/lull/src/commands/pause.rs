//! `lull pause`: pause everybody, for a restart that something else performs.

use lull_admin::{PauseOrder, RestartKind, Role};

use super::restart::{Goal, HowArgs, Order, conclude, follow, name_agentless};
use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;

/// The flags of `lull pause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub how: HowArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Pauses, and returns when all are paused or it was given up.
pub async fn run(args: Args) -> Result<(), Failure> {
    let client = find(Role::Target, &args.admin).await?;
    let order = PauseOrder {
        reason: args.how.reason.clone(),
        expect_ms: args.how.expect,
        pause_timeout_ms: args.how.pause_timeout,
        on_pause_timeout: args.how.on_pause_timeout,
        interactive: args.how.interactive(),
    };
    name_agentless(&client, "it goes on, and is cut off when the target goes").await?;
    let stream = client.events(None).await?;
    let started = client.pause(&order).await?;
    let order = Order {
        id: started.id,
        kind: RestartKind::Pause,
        expect_ms: order.expect_ms.unwrap_or(0),
        yes: args.how.yes,
        which: None,
    };
    conclude(follow(client, stream, order, Goal::Paused).await?, None, &args.admin, false)
}
