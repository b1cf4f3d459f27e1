//! A Debian that runs: systemd and what it starts, in namespaces of their own. Nothing of it outlives its handle.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How it is started; in words for a shell because that is what mounts and namespaces are made with.
const SCRIPT: &str = include_str!("machine.sh");
/// How often is looked whether process 1 is there, and how many times.
const LOOK: (Duration, u32) = (Duration::from_millis(50), 200);

/// A running Debian.
pub struct Machine {
    child: Child,
    /// Process 1, as this machine counts.
    init: u32,
    /// Mount point and files of the start.
    _place: TempDir,
}

impl Machine {
    /// Starts systemd above a root that stays as it is; what is written lies in memory.
    pub fn boot(root: &Path) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("lull-package-").tempdir()?;
        let mount = place.path().join("mount");
        fs::create_dir(&mount)?;
        let number = place.path().join("init");
        let mut command = Command::new("setpriv");
        // This process may end in any way; what it has started ends with it.
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "sh", "-s"]);
        command.arg(root).arg(&mount).arg(&number).stdin(Stdio::piped());
        let mut child = command.spawn().context("starting setpriv (package util-linux)")?;
        let mut stdin = child.stdin.take().context("a pipe to the shell")?;
        stdin.write_all(SCRIPT.as_bytes())?;
        drop(stdin);
        let init = number_of_init(&mut child, &number)?;
        let machine = Self { child, init, _place: place };
        machine.wait_until_up()?;
        Ok(machine)
    }

    /// Until all units that come with the system have started or failed.
    fn wait_until_up(&self) -> Result<()> {
        for _ in 0..LOOK.1 {
            // Before systemd answers at all this ends at once.
            let state = self.run("systemctl is-system-running --wait")?.stdout;
            if matches!(state.trim_ascii(), b"running" | b"degraded") {
                return Ok(());
            }
            std::thread::sleep(LOOK.0);
        }
        bail!("systemd does not come up in the clean Debian")
    }

    /// A path of the machine, as this one sees it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// A shell's line to be run inside as root.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--net"]);
        command.args(["--pid", "--cgroup", "--root", "--wd", "env", "-i", "LC_ALL=C"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]);
        command.args(["sh", "-c", line]).stdin(Stdio::null());
        command
    }

    /// Runs a line to its end, however it ends.
    pub fn run(&self, line: &str) -> Result<Output> {
        self.command(line).output().with_context(|| format!("nsenter for `{line}`"))
    }

    /// Runs a line that must succeed; what it printed, without the last newline.
    pub fn say(&self, line: &str) -> Result<String> {
        finished(line, &self.run(line)?)
    }
}

/// What a line printed, if it succeeded.
pub fn finished(line: &str, output: &Output) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output.status.success(),
        "`{line}` in the clean Debian: {}\n{out}\n{err}",
        output.status
    );
    Ok(out)
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 takes all others of its namespace along, and then the script tidies up and ends.
        let kill = Command::new("kill").args(["-KILL", &self.init.to_string()]).status();
        if !kill.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn number_of_init(child: &mut Child, file: &Path) -> Result<u32> {
    for _ in 0..LOOK.1 {
        if let Ok(text) = fs::read_to_string(file) {
            return text.trim().parse().context("the number of process 1");
        }
        if let Some(status) = child.try_wait()? {
            let log = fs::read_to_string(file.with_extension("log")).unwrap_or_default();
            bail!(
                "the clean Debian does not start here ({status}): it needs root, overlayfs, cgroup2 and \
                 namespaces\n{log}"
            );
        }
        std::thread::sleep(LOOK.0);
    }
    let _ = child.kill();
    bail!("the clean Debian has no process 1 after {:?}", LOOK.0 * LOOK.1)
}
