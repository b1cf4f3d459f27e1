//! A daemon as a process of the demonstration, with whatever it starts in its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper, waitpgid,
    waitpid,
};

/// A process and its successors: one process group, ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    group: Pid,
    log: PathBuf,
    ended: bool,
}

/// Makes successors whose predecessor has gone children of this process, so that they can be waited
/// for. Where it is not possible they are ended all the same.
pub fn adopt_successors() {
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
}

impl Process {
    /// Starts this binary with `arguments`; what it says is appended to `DIRECTORY/NAME.log`.
    ///
    /// # Errors
    /// What the system said.
    pub fn start<I, S>(name: &str, directory: &Path, arguments: I) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let log = directory.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        // This very binary, also where another lies at its path by now.
        let child = Command::new("/proc/self/exe")
            .arg0("lull")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()?;
        // It is waited for by its group from here on.
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Self { name: name.to_owned(), group, log, ended: false })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its words are.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal to it, or to the one that has taken its place.
    pub fn signal(&self, signal: Signal) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.group, signal);
    }

    /// Whether all of it has ended.
    pub fn has_ended(&mut self) -> bool {
        while !self.ended {
            match waitpgid(self.group, WaitOptions::NOHANG) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.ended = true,
            }
        }
        self.ended
    }

    /// Kills all of it and waits until it is gone.
    pub fn kill(&mut self) {
        if self.has_ended() {
            return;
        }
        self.signal(Signal::KILL);
        while !self.ended {
            match waitpgid(self.group, WaitOptions::empty()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.ended = true,
            }
        }
    }
}

/// Ends, when it is dropped, whatever its daemons left behind to outlive them: the keepers of their logs.
#[derive(Debug)]
pub struct Orphans;

impl Drop for Orphans {
    fn drop(&mut self) {
        for orphan in children() {
            // One that has ended by itself needs no signal, and is waited for all the same.
            let _ = kill_process(orphan, Signal::KILL);
            let _ = waitpid(Some(orphan), WaitOptions::empty());
        }
    }
}

/// Children of any thread of this process.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = lists.flat_map(|list| {
        list.split_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<i32>>()
    });
    numbers.filter_map(Pid::from_raw).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
