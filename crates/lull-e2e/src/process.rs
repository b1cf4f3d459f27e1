//! A daemon's process and all that it starts.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions};

use crate::wait::wait_for;

/// A process with its group. What of the group still runs is killed when this is dropped: a daemon's
/// successor is in it too.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a group of its own; both its outputs are appended to `log`.
    pub(crate) fn start(mut command: Command, name: &str, log: &Path) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().expect("a log can be opened");
        let err = open().expect("a log can be opened");
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self { child, name: name.to_owned(), log: log.to_owned() }
    }

    /// Its number. Of a target it is the first life's: successors have others.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has in use, in bytes.
    pub fn memory(&self) -> u64 {
        self.amount("VmRSS:")
    }

    /// The most that it ever had in use.
    pub fn peak_memory(&self) -> u64 {
        self.amount("VmHWM:")
    }

    fn amount(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = std::fs::read_to_string(path).expect("a process that runs");
        let kib =
            text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("an amount of memory") << 10
    }

    /// How it ended, if it has; it stays a zombie, so that its group's number stays its own.
    pub fn ended(&self) -> Option<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::Pid(pid(self.pid())), options);
        let status = status.expect("waiting for a child")?;
        let raw = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code << 8,
            (None, Some(signal)) => signal,
            (None, None) => return None,
        };
        Some(ExitStatus::from_raw(raw))
    }

    /// How it ends.
    ///
    /// # Panics
    /// Where it has not within the span.
    pub fn wait(&self, within: Duration) -> ExitStatus {
        wait_for(&format!("the end of {}", self.name), within, || self.ended())
    }

    /// What it and its successors have printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal to this one process.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Kills the whole group and waits until nothing of it is left.
    pub fn kill(&mut self) {
        let group = pid(self.pid());
        // An empty group is one that has ended by itself.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        wait_for(
            &format!("the end of {} after SIGKILL", self.name),
            Duration::from_secs(30),
            || members(self.pid()).is_empty().then_some(()),
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(pid(self.pid()), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that is there.
pub fn send(to: u32, signal: Signal) {
    rustix::process::kill_process(pid(to), signal)
        .unwrap_or_else(|error| panic!("{signal:?} to process {to}: {error}"));
}

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).expect("a process number");
    Pid::from_raw(number).expect("a process number is not 0")
}

/// State letter, parent and group of a process, if there is one.
fn stat(number: u32) -> Option<(char, u32, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?.chars().next()?;
    let mut next = || words.next()?.parse().ok();
    Some((state, next()?, next()?))
}

fn running(fits: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").expect("/proc can be read");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&number| {
            stat(number).is_some_and(|(state, parent, group)| {
                fits(parent, group) && !has_ended(number, state)
            })
        })
        .collect()
}

/// Whether a process in this state has nothing any more: its first thread may be a zombie while another one, which waits
/// in the kernel, still has its files and locks.
fn has_ended(number: u32, state: char) -> bool {
    let threads = || std::fs::read_dir(format!("/proc/{number}/task")).map_or(0, Iterator::count);
    state == 'Z' && threads() <= 1
}

/// Running processes that were started with these words, one behind the other.
pub(crate) fn with_words(words: &[&str]) -> Vec<u32> {
    let started = |number: &u32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        line.windows(words.len())
            .any(|some| some.iter().copied().eq(words.iter().map(|word| word.as_bytes())))
    };
    running(|_, _| true).into_iter().filter(started).collect()
}

/// Running daemons and keepers that were started with this text among their words.
pub(crate) fn mentioning(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let named = |number: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let ours = ["lull", "lull-target", "lull-initiator"].contains(&name.trim());
        ours && line.windows(text.len()).any(|some| some == text.as_bytes())
    };
    running(|_, _| true).into_iter().filter(|number| *number != own).filter(named).collect()
}

/// Sends a signal to a process that may be gone.
pub(crate) fn try_send(to: u32, signal: Signal) {
    let _ = rustix::process::kill_process(pid(to), signal);
}

/// Processes of a group that have not ended.
fn members(group: u32) -> Vec<u32> {
    running(|_, its| its == group)
}

/// Running processes that `parent` has started.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    running(|its, _| its == parent)
}

/// Whether the process is stopped by a signal.
pub(crate) fn is_stopped(number: u32) -> bool {
    matches!(stat(number), Some(('T', ..)))
}

/// Whether the process is there and has not ended.
pub fn is_running(number: u32) -> bool {
    stat(number).is_some_and(|(state, ..)| !has_ended(number, state))
}

/// Whether a process has something open whose name begins so: `/memfd:`, `/dev/fuse`.
pub fn has_open(number: u32, name: &str) -> bool {
    let open = std::fs::read_dir(format!("/proc/{number}/fd")).into_iter().flatten().flatten();
    open.filter_map(|one| std::fs::read_link(one.path()).ok())
        .any(|to| to.to_string_lossy().starts_with(name))
}

/// How many descriptors a process has open.
pub fn open_files(of: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{of}/fd"));
    open.unwrap_or_else(|error| panic!("the files of process {of}: {error}")).count() as u64
}

/// Whether nothing of a group runs any more.
pub(crate) fn is_empty_group(group: u32) -> bool {
    members(group).is_empty()
}

/// From now on the process may open no more than `most` descriptors, unless it asks for more; those that it has it keeps.
pub fn limit_files(of: u32, most: u64) {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(most), maximum };
    let set = rustix::process::prlimit(Some(pid(of)), Resource::Nofile, limit);
    set.unwrap_or_else(|error| panic!("limiting the files of process {of}: {error}"));
}
