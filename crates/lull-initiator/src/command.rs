//! A command that runs beside everything else, with an end: what it prints is told, and when its time is up it is
//! killed with all that it started.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use lull_proto::MonoTime;
use lull_transport::handover;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::footing;
use crate::succession::announcement::VARIABLE;

/// The most of its output that is kept for people, in lines and in bytes of each; older lines are forgotten, longer
/// ones are cut. All of it is in the daemon's log.
const LINES_KEPT: usize = 20;
const LINE_BYTES: usize = 400;
/// How long its output is read on once it has ended: what it started may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// One run, as people see it; it changes while the command runs.
#[derive(Debug)]
pub struct Run {
    /// The line that the shell was given.
    pub command: String,
    /// When it began.
    pub since: MonoTime,
    /// When it ended, and how; `None`: it runs.
    pub ended: Option<(MonoTime, Ending)>,
    /// Its last lines on standard output and standard error.
    pub output: VecDeque<String>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With success.
    Done,
    /// Otherwise; how, as a phrase behind "it".
    Failed(String),
}

impl Run {
    /// One that begins now.
    pub fn new(command: &str, since: MonoTime) -> Rc<RefCell<Self>> {
        let (command, output) = (command.to_owned(), VecDeque::new());
        Rc::new(RefCell::new(Self { command, since, ended: None, output }))
    }

    fn say(&mut self, line: String) {
        if self.output.len() == LINES_KEPT {
            self.output.pop_front();
        }
        self.output.push_back(line);
    }
}

/// Runs the command of `run` with `/bin/sh -c` until it ends, or its time is up and it is killed. Each line of its
/// output is given to `say`.
pub async fn run(
    run: &Rc<RefCell<Run>>,
    environment: &[(&'static str, String)],
    limit: Duration,
    say: impl Fn(&str) + 'static,
) -> Ending {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(&run.borrow().command).envs(environment.iter().cloned());
    shell.env_remove(handover::VARIABLE).env_remove(VARIABLE);
    let mut over = pin!(tokio::time::sleep(limit));
    match start(shell, &mut over).await {
        Ok((mut child, output)) => {
            let reading = tokio::task::spawn_local(read(output, Rc::clone(run), say));
            let ended = tokio::select! {
                ended = child.wait() => Some(ended),
                () = &mut over => None,
            };
            let ending = match ended {
                Some(Ok(status)) => of_status(status),
                Some(Err(error)) => Ending::Failed(format!("could not be waited for: {error}")),
                None => {
                    kill(&mut child);
                    let limit = crate::wording::span(limit);
                    Ending::Failed(format!("was killed because it did not end within {limit}"))
                }
            };
            // What stays of it goes on talking to the log.
            let _ = tokio::time::timeout(LAST_WORDS, reading).await;
            ending
        }
        Err(error) => Ending::Failed(format!("could not be run: {error}")),
    }
}

/// The shell may lie on a disk of this daemon's, and `over` is its time.
async fn start(
    mut shell: Command,
    over: impl Future<Output = ()>,
) -> io::Result<(Child, pipe::Receiver)> {
    let (output, both) = io::pipe()?;
    shell.stdin(Stdio::null()).stdout(both.try_clone()?).stderr(both).process_group(0);
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output))?;
    let child = handover::start_program(move || footing::outside(|| shell.spawn()), over).await?;
    Ok((child, output))
}

/// Ends it and everything in its process group.
fn kill(child: &mut Child) {
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may have ended in this moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn of_status(status: ExitStatus) -> Ending {
    if status.success() { Ending::Done } else { Ending::Failed(format!("ended with {status}")) }
}

/// Reads lines until the last writer is gone.
async fn read(output: pipe::Receiver, run: Rc<RefCell<Run>>, say: impl Fn(&str)) {
    let (mut line, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = match output.readable().await.and_then(|()| output.try_read(&mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for byte in &bytes[..count] {
            if *byte == b'\n' {
                tell(&run, &mut line, &say);
            } else if line.len() < LINE_BYTES {
                line.push(*byte);
            }
        }
    }
    if !line.is_empty() {
        tell(&run, &mut line, &say);
    }
}

fn tell(run: &Rc<RefCell<Run>>, line: &mut Vec<u8>, say: &impl Fn(&str)) {
    let text = String::from_utf8_lossy(line);
    // It goes to terminals and logs as it is.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.clear();
    say(text.trim_end());
    run.borrow_mut().say(text.trim_end().to_owned());
}
