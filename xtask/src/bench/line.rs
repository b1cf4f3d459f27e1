//! A target and its initiators as processes on real files.

use anyhow::{Context, Result, bail, ensure};
use lull_admin::RestartRecord;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a daemon may take to serve. Beyond it the measurement is given up.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MIB: usize = 1 << 20;

/// One target, one resource and one initiator for each consumer. Dropped, all of it ends and is removed.
pub struct Line {
    lull: PathBuf,
    /// Media, state and logs, on the medium that is measured.
    dir: TempDir,
    /// Sockets, whose paths must be short.
    sockets: TempDir,
    initiators: Vec<Child>,
    /// The process that serves at present.
    target: u32,
}

impl Line {
    /// Starts everything below `media`, with files of `size_mib` that are written out once.
    pub fn start(lull: &Path, media: &Path, initiators: usize, size_mib: usize) -> Result<Self> {
        refuse_memory(media)?;
        let dir = tempfile::Builder::new().prefix("restart-").tempdir_in(media)?;
        let sockets = tempfile::tempdir()?;
        let mut line =
            Self { lull: lull.to_owned(), dir, sockets, initiators: Vec::new(), target: 0 };
        for n in 0..initiators {
            lay_out(&line.medium(n), size_mib)?;
        }
        let mut target = line.daemon("target")?;
        target.args(["target", "--name", "stor", "--listen", &line.listen()]);
        target.arg("--state").arg(line.dir.path().join("stor"));
        target.args(["--admin", &line.admin()]);
        target.args((0..initiators).map(|n| format!("db{n}=file:{}", line.medium(n).display())));
        let mut process = target.spawn().with_context(|| format!("starting {}", lull.display()))?;
        line.target = process.id();
        wait_for(&line.socket("stor.sock"), &mut process, &line.log("target"))?;
        for n in 0..initiators {
            line.attach(n)?;
        }
        Ok(line)
    }

    fn attach(&mut self, n: usize) -> Result<()> {
        let name = format!("web{n}");
        let mut initiator = self.daemon(&name)?;
        let listen = self.socket("stor.sock");
        initiator.args(["attach", &format!("lull+unix:///db{n}?socket={}", listen.display())]);
        initiator.args(["--nbd", &format!("unix:{}", self.front_end(n).display())]);
        initiator.args(["--name", &name]).arg("--state").arg(self.dir.path().join(&name));
        let admin = self.socket(&format!("{name}.admin"));
        initiator.args(["--admin", &format!("unix:{}", admin.display())]);
        self.initiators.push(initiator.spawn()?);
        let process = self.initiators.last_mut().context("just pushed")?;
        let front_end = self.sockets.path().join(format!("{name}.nbd"));
        wait_for(&front_end, process, &self.dir.path().join(format!("{name}.log")))
    }

    fn daemon(&self, name: &str) -> Result<Command> {
        let log = File::create(self.log(name))?;
        let mut command = Command::new(&self.lull);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// A planned restart to a new process, from the order to the last one's return; its number.
    pub fn restart(&mut self) -> Result<u64> {
        let text = self.operate(&["restart", "--daemon", "--json"])?;
        let record: RestartRecord =
            serde_json::from_str(text.lines().last().unwrap_or_default())
                .with_context(|| format!("`lull restart --json` printed: {text}"))?;
        self.target = self.serving_process()?;
        Ok(record.id)
    }

    /// What is kept of a restart.
    pub fn record(&self, id: u64) -> Result<RestartRecord> {
        let text = self.operate(&["history", &id.to_string(), "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`lull history` printed: {text}"))
    }

    fn serving_process(&self) -> Result<u32> {
        let status: lull_admin::Status =
            serde_json::from_str(&self.operate(&["status", "--json"])?)?;
        Ok(status.pid)
    }

    fn operate(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.lull);
        command.args(words).args(["--admin", &self.admin()]).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output()?;
        let said = String::from_utf8_lossy(&stderr);
        ensure!(status.success(), "`lull {}` ended with {status}: {said}", words.join(" "));
        Ok(String::from_utf8(stdout)?)
    }

    /// Where a consumer finds the disk of one initiator.
    pub fn uri(&self, n: usize) -> String {
        format!("nbd+unix:///db{n}?socket={}", self.front_end(n).display())
    }

    /// A place for a log of this run.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// The folder of logs and media.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn medium(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("db{n}.img"))
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.sockets.path().join(name)
    }

    fn front_end(&self, n: usize) -> PathBuf {
        self.socket(&format!("web{n}.nbd"))
    }

    fn listen(&self) -> String {
        format!("unix:{}", self.socket("stor.sock").display())
    }

    fn admin(&self) -> String {
        format!("unix:{}", self.socket("stor.admin").display())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The target may be a successor, which is not this process's child.
        let target = self.serving_process().unwrap_or(self.target);
        for initiator in &mut self.initiators {
            // Both fail only where the process has ended already.
            let _ = initiator.kill();
            let _ = initiator.wait();
        }
        if target != 0 {
            let _ = Command::new("kill").args(["-KILL", &target.to_string()]).status();
        }
    }
}

/// Figures of files in memory would say nothing about a disk.
pub fn refuse_memory(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output()?;
    let kind = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        bail!("{} lies in memory ({kind}): name a folder on a disk with --dir", dir.display());
    }
    Ok(())
}

/// Writes a file out, so that no write of the measurement has to find room for it.
pub fn lay_out(path: &Path, size_mib: usize) -> Result<()> {
    let mut file = File::create(path).with_context(|| path.display().to_string())?;
    let block: Vec<u8> = (0..MIB).map(|at| ((at * 31) >> 3) as u8).collect();
    for _ in 0..size_mib {
        file.write_all(&block)?;
    }
    Ok(file.sync_all()?)
}

/// Waits until a daemon's socket is there.
pub fn wait_for(socket: &Path, process: &mut Child, log: &Path) -> Result<()> {
    let mut waited = Duration::ZERO;
    while !socket.exists() {
        let said = || std::fs::read_to_string(log).unwrap_or_default();
        if let Some(status) = process.try_wait()? {
            bail!("a daemon ended with {status}: {}", said());
        }
        ensure!(waited < START_LIMIT, "a daemon does not serve after {waited:?}: {}", said());
        std::thread::sleep(LOOK_AGAIN);
        waited += LOOK_AGAIN;
    }
    Ok(())
}
