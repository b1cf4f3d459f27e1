//! `lull man`: the manual pages.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::Failure;

/// The flags of `lull man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to write them to, made if it is missing: lull.1, lull-restart.1, …
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Writes one page for the command and one for each verb, made from the command line's own
/// definitions, over those of an older version.
///
/// # Errors
/// A directory that cannot be made or written.
pub fn run(args: &Args) -> Result<(), Failure> {
    write(&args.dir).map_err(|error| {
        let dir = args.dir.display();
        let next = "choose a directory where you may write";
        Failure::failed(format!("the pages cannot be written to {dir}: {error}\n  next: {next}"))
    })?;
    eprintln!("the pages are in {}", args.dir.display());
    Ok(())
}

fn write(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let source = format!("lull {}", env!("CARGO_PKG_VERSION"));
    let for_people = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    for page in for_people.chain([&command]) {
        Man::new(page.clone()).source(source.clone()).manual("Lull").generate_to(dir)?;
    }
    Ok(())
}
