//! A load on a block device in a guest of the lab that records its history: DEVICE, a file that ends it, one for the
//! history, and one for its progress.

use std::path::PathBuf;

use clap::Parser;
use lull_e2e::lab::blocks;

#[derive(Parser)]
#[command(name = "lull-lab-blocks")]
struct Args {
    /// The device
    device: PathBuf,
    /// The file that ends it
    until: PathBuf,
    /// The file that holds the history
    record: PathBuf,
    /// The file in which it tells how much it has done
    progress: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Args { device, until, record, progress } = Args::parse();
    let report = blocks::run(&device, &until, &record, &progress)?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
