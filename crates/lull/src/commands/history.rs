//! `lull history`: past restarts.

use std::path::PathBuf;

use clap::ValueEnum as _;
use lull_admin::RestartRecord;

use crate::daemon::{AdminArgs, Which, find};
use crate::exit::Failure;
use crate::offline;
use crate::output::{Zone, print_json, print_text, record_list, record_text, width_of};

/// The flags of `lull history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose restarts, target or initiator [default: the target's]
    #[arg(value_name = "target|initiator", value_parser = word)]
    which: Option<Word>,
    /// Number of a restart: all of it, with the sequence drawn [default: a list]
    #[arg(value_name = "ID", value_parser = number)]
    id: Option<u64>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// The state directory to read when the daemon is down [default: its default place]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// The first word: whose, or, for a target, the number alone.
#[derive(Clone, Copy, Debug)]
enum Word {
    Which(Which),
    Id(u64),
}

fn word(text: &str) -> Result<Word, String> {
    match Which::from_str(text, false) {
        Ok(which) => Ok(Word::Which(which)),
        Err(_) => number(text).map(Word::Id),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "`target`, `initiator` or a number is meant; `lull history` lists the restarts with theirs"
            .to_owned()
    })
}

impl Args {
    /// Whose restarts, and which of them.
    fn meant(&self) -> Result<(Which, Option<u64>), Failure> {
        match (self.which, self.id) {
            (Some(Word::Id(id)), None) => Ok((Which::Target, Some(id))),
            (Some(Word::Id(_)), Some(_)) => {
                Err(Failure::Usage("two restarts are named\n  next: name one".to_owned()))
            }
            (Some(Word::Which(which)), id) => Ok((which, id)),
            (None, id) => Ok((Which::Target, id)),
        }
    }
}

/// Shows the list, or one record.
pub async fn run(args: Args) -> Result<(), Failure> {
    let (which, id) = args.meant()?;
    if offline::is_meant(Some(which), args.state.as_deref(), &args.admin) {
        return from_disk(&args, String::new());
    }
    match (find(which.into(), &args.admin).await, id) {
        (Ok(client), Some(id)) => show_one(&client.history(id).await?, args.json),
        (Ok(client), None) => show_all(&client.histories().await?, args.json),
        (Err(Failure::Unreachable(why)), _)
            if args.which.is_none() && args.admin.admin.is_none() =>
        {
            from_disk(&args, format!("{why}; an initiator's restarts: `lull history initiator`"))
        }
        (Err(Failure::Unreachable(why)), _) => from_disk(&args, why),
        (Err(error), _) => Err(error),
    }
}

/// The history that a target left on disk, or the error that none is reachable.
fn from_disk(args: &Args, why: String) -> Result<(), Failure> {
    let (which, id) = args.meant()?;
    if which == Which::Initiator {
        let alone = "an initiator's restarts are remembered by its daemon alone: of one that has ended its log tells";
        let text = if why.is_empty() { alone.to_owned() } else { format!("{why}\n  {alone}") };
        return Err(Failure::Unreachable(text));
    }
    let found = offline::find(Some(which), args.state.as_deref(), &args.admin, why)?;
    let records = found.histories()?;
    let dir = found.dir().display();
    eprintln!("no daemon answers; this is what {dir} says");
    let Some(id) = id else { return show_all(&records, args.json) };
    match records.iter().find(|record| record.id == id) {
        Some(record) => show_one(record, args.json),
        None => Err(Failure::failed(format!(
            "there is no restart {id}\n  next: see `lull history --state {dir}` for the numbers"
        ))),
    }
}

fn show_all(records: &[RestartRecord], json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print_json(&records)?);
    }
    let text = record_list(records, &Zone::local(), width_of(std::io::stdout()));
    Ok(print_text(&text)?)
}

fn show_one(record: &RestartRecord, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(print_json(record)?);
    }
    let text = record_text(record, &Zone::local(), width_of(std::io::stdout()));
    Ok(print_text(&text)?)
}
