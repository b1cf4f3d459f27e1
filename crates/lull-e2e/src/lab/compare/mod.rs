//! The same reboots and power cuts, with Lull and with what else there is: what they do to whoever uses the disks.

mod outcome;
mod raw;
mod round;
mod system;
mod table;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use raw::Disturbance;
use system::{SYSTEMS, System};

pub use table::table;

/// What is wanted.
#[derive(Debug, clap::Args)]
pub struct Wish {
    /// Only these, by name, with commas between them [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = names())]
    systems: Vec<String>,
    /// How often each is rebooted, and how often its power is cut
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A folder for the raw logs: a new one, or one that is to be added to
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,
}

impl Wish {
    /// Where the logs come to lie.
    pub fn logs(&self) -> &Path {
        &self.logs
    }
}

/// The systems that can be compared.
fn names() -> clap::builder::PossibleValuesParser {
    SYSTEMS.map(|system| system.name).into()
}

/// Runs all rounds that are not in the folder yet.
///
/// # Errors
/// A folder that cannot be written to.
pub fn run(wish: &Wish) -> Result<()> {
    let Wish { systems, rounds, logs } = wish;
    let wanted =
        |system: &&&System| systems.is_empty() || systems.iter().any(|name| name == system.name);
    let wanted: Vec<_> = SYSTEMS.iter().filter(wanted).collect();
    for system in &wanted {
        let dir = logs.join(system.name);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        fs::write(dir.join("settings"), system.told())?;
    }
    // A machine that becomes slower in the meantime does so for all.
    for round in 1..=*rounds {
        for system in &wanted {
            for disturbance in Disturbance::ALL {
                one(system, disturbance, round, logs)?;
            }
        }
    }
    Ok(())
}

fn one(system: &System, disturbance: Disturbance, round: u32, logs: &Path) -> Result<()> {
    let dir = logs.join(system.name).join(format!("{}-{round}", disturbance.name()));
    if dir.join(raw::NOTES).exists() {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    eprintln!("{}, {}, round {round}", system.title, disturbance.title());
    let outcome = catch_unwind(AssertUnwindSafe(|| round::run(system, disturbance, round, &dir)));
    let failed = dir.join(raw::FAILED);
    match outcome {
        Ok(run) => {
            run?;
            ensure!(!failed.exists() || fs::remove_file(&failed).is_ok(), "{}", failed.display());
            Ok(())
        }
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned();
            let why = why.unwrap_or_else(|| "the lab failed".to_owned());
            eprintln!("{why}");
            Ok(fs::write(failed, why)?)
        }
    }
}
