//! A target as a process, with as many resources as there are sessions.

use crate::bench::line::wait_for;
use anyhow::{Context, Result, ensure};
use lull_admin::RestartRecord;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A target that serves; killed when dropped.
pub struct Owner {
    lull: PathBuf,
    dir: TempDir,
    child: Child,
    /// The process that serves at present.
    pub pid: u32,
}

impl Owner {
    /// Starts it with this many resources `r0`, `r1` …, each of which holds nothing.
    pub fn start(lull: &Path, resources: usize, words: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = File::create(dir.path().join("target.log"))?;
        let mut command = Command::new(lull);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.args(["target", "--name", "store", "--keep-alive", "5s"]).args(words);
        command.arg("--listen").arg(format!("unix:{}", dir.path().join("stor.sock").display()));
        command.arg("--admin").arg(format!("unix:{}", dir.path().join("stor.admin").display()));
        command.arg("--state").arg(dir.path().join("state"));
        command.args((0..resources).map(|number| format!("r{number}=null:1G")));
        let mut child = command.spawn().with_context(|| lull.display().to_string())?;
        wait_for(&dir.path().join("stor.sock"), &mut child, &dir.path().join("target.log"))?;
        let pid = child.id();
        let owner = Self { lull: lull.to_owned(), dir, child, pid };
        // Its first answer says that it serves.
        owner.operate(&["status", "--json"])?;
        Ok(owner)
    }

    pub fn listen(&self) -> PathBuf {
        self.dir.path().join("stor.sock")
    }

    /// A planned restart to a new process, whose record ends when everybody is back.
    pub fn restart(&mut self) -> Result<RestartRecord> {
        let text = self.operate(&["restart", "--daemon", "--json"])?;
        let record = serde_json::from_str(text.lines().last().unwrap_or_default())
            .with_context(|| format!("`lull restart --json` printed: {text}"))?;
        let status: lull_admin::Status =
            serde_json::from_str(&self.operate(&["status", "--json"])?)?;
        self.pid = status.pid;
        Ok(record)
    }

    fn operate(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.lull);
        let admin = format!("unix:{}", self.dir.path().join("stor.admin").display());
        command.args(words).args(["--admin", &admin]).stdin(Stdio::null());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`lull {}`: {}: {said}", words.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
