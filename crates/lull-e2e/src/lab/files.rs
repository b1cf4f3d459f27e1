//! A load on a file system in a guest that knows what every block of its files must hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::load::content::{BLOCK, content, mix};

/// Blocks of each file.
const BLOCKS: u64 = 64;

/// Files.
const FILES: u64 = 16;

/// Blocks of all files.
pub const ALL_BLOCKS: u64 = FILES * BLOCKS;

/// Changes between two calls of fsync.
const SYNC_EVERY: u64 = 23;

/// What a load came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FilesReport {
    /// Calls that succeeded.
    pub done: u64,
    /// Calls of fsync among them.
    pub syncs: u64,
    /// Calls that failed, by the reason.
    pub errors: BTreeMap<String, u64>,
    /// Blocks that did not hold what was written last.
    pub wrong: Vec<String>,
    /// Blocks that were right in the end, read from the disk.
    pub verified: u64,
    /// The longest call, in milliseconds.
    pub longest_ms: u64,
    /// The longest since [`run`] was last asked to forget, in milliseconds.
    pub recent_ms: u64,
}

impl FilesReport {
    /// Itself, if nothing failed and every block was right.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn clean(self) -> Self {
        assert!(self.errors.is_empty() && self.wrong.is_empty(), "{self:#?}");
        assert_eq!(self.verified, ALL_BLOCKS, "all blocks were looked at");
        self
    }
}

/// The load.
struct Files {
    files: Vec<File>,
    /// Number of the last write to each block.
    written: Vec<u64>,
    random: u64,
    report: FilesReport,
}

/// Writes, reads and syncs files in `folder` until there is one at `until`; then everything is read from the disk. It
/// writes how much it has done to `progress` now and then, with the longest call so far. Whoever makes a file of that
/// name with the extension `mark` has it forget earlier long calls, which removes the file.
///
/// # Errors
/// Where the folder cannot be used at all.
pub fn run(folder: &Path, until: &Path, progress: &Path) -> std::io::Result<FilesReport> {
    let open = |number| {
        let path = folder.join(format!("file-{number}"));
        File::options().read(true).write(true).create(true).truncate(true).open(path)
    };
    let files = (0..FILES).map(open).collect::<std::io::Result<Vec<_>>>()?;
    for file in &files {
        file.set_len(BLOCKS * BLOCK as u64)?;
    }
    let written = vec![0; ALL_BLOCKS as usize];
    let mut load = Files { files, written, random: 1, report: FilesReport::default() };
    while !until.exists() {
        load.step();
        if load.report.done.is_multiple_of(16) {
            if std::fs::remove_file(progress.with_extension("mark")).is_ok() {
                load.report.recent_ms = 0;
            }
            let FilesReport { done, recent_ms, .. } = load.report;
            // Whoever reads it meanwhile reads all of it.
            let next = progress.with_extension("next");
            std::fs::write(&next, format!("{done} {recent_ms}"))?;
            std::fs::rename(&next, progress)?;
            // A load that never waits leaves nothing for the daemons of a guest with one processor.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    load.verify()?;
    Ok(load.report)
}

impl Files {
    fn step(&mut self) {
        let block = self.chance() % self.written.len() as u64;
        let begun = now();
        let outcome = match (self.report.done % SYNC_EVERY, self.chance() % 4) {
            (0, _) => {
                self.report.syncs += 1;
                self.files[(block / BLOCKS) as usize].sync_all()
            }
            (_, 0) => self.read(block),
            _ => self.write(block),
        };
        self.note(begun, outcome);
    }

    fn note(&mut self, begun: Instant, outcome: std::io::Result<()>) {
        let took = (now() - begun).as_millis() as u64;
        self.report.longest_ms = self.report.longest_ms.max(took);
        self.report.recent_ms = self.report.recent_ms.max(took);
        match outcome {
            Ok(()) => self.report.done += 1,
            Err(error) => {
                *self.report.errors.entry(error.to_string()).or_default() += 1;
                // One that fails at once is not to keep everybody else from their work.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn write(&mut self, block: u64) -> std::io::Result<()> {
        let number = self.report.done + 1;
        let (file, place) = self.place(block);
        // Half written is written wrong from here on; a file system does not do that without an error.
        file.write_all_at(&content(block, place, number), place)?;
        self.written[block as usize] = number;
        Ok(())
    }

    fn read(&mut self, block: u64) -> std::io::Result<()> {
        let (file, place) = self.place(block);
        let mut found = vec![0; BLOCK];
        file.read_exact_at(&mut found, place)?;
        let number = self.written[block as usize];
        if found != content(block, place, number) {
            self.report.wrong.push(format!("block {block} is not what write {number} left"));
        }
        Ok(())
    }

    /// Reads everything, and not from this kernel's cache.
    fn verify(&mut self) -> std::io::Result<()> {
        for number in 0..self.files.len() {
            let begun = now();
            let outcome = self.files[number].sync_all();
            self.note(begun, outcome);
        }
        std::fs::write("/proc/sys/vm/drop_caches", "3")?;
        for block in 0..self.written.len() as u64 {
            let (wrong, begun) = (self.report.wrong.len(), now());
            let outcome = self.read(block);
            let right = outcome.is_ok() && self.report.wrong.len() == wrong;
            self.report.verified += u64::from(right);
            self.note(begun, outcome);
        }
        Ok(())
    }

    fn place(&self, block: u64) -> (&File, u64) {
        (&self.files[(block / BLOCKS) as usize], block % BLOCKS * BLOCK as u64)
    }

    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}
