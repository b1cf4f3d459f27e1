//! `lull evict`: end a lost initiator's reservation.

use std::io::{IsTerminal as _, Write as _};

use lull_admin::{Role, SessionPhase, SessionStatus, Status};

use crate::daemon::{AdminArgs, find};
use crate::exit::Failure;
use crate::units::show_ms;

/// The flags of `lull evict`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the initiator, as `lull status` shows it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only its reservation of this resource
    #[arg(long, value_name = "RESOURCE")]
    pub resource: Option<String>,
    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
    /// Cut it off even where it is connected
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Says what is lost by it, asks, and ends the reservation.
pub async fn run(args: Args) -> Result<(), Failure> {
    let target = find(Role::Target, &args.admin).await?;
    let status = target.status().await?;
    let meant = meant(&status, &args);
    // Whom nobody knows, and who is connected, the target refuses by itself.
    let refused = meant.iter().any(|one| one.phase != SessionPhase::Lost) && !args.force;
    if !meant.is_empty() && !refused && !args.yes {
        confirm(&status, &meant)?;
    }
    for line in target.evict(&args.name, args.resource.as_deref(), args.force).await? {
        eprintln!("{line}");
    }
    eprintln!("{} is evicted", args.name);
    Ok(())
}

fn meant<'a>(status: &'a Status, args: &Args) -> Vec<&'a SessionStatus> {
    let known = status.target.iter().flat_map(|target| &target.initiators);
    let named = known.filter(|one| one.initiator == args.name);
    let wanted = |one: &&SessionStatus| args.resource.as_ref().is_none_or(|r| *r == one.resource);
    named.filter(wanted).collect()
}

fn confirm(status: &Status, meant: &[&SessionStatus]) -> Result<(), Failure> {
    for one in meant {
        let lasts = show_ms(status.at.saturating_sub(one.since));
        let (who, resource) = (&one.initiator, &one.resource);
        let phase = one.phase;
        eprintln!(
            "{who} on {resource} ({}): {phase} for {lasts}; what it has not flushed or replayed is \
             declared lost, and its consumers get errors",
            one.access
        );
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        let text = "nobody is there to be asked\n  next: the same with --yes";
        return Err(Failure::Usage(text.to_owned()));
    }
    eprint!("evict? (y/N) ");
    std::io::stderr().flush()?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    match typed.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nobody is evicted")),
    }
}
