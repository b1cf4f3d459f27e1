//! One test's place: a directory, the daemons' logs, the reserved ports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::command::{Finished, Running};
use crate::initiator::InitiatorBuilder;
use crate::ports::Port;
use crate::service::ServiceManager;
use crate::sweep;
use crate::target::TargetBuilder;

/// How long a command may take that does not wait for people.
const COMMAND: Duration = Duration::from_secs(60);

/// What is shown of a log when a test fails: its end, in lines.
const SHOWN: usize = 60;

/// A test's own directory and what is in it. It is declared first in a test, so that everything
/// else has ended when its logs are shown and removed.
#[derive(Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    dir: TempDir,
    ports: Mutex<Vec<Port>>,
    /// Whoever finds it unlocked may clear up.
    _owner: std::fs::File,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// An empty world.
    pub fn new() -> Self {
        sweep::once();
        let dir = tempfile::Builder::new().prefix(sweep::PREFIX).tempdir().expect("a directory");
        let _owner = sweep::own(dir.path());
        Self { inner: Arc::new(Inner { dir, ports: Mutex::default(), _owner }) }
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    /// A TCP port of this world's own.
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// A target to be started.
    pub fn target(&self, name: &str) -> TargetBuilder {
        TargetBuilder::new(Arc::clone(&self.inner), name)
    }

    /// An initiator to be started.
    pub fn initiator(&self, name: &str) -> InitiatorBuilder {
        InitiatorBuilder::new(Arc::clone(&self.inner), name)
    }

    /// A service manager that listens; daemons that are started from now on tell it what becomes of them.
    pub fn service_manager(&self) -> ServiceManager {
        ServiceManager::listen(&self.inner.notify())
    }

    /// The command with these words, to be run.
    pub fn command(&self, words: &[&str]) -> Command {
        self.inner.command(words)
    }

    /// Runs the command to its end.
    #[track_caller]
    pub fn lull(&self, words: &[&str]) -> Finished {
        self.start(words).finish(COMMAND)
    }

    /// Starts the command.
    pub fn start(&self, words: &[&str]) -> Running {
        Running::start(self.command(words))
    }
}

impl Inner {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn port(&self) -> u16 {
        let port = Port::reserve();
        let number = port.number;
        self.ports.lock().expect("ports").push(port);
        number
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_of(None, words)
    }

    /// The same by this program instead of the built one.
    pub(crate) fn command_of(&self, program: Option<&Path>, words: &[&str]) -> Command {
        let mut command = Command::new(program.map_or_else(binary::lull, Path::to_owned));
        command.args(words);
        self.surround(&mut command);
        command
    }

    fn notify(&self) -> PathBuf {
        self.path("notify.sock")
    }

    /// Nothing of the machine's own daemons or settings is found from here.
    pub(crate) fn surround(&self, command: &mut Command) {
        command.current_dir(self.dir.path()).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("HOME", self.dir.path()).env_remove("XDG_STATE_HOME");
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.env_remove("RUNTIME_DIRECTORY").env_remove("STATE_DIRECTORY");
        match self.notify() {
            listens if listens.exists() => {
                command.env("NOTIFY_SOCKET", listens).env("WATCHDOG_USEC", "30000000")
            }
            _ => command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC"),
        };
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A keeper has its mounted file for as long as the directory is there, which cannot be removed while that is mounted.
        sweep::clear(self.dir.path());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_logs(self.inner.dir.path());
        }
    }
}

fn show_logs(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut logs: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for log in logs {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(SHOWN);
        eprintln!("── {} (from line {})", log.display(), from + 1);
        lines[from..].iter().for_each(|line| eprintln!("{line}"));
    }
}
