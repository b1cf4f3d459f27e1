//! `lull events`: every transition, one line each.

use std::time::Duration;

use lull_admin::{Client, Event, EventItem, EventPosition};

use crate::daemon::{AdminArgs, Which, find_one};
use crate::exit::Failure;
use crate::output::{Zone, dated_event_line, print_json, print_text};

/// How often a daemon that went away is looked for.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// The flags of `lull events`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A daemon remembers its last 512 transitions and forgets them when its process ends, be it by \
    a restart: what was before is in its log and in `lull history`."
)]
pub struct Args {
    /// Which daemon, where both kinds run here
    #[arg(value_enum)]
    pub which: Option<Which>,
    /// Go on with what happens, also across restarts of the daemon, until interrupted
    #[arg(long)]
    pub follow: bool,
    /// One JSON document per line on standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Prints what the daemon remembers, and with `--follow` what happens from then on.
pub async fn run(args: Args) -> Result<(), Failure> {
    let client = find_one(args.which, &args.admin).await?;
    tokio::select! {
        result = print(&client, &args) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn print(client: &Client, args: &Args) -> Result<(), Failure> {
    let zone = Zone::local();
    let mut position: Option<EventPosition> = None;
    let mut first = true;
    loop {
        match client.events(position.as_ref()).await {
            Ok(mut stream) => {
                while let Some(item) = stream.next().await {
                    match item {
                        EventItem::Event(event) => {
                            show(&event, args.json, &zone)?;
                            let (instance, seq) = (event.instance, event.seq);
                            position = Some(EventPosition { instance, seq });
                        }
                        EventItem::Missed(count) => eprintln!("({count} events were missed)"),
                        EventItem::CaughtUp if args.follow => {}
                        EventItem::CaughtUp => return Ok(()),
                    }
                }
                if !args.follow {
                    let text = "the daemon went away in the middle\n  next: ask again";
                    return Err(Failure::Unreachable(text.to_owned()));
                }
            }
            Err(error) if !first && error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
        first = false;
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

fn show(event: &Event, json: bool, zone: &Zone) -> Result<(), Failure> {
    if json {
        return Ok(print_json(event)?);
    }
    Ok(print_text(&(dated_event_line(event, zone) + "\n"))?)
}
