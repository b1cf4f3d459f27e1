//! `lull status`: what a daemon does.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use lull_admin::{Client, Status};

use crate::daemon::{AdminArgs, Which, find_all, roles};
use crate::exit::Failure;
use crate::offline;
use crate::output::{Screen, Zone, fit, print_json, print_text, size_of, status_text, width_of};

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The flags of `lull status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which daemon, where both kinds run here [default: all that run]
    #[arg(value_enum)]
    pub which: Option<Which>,
    /// Draw it again every second until interrupted
    #[arg(long)]
    pub watch: bool,
    /// One JSON document on standard output, where several daemons are meant an array of theirs; with --watch one per
    /// second, each on its line
    #[arg(long)]
    pub json: bool,
    /// The state directory to read when the daemon is down [default: its default place]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Shows the state of every daemon that is meant.
pub async fn run(args: Args) -> Result<(), Failure> {
    if offline::is_meant(args.which, args.state.as_deref(), &args.admin) {
        return from_disk(&args, String::new());
    }
    let clients = match find_all(&roles(args.which), &args.admin).await {
        Ok(clients) => clients,
        Err(Failure::Unreachable(why)) => return from_disk(&args, why),
        Err(error) => return Err(error),
    };
    // Who goes away while it is watched changes nothing about the form of what is printed.
    let several = clients.len() > 1;
    let zone = Zone::local();
    if !args.watch {
        let (all, gone) = look(&clients).await?;
        return match gone.into_iter().next() {
            Some(why) => Err(Failure::Unreachable(why)),
            None => show(&all, several, &args, &zone),
        };
    }
    let live = !args.json && std::io::stdout().is_terminal();
    let mut screen = Screen::new(std::io::stdout());
    let mut ticks = tokio::time::interval(WATCH_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => {
                if live {
                    // Below what the terminal shows of the key.
                    println!();
                }
                return Ok(());
            }
        }
        // A daemon that changes places is no reason to stop looking, least of all at the others.
        let (all, gone) = look(&clients).await?;
        if live {
            let shown = text(&all, &args, &zone);
            screen.draw(lines(&[gone, vec![shown]].concat().join("\n")))?;
        } else {
            gone.iter().for_each(|why| eprintln!("{why}"));
            show(&all, several, &args, &zone)?;
        }
    }
}

/// The state that a daemon left on disk, or the error that none is reachable.
fn from_disk(args: &Args, why: String) -> Result<(), Failure> {
    let found = offline::find(args.which, args.state.as_deref(), &args.admin, why.clone())?;
    let status = found.status()?;
    eprintln!("no daemon answers; this is what {} says", found.dir().display());
    show(&[status], false, args, &Zone::local())?;
    // Who has named the directory has got what it asked for. Who asks whether a daemon is well has not.
    match args.state {
        Some(_) => Ok(()),
        None => Err(Failure::Unreachable(why)),
    }
}

/// What they say, and why others say nothing.
async fn look(clients: &[Client]) -> Result<(Vec<Status>, Vec<String>), Failure> {
    let (mut all, mut gone) = (Vec::new(), Vec::new());
    for client in clients {
        match client.status().await.map_err(Failure::from) {
            Ok(status) => all.push(status),
            Err(Failure::Unreachable(why)) => gone.push(why),
            Err(error) => return Err(error),
        }
    }
    Ok((all, gone))
}

fn show(all: &[Status], several: bool, args: &Args, zone: &Zone) -> Result<(), Failure> {
    if args.json {
        return Ok(if several { print_json(&all) } else { all.iter().try_for_each(print_json) }?);
    }
    Ok(print_text(&text(all, args, zone))?)
}

/// Its next steps are commands that are typed as this one was.
fn text(all: &[Status], args: &Args, zone: &Zone) -> String {
    let width = width_of(std::io::stdout());
    let texts: Vec<_> = all.iter().map(|status| status_text(status, zone, width)).collect();
    args.admin.in_full(&texts.join("\n"))
}

fn lines(text: &str) -> Vec<String> {
    let (width, height) = size_of(std::io::stdout());
    let mut lines = fit(text, width);
    lines.truncate(height - 1);
    lines
}
