//! `lull init`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The commented example, the one that stands in the repository, so that there is only one.
const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/lull.toml"));

/// The flags of `lull init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; without it, or as `-`, standard output
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Write over a file that is there already
    #[arg(long, requires = "file")]
    pub force: bool,
}

/// Writes the example.
///
/// # Errors
/// A file that is there already, unless it may be written over, or one that cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    match args.file.as_deref() {
        None => Ok(io::stdout().write_all(EXAMPLE.as_bytes())?),
        Some(dash) if dash == Path::new("-") => Ok(io::stdout().write_all(EXAMPLE.as_bytes())?),
        Some(file) => {
            let shown = file.display();
            write(file, args.force).map_err(|error| refused(file, &error))?;
            eprintln!("{shown} is written\n  next: edit it, then `lull check {shown}`");
            Ok(())
        }
    }
}

fn write(file: &Path, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options.open(file)?.write_all(EXAMPLE.as_bytes())
}

fn refused(file: &Path, error: &io::Error) -> Failure {
    let file = file.display();
    let next = match error.kind() {
        io::ErrorKind::AlreadyExists => "choose another name, or write over it with --force",
        io::ErrorKind::NotFound => "make its directory first",
        _ => "choose a place where you may write",
    };
    Failure::failed(format!("{file} cannot be written: {error}\n  next: {next}"))
}
