//! What is kept of one test at one count: a file each, so that a soak goes on where it has ended.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// One test at one count, run to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whether nothing was wrong.
    pub passed: bool,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// The day in UTC, as `2026-11-22`.
    pub date: String,
    /// The commit that was run, and whether files differed from it.
    pub commit: String,
    /// How many tasks of this machine ran or were ready to run, in the minutes before its beginning and before its end.
    pub load: [f64; 2],
    /// What the test said of itself, line by line.
    pub outcome: Vec<String>,
}

impl Record {
    /// Where it lies in the folder of all.
    pub fn path(logs: &Path, test: &str, count: u32) -> PathBuf {
        logs.join(format!("{test}-{count}.json"))
    }

    /// The one that is there, if any.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("reading {}", path.display()))?,
        };
        let record = serde_json::from_str(&text);
        Ok(Some(record.with_context(|| format!("{} is no record of a soak", path.display()))?))
    }

    /// Lays it down.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn save(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("writing {}", path.display()))
    }
}
