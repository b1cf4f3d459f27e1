//! `lull check`: of a configuration.

use std::path::{Path, PathBuf};

use lull_target::Used;

use crate::commands::target;
use crate::config;
use crate::exit::Failure;

/// The flags of `lull check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, as given to `lull target --config` and `lull initiator --config`;
    /// `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Look at the file alone, not at media, sockets and state directory: a unit starts the daemon next, which says it itself,
    /// and a disk that is away keeps nobody else waiting
    #[arg(long)]
    pub no_media: bool,
}

/// Says what the file means, or everything that is wrong in it; and of what a target needs, what is not there on this host.
pub fn run(args: &Args) -> Result<(), Failure> {
    let piped = args.file == Path::new("-");
    let (name, config) = if piped {
        (config::STDIN.to_owned(), config::load_stdin()?)
    } else {
        (args.file.display().to_string(), config::load(&args.file)?)
    };
    let mut parts = Vec::new();
    if let Some(target) = &config.target {
        let names: Vec<_> = target.resources.iter().map(|resource| &*resource.name).collect();
        parts.push(format!("target {} sharing {}", target.name, names.join(", ")));
    }
    if let Some(initiator) = &config.initiator {
        let names: Vec<_> = initiator.attachments.iter().map(|one| &*one.name).collect();
        parts.push(format!("initiator {} using {}", initiator.name, names.join(", ")));
    }
    eprintln!("{name}: good: {}", parts.join("; "));
    let Some(target) = config.target.filter(|_| !args.no_media) else { return Ok(()) };
    let used = Used::stored(&target.state_dir);
    let config = target::daemon_config(target)?;
    let media = config.resources.iter().filter_map(|one| lull_target::look(one, &used).err());
    // It may be written for another host, or before the disk is there: that is no mistake in it.
    for why in lull_target::look_around(&config).into_iter().chain(media) {
        eprintln!("  not to be started here as it is: {why}");
    }
    Ok(())
}
