//! `lull history`: past restarts.

use std::io::Write as _;
use std::path::PathBuf;

use lull_admin::{RestartRecord, Role};

use crate::daemon::{AdminArgs, Which, find};
use crate::exit::Failure;
use crate::offline;
use crate::output::{Zone, print_json, record_list, record_text, size_of};

/// Whose state directory is read.
const TARGET: Option<Which> = Some(Which::Target);

/// The flags of `lull history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of a restart: all of it, with the sequence drawn [default: a list]
    #[arg(value_name = "ID", value_parser = number)]
    pub id: Option<u64>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// The state directory to read when the daemon is down [default: its default place]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub admin: AdminArgs,
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "restarts have numbers; `lull history` lists them".to_owned())
}

/// Shows the list, or one record.
pub async fn run(args: Args) -> Result<(), Failure> {
    if offline::is_meant(TARGET, args.state.as_deref(), &args.admin) {
        return from_disk(&args, String::new());
    }
    match (find(Role::Target, &args.admin).await, args.id) {
        (Ok(client), Some(id)) => show_one(&client.history(id).await?, args.json),
        (Ok(client), None) => show_all(&client.histories().await?, args.json),
        (Err(Failure::Unreachable(why)), _) => from_disk(&args, why),
        (Err(error), _) => Err(error),
    }
}

/// The history that a target left on disk, or the error that none is reachable.
fn from_disk(args: &Args, why: String) -> Result<(), Failure> {
    let found = offline::find(TARGET, args.state.as_deref(), &args.admin, why)?;
    let records = found.histories()?;
    eprintln!("no daemon answers; this is what {} says", found.dir().display());
    let Some(id) = args.id else { return show_all(&records, args.json) };
    match records.iter().find(|record| record.id == id) {
        Some(record) => show_one(record, args.json),
        None => Err(Failure::failed(format!(
            "there is no restart {id}\n  next: see `lull history` for the numbers"
        ))),
    }
}

fn show_all(records: &[RestartRecord], json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print_json(&records)?);
    }
    Ok(std::io::stdout().write_all(record_list(records, &Zone::local()).as_bytes())?)
}

fn show_one(record: &RestartRecord, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print_json(record)?);
    }
    let (width, _) = size_of(std::io::stdout());
    let text = record_text(record, &Zone::local(), width);
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
