//! `lull restart`: restart the target; its initiators pause, wait and go on.

mod face;
mod follow;
mod keyboard;
mod outcome;
mod watch;

use std::io::IsTerminal as _;

use lull_admin::{Client, OnPauseTimeout, RestartKind, RestartOrder, Role};

use crate::config;
use crate::daemon::{AdminArgs, Which, find};
use crate::exit::Failure;
use crate::units::parse_span_ms;

pub use follow::{Goal, Order, follow};
pub use outcome::conclude;

/// The flags of `lull restart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which daemon [default: the target]. An initiator is replaced under its consumers, who see a wait
    #[arg(value_enum)]
    pub which: Option<Which>,
    /// The daemon is replaced by the binary now at its path, checked before anybody is paused
    /// [this is the default]
    #[arg(long, group = "kind")]
    pub daemon: bool,
    /// The operating system reboots, once everybody is paused
    #[arg(long, group = "kind")]
    pub host: bool,
    /// The daemon exits; whoever starts it next resumes the sessions
    #[arg(long, group = "kind")]
    pub stop: bool,
    /// CMD runs, by /bin/sh, while the target is down
    #[arg(long, group = "kind", value_name = "CMD")]
    pub exec: Option<String>,
    #[command(flatten)]
    pub how: HowArgs,
    /// The record of the restart as one JSON document on standard output, when it has ended
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// The flags that `restart` and `pause` share.
#[derive(Debug, clap::Args)]
pub struct HowArgs {
    /// Why, for the record and for the initiators' operators
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
    /// The downtime that initiators are told to expect
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub expect: Option<u64>,
    /// How long initiators may take to pause [default: the target's configuration]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub pause_timeout: Option<u64>,
    /// What happens then: ask, abort, proceed or wait [default: ask if somebody is there, else abort]
    #[arg(long, value_name = "POLICY", value_parser = config::on_pause_timeout)]
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// Answer `proceed` when asked whether to go on without those who are not ready
    #[arg(long)]
    pub yes: bool,
}

impl HowArgs {
    /// Whether a question can be answered: by somebody at a terminal, or by `--yes`.
    pub fn interactive(&self) -> bool {
        self.yes || (std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
    }
}

impl Args {
    fn order(&self) -> RestartOrder {
        let (kind, command) = match (&self.exec, self.stop, self.host) {
            (Some(command), ..) => (RestartKind::Exec, Some(command.clone())),
            (None, true, _) => (RestartKind::Stop, None),
            (None, false, true) => (RestartKind::Host, None),
            (None, false, false) => (RestartKind::Daemon, None),
        };
        RestartOrder {
            kind,
            command,
            reason: self.how.reason.clone(),
            expect_ms: self.how.expect,
            pause_timeout_ms: self.how.pause_timeout,
            on_pause_timeout: self.how.on_pause_timeout,
            interactive: self.how.interactive(),
        }
    }
}

/// Names those who take no part in a pause, and says what it does to each of them.
pub async fn name_agentless(client: &Client, what: &str) -> Result<(), Failure> {
    let Some(target) = client.status().await?.target else { return Ok(()) };
    for one in &target.agentless {
        let (peer, resource, access) = (&one.peer, &one.resource, one.access);
        eprintln!("cannot be paused: {peer} on {resource} ({access}), without an agent: {what}");
    }
    Ok(())
}

/// Orders the restart, shows it until it has its outcome, and says what came of it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let order = args.order();
    let client = find(args.which.map_or(Role::Target, Role::from), &args.admin).await?;
    name_agentless(&client, "it is cut off, and has to connect again").await?;
    let stream = client.events(None).await?;
    let started = client.restart(&order).await?;
    let order = Order {
        id: started.id,
        kind: order.kind,
        expect_ms: order.expect_ms.unwrap_or(0),
        yes: args.how.yes,
        which: args.which,
    };
    let followed = follow(client, stream, order, Goal::Outcome).await?;
    conclude(followed, args.which, &args.admin, args.json)
}
