//! Who serves a file over NBD: nbdkit, and a target with each engine.

use crate::bench::line::{lay_out, refuse_memory, wait_for};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A way to serve.
pub struct Kind {
    pub name: &'static str,
    /// Whom it is compared with; empty for nobody.
    pub beside: &'static str,
    /// The backend's options; `None` is nbdkit.
    options: Option<&'static str>,
    /// Whether the page cache is used, which is then filled before each turn.
    pub cached: bool,
}

/// Everybody, the peer first.
pub const KINDS: [Kind; 5] = [
    Kind { name: "nbdkit file", beside: "", options: None, cached: true },
    Kind { name: "cached, ring", beside: "nbdkit file", options: Some(""), cached: true },
    Kind {
        name: "cached, threads",
        beside: "cached, ring",
        options: Some(",engine=threads"),
        cached: true,
    },
    Kind {
        name: "direct, threads",
        beside: "",
        options: Some(",direct=on,engine=threads"),
        cached: false,
    },
    Kind {
        name: "direct, ring",
        beside: "direct, threads",
        options: Some(",direct=on,engine=uring"),
        cached: false,
    },
];

/// A process that serves a file of its own. Dropped, it ends and the file is removed.
pub struct Contestant {
    pub kind: &'static Kind,
    /// The file, state and log.
    dir: TempDir,
    /// Sockets, whose paths must be short.
    sockets: TempDir,
    process: Child,
}

impl Contestant {
    /// Starts it on a file of `size_mib` below `media`, written out once.
    pub fn start(kind: &'static Kind, lull: &Path, media: &Path, size_mib: usize) -> Result<Self> {
        refuse_memory(media)?;
        let dir = tempfile::Builder::new().prefix("engines-").tempdir_in(media)?;
        let sockets = tempfile::tempdir()?;
        let medium = dir.path().join("disk.img");
        lay_out(&medium, size_mib)?;
        let front_end = sockets.path().join("nbd");
        let mut command = match kind.options {
            None => {
                let mut nbdkit = Command::new("nbdkit");
                nbdkit.args(["--foreground", "--exportname", "disk", "--unix"]).arg(&front_end);
                nbdkit.arg("file").arg(&medium);
                nbdkit
            }
            Some(options) => {
                let mut target = Command::new(lull);
                target.args(["target", "--name", "stor", "--nbd"]);
                target.arg(format!("unix:{}", front_end.display()));
                target.arg("--listen").arg(unix(sockets.path(), "listen"));
                target.arg("--admin").arg(unix(sockets.path(), "admin"));
                target.arg("--state").arg(dir.path().join("state"));
                target.arg(format!("disk=file:{}{options}", medium.display()));
                target
            }
        };
        let log = dir.path().join("log");
        let said = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let process = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut contestant = Self { kind, dir, sockets, process };
        wait_for(&front_end, &mut contestant.process, &log)?;
        Ok(contestant)
    }

    /// The export.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///disk?socket={}", self.sockets.path().join("nbd").display())
    }

    /// The folder of what it writes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file.
    pub fn medium(&self) -> PathBuf {
        self.dir.path().join("disk.img")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn unix(dir: &Path, name: &str) -> String {
    format!("unix:{}", dir.join(name).display())
}
