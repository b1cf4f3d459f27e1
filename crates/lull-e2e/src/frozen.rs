//! Peers of earlier protocol versions, in Python; see `frozen/README.md`.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::process::Process;
use crate::wait::{PROMPT, wait_until};
use crate::world::World;

/// The resource of a [`FrozenTarget`] and its size.
const RESOURCE: &str = "db1";
const SIZE: u64 = 16 << 20;

/// A command for one of the programs of a version.
///
/// # Panics
/// Where there is no Python.
pub fn frozen(version: u16, program: &str) -> Command {
    assert!(crate::has_program("python3"), "python3 is not installed: `apt-get install python3`");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("frozen/v{version}"));
    let mut command = Command::new("python3");
    // Nothing is written beside files that never change.
    command.arg("-B").arg(folder.join(program));
    command
}

/// A target that speaks one version only and serves `db1` of 16 MiB.
#[derive(Debug)]
pub struct FrozenTarget {
    version: u16,
    listen: PathBuf,
    state: PathBuf,
    medium: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl FrozenTarget {
    /// A target that serves.
    #[track_caller]
    pub fn start(world: &World, version: u16) -> Self {
        let place = |name: &str| world.path(&format!("frozen{name}"));
        let (listen, state) = (place(".sock"), place(".state"));
        let (medium, log) = (place(".img"), place(".log"));
        let mut target = Self { version, listen, state, medium, log, process: None };
        target.again(&[]);
        target
    }

    /// Starts it once more, when it has ended; `--same-incarnation` may be among `flags`.
    #[track_caller]
    pub fn again(&mut self, flags: &[&str]) {
        let served = self.said("serves");
        let mut command = frozen(self.version, "target.py");
        command.arg("--state").arg(&self.state);
        command.arg("--listen").arg(self.addr()).args(["--size", &SIZE.to_string()]);
        command.args(flags).arg(RESOURCE).arg(&self.medium);
        self.process = Some(Process::start(command, "target.py", &self.log));
        self.wait_said("serves", served + 1);
    }

    /// Where it is reached, in the form of the command line.
    pub fn addr(&self) -> String {
        format!("unix:{}", self.listen.display())
    }

    /// How many of its lines hold `text`.
    pub fn said(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many of its lines hold `text`.
    #[track_caller]
    pub fn wait_said(&self, text: &str, times: usize) {
        let what = format!("target.py says \"{text}\" {times} times");
        wait_until(&what, PROMPT, || self.said(text) >= times);
    }

    /// Sends it a signal: SIGUSR1 restarts, SIGUSR2 pauses and ends the pause.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_gone(&mut self) {
        assert!(self.process().wait(PROMPT).success(), "target.py failed");
        self.process = None;
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("a target that runs")
    }
}
