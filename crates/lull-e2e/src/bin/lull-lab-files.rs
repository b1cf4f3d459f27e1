//! A verified load on a file system in a guest of the lab: FOLDER, a file that ends it, and one for its progress.

use std::path::PathBuf;

use clap::Parser;
use lull_e2e::lab::files;

#[derive(Parser)]
#[command(name = "lull-lab-files")]
struct Args {
    /// Where its files are
    folder: PathBuf,
    /// The file that ends it
    until: PathBuf,
    /// The file in which it tells how much it has done
    progress: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Args { folder, until, progress } = Args::parse();
    let report = files::run(&folder, &until, &progress)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
