//! The command that a restart runs between two lives. Whatever it does to the media, nobody serves before it has ended,
//! not even where this process ends first: it has a lock that lasts as long as any process has it open.

use crate::life::{RunError, Signals, system};
use crate::sockets::Sockets;
use crate::waiting::WaitingRoom;
use crate::{Config, life};
use lull_admin::{GivenUp, RestartKind, RestartPhase, RestartRecord};
use lull_transport::handover::VARIABLE;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// How long a command that is told to end may take. Then it is killed.
pub const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether all of it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The lock's file in the state directory.
const FILE: &str = "command";

/// How a restart's command did not end well.
pub enum Interrupted {
    /// The sentence for the restart's record.
    Failed(String),
    /// The target was told to end meanwhile; the command was ended.
    ToldToEnd,
}

/// How it ended.
enum Ended {
    ByItself(io::Result<std::process::ExitStatus>),
    ByOperator,
    WithTarget,
}

/// Runs the command of a restart. Operators see it meanwhile, and can end it.
pub async fn run(
    command: &str,
    config: &Config,
    sockets: &Sockets,
    signals: &mut Signals,
) -> Result<(), Interrupted> {
    tracing::info!("running: {command}");
    let failed = |why: &dyn std::fmt::Display| {
        tracing::error!("{command}: {why}; serving again all the same");
        let text = format!("the command failed ({why}): {command}; the target serves again");
        Interrupted::Failed(text)
    };
    let mut errand = Errand::start(command, &config.state_dir).map_err(|error| failed(&error))?;
    let room = WaitingRoom::new(&config.node);
    let (status, aborted) = (room.for_command(command, errand.group), Notify::new());
    let abort = || {
        aborted.notify_one();
        let grace = GRACE.as_secs();
        Ok(GivenUp {
            outside: Some(format!(
                "the restart's command was told to end (SIGTERM; SIGKILL after {grace} s), and the target serves when \
                 it has: {command}"
            )),
        })
    };
    let ended = room.answering(&sockets.admin, status, abort, errand.ended(&aborted, signals));
    match ended.await {
        Ended::ByItself(Ok(status)) if status.success() => Ok(()),
        Ended::ByItself(Ok(status)) => Err(failed(&status)),
        Ended::ByItself(Err(error)) => Err(failed(&error)),
        Ended::ByOperator => Err(failed(&"an operator ended it")),
        Ended::WithTarget => Err(Interrupted::ToldToEnd),
    }
}

/// A command that runs.
struct Errand {
    shell: Child,
    /// All that it starts, as long as that does not leave it.
    group: Pid,
    lock: File,
}

impl Errand {
    fn start(command: &str, state_dir: &Path) -> io::Result<Self> {
        let mut lock = OpenOptions::new();
        let lock = lock.read(true).append(true).create(true).open(state_dir.join(FILE))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        lock.set_len(0)?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).env_remove(VARIABLE).env_remove(life::STATE_VARIABLE);
        shell.env_remove(life::SIZES_VARIABLE).process_group(0).kill_on_drop(true);
        // Standard input is what the fewest programs close for what they start. What is in the file is behind it.
        let shell = shell.stdin(Stdio::from(lock.try_clone()?)).spawn()?;
        let group = shell.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = group.ok_or_else(|| io::Error::other("it has no number"))?;
        let mut errand = Self { shell, group, lock };
        // For whoever finds it locked; the lock is what counts.
        let _ = write!(errand.lock, "process {group}: {command}");
        Ok(errand)
    }

    /// Waits for its end, or brings it about.
    async fn ended(&mut self, aborted: &Notify, signals: &mut Signals) -> Ended {
        let ended = tokio::select! {
            status = self.shell.wait() => {
                // What it has left running on purpose keeps nobody from serving.
                let _ = flock(&self.lock, FlockOperation::Unlock);
                return Ended::ByItself(status);
            }
            () = aborted.notified() => Ended::ByOperator,
            () = signals.told_to_end() => Ended::WithTarget,
        };
        // It may have ended in this moment.
        let _ = kill_process_group(self.group, Signal::TERM);
        let hurried = tokio::select! {
            () = self.gone() => false,
            () = tokio::time::sleep(GRACE) => false,
            () = signals.told_to_end() => true,
        };
        let _ = kill_process_group(self.group, Signal::KILL);
        // What does not even end now, in a call to a disk that hangs, keeps its lock: the next life waits for that.
        let _ = tokio::time::timeout(GRACE, self.shell.wait()).await;
        if hurried { Ended::WithTarget } else { ended }
    }

    /// Returns when all of its group is gone, also from the system's list: who adopts what it leaves does that.
    async fn gone(&mut self) {
        // How it ended is no news to who has ended it.
        let _ = self.shell.wait().await;
        // Any other error is that of somebody who is there.
        while test_kill_process_group(self.group) != Err(Errno::SRCH) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// [SAFE-6] Whether a restart's command still runs that a target on this state directory has begun.
///
/// # Errors
/// It does: the media are not to be opened.
pub fn check(state_dir: &Path) -> Result<(), RunError> {
    let path = state_dir.join(FILE);
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("the lock of restarts' commands")(error)),
    };
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let what = std::fs::read_to_string(&path).unwrap_or_default();
            Err(RunError::CommandRuns { what, path })
        }
        Err(error) => Err(system("the lock of restarts' commands")(error.into())),
    }
}

/// What a process that goes on with another one's restart has to say of its command: only who ran it saw its end.
pub fn unseen(record: &RestartRecord) -> Option<String> {
    let down = record.phases.last().is_some_and(|span| span.phase == RestartPhase::Down);
    (record.kind == RestartKind::Exec && down).then(|| {
        "the target's process ended before it served again, and nobody knows how far the command came".to_owned()
    })
}
