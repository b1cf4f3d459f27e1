//! A restart to a new process [PAUSE-9]: the successor is started and checks itself before anybody is paused, waits,
//! and is given the sockets when the predecessor has closed everything else. Until the predecessor has heard that it serves
//! and has let it go on, it touches nothing that it was given: whichever of the two fails by then, the other one has all.

use super::{
    Channel, MAX_FDS, ParcelError, inherit, inherited, send_fds, socketpair, start_program,
};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The variable that tells a process which descriptor its predecessor speaks through.
pub const VARIABLE: &str = "LULL_PREDECESSOR";
/// How long a successor may take to check itself.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take from the sockets to serving. Beyond it the predecessor starts over: initiators' restart
/// timers run meanwhile.
const SERVE_LIMIT: Duration = Duration::from_secs(30);
/// How long the end of a killed successor is waited for.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Descriptors below are left alone: standard streams, and what a service manager passes.
const LOWEST: i32 = 50;

const CHECKED: &[u8] = b"checked";
const MORE: &[u8] = b"more";
const TAKE: &[u8] = b"take";
const SERVING: &[u8] = b"serving";
const GO: &[u8] = b"go";
/// Of a successor that has waited long enough for [`GO`] and goes on without it.
const ALONE: &[u8] = b"alone";

/// A successor that waits. Dropped, also while it is started, it is killed: nobody wants it any more.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    channel: Arc<Channel>,
}

/// A successor that has everything. Dropped, it goes on by itself.
#[derive(Debug)]
pub struct Heir(ManuallyDrop<Child>);

impl Heir {
    /// Passes a word on that came to this process while it handed over, when it was too late for it: that it is to end.
    pub fn terminate(self) {
        let pid = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(pid) = pid {
            // Who has ended since has done what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SuccessorError {
    #[error(
        "the successor {binary} could not be started, and nobody was paused: {source}; put a release there that runs here",
        binary = .binary.display()
    )]
    Start { binary: PathBuf, source: io::Error },
    #[error("the successor could not be spoken to: {0}")]
    Channel(#[from] io::Error),
    #[error("the successor's check failed, and nobody was paused: {0}")]
    Check(String),
    #[error("the successor could not take over: {0}")]
    Refused(String),
    #[error("the successor ended before it served ({0}); its own words are in the log")]
    Ended(String),
    #[error("the successor did not {what} within {limit:?}")]
    Slow { what: &'static str, limit: Duration },
}

impl Successor {
    /// Starts the binary that is now at this process's path, with this process's arguments, and waits for its check;
    /// `variables` tell it what it has to know for that. Must be called within a runtime.
    ///
    /// # Errors
    /// Where it cannot be started or its check fails; nothing has changed then.
    pub async fn start(variables: &[(&str, String)]) -> Result<Self, SuccessorError> {
        let binary = own_path();
        let (mine, theirs) = socketpair()?;
        let mut command = std::process::Command::new(&binary);
        command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
        let number = inherit(&mut command, theirs, LOWEST)?;
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        command.env(VARIABLE, number.to_string());
        let start = move || Command::from(command).kill_on_drop(true).spawn();
        let child = start_program(start, tokio::time::sleep(CHECK_LIMIT)).await;
        let child = child.map_err(|source| SuccessorError::Start { binary, source })?;
        let mut successor = Self { child, channel: Arc::new(Channel::new(mine)?) };
        match successor.answer(CHECKED, "check itself", CHECK_LIMIT).await {
            Ok(()) => Ok(successor),
            Err(error) => {
                successor.end().await;
                Err(error)
            }
        }
    }

    /// Ends when the successor does, or speaks out of turn. To be dropped before it is given the sockets.
    pub fn gone(&self) -> impl Future<Output = ()> + 'static {
        let channel = Arc::clone(&self.channel);
        async move {
            let _ = channel.recv().await;
        }
    }

    /// Gives the descriptors; returns when the successor serves, and this process has nothing any more.
    ///
    /// # Errors
    /// Where it does not come to serve; it is ended then and everything is as after any loss.
    pub async fn hand_over(
        mut self,
        fds: &[(String, BorrowedFd<'_>)],
    ) -> Result<Heir, SuccessorError> {
        let given = self.give_all(fds).await.map_err(|error| match error {
            SuccessorError::Check(why) => SuccessorError::Refused(why),
            other => other,
        });
        match given {
            Ok(()) => Ok(Heir(ManuallyDrop::new(self.child))),
            Err(error) => {
                self.end().await;
                Err(error)
            }
        }
    }

    async fn give_all(&mut self, fds: &[(String, BorrowedFd<'_>)]) -> Result<(), SuccessorError> {
        // As many parcels as it takes.
        let (before, last) = fds.split_at(fds.len().saturating_sub(MAX_FDS));
        for some in before.chunks(MAX_FDS) {
            self.say(MORE, some).await?;
        }
        self.say(TAKE, last).await?;
        self.answer(SERVING, "serve", SERVE_LIMIT).await?;
        self.let_go().await
    }

    /// The point of no return. Who is gone before it has touched nothing.
    async fn let_go(&mut self) -> Result<(), SuccessorError> {
        match self.say(GO, &[]).await {
            // This process was stopped for so long that the other one has served meanwhile, and ended: what is here is of
            // long ago.
            Err(_) if matches!(self.channel.look(), Some(Ok(last)) if last.message == ALONE) => {
                Ok(())
            }
            said => said,
        }
    }

    async fn say(
        &mut self,
        message: &[u8],
        fds: &[(String, BorrowedFd<'_>)],
    ) -> Result<(), SuccessorError> {
        match self.channel.send(message, fds).await {
            Ok(()) => Ok(()),
            Err(ParcelError::Closed) => Err(self.ended().await),
            Err(error) => Err(SuccessorError::Ended(error.to_string())),
        }
    }

    /// It has closed the connection.
    async fn ended(&mut self) -> SuccessorError {
        let status = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        SuccessorError::Ended(match status {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(_)) | Err(_) => "it closed the connection".to_owned(),
        })
    }

    /// Ends a successor that is not wanted any more.
    pub async fn end(mut self) {
        let _ = self.child.start_kill();
        // One that hangs in the kernel is not waited for: it holds nothing that is needed here.
        let _ = tokio::time::timeout(END_LIMIT, self.child.wait()).await;
    }

    async fn answer(
        &mut self,
        wanted: &[u8],
        what: &'static str,
        limit: Duration,
    ) -> Result<(), SuccessorError> {
        let received = match tokio::time::timeout(limit, self.channel.recv()).await {
            Ok(received) => Some(received),
            // Who was stopped meanwhile wakes to the end of its patience before it hears what was said.
            Err(_) => self.channel.look(),
        };
        let parcel = match received {
            None => return Err(SuccessorError::Slow { what, limit }),
            Some(Ok(parcel)) => parcel,
            Some(Err(_)) => return Err(self.ended().await),
        };
        if parcel.message == wanted {
            return Ok(());
        }
        Err(SuccessorError::Check(String::from_utf8_lossy(&parcel.message).into_owned()))
    }
}

/// The path that this process was started from; what lies there now may be a newer release.
fn own_path() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("lull"));
    match path.to_str().and_then(|text| text.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => path,
    }
}

fn end_of_this_process() -> Result<Option<OwnedFd>, SuccessorError> {
    let number = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    Ok(number.map(inherited).transpose().map_err(io::Error::other)?)
}

/// The process that this one is to succeed.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// The one that started this process, if one did; must be called within a runtime and once.
    ///
    /// # Errors
    /// Where the variable names no such descriptor.
    pub fn of_this_process() -> Result<Option<Self>, SuccessorError> {
        let Some(end) = end_of_this_process()? else { return Ok(None) };
        Ok(Some(Self { channel: Channel::new(end)? }))
    }

    /// Of a process that ends before it is a daemon, because of its command line or its configuration: where it was
    /// started as a successor, the one that started it hears why. In place of [`Self::of_this_process`]; needs no runtime.
    pub fn decline(why: &str) {
        if let Ok(Some(end)) = end_of_this_process() {
            // Who does not hear it sees the end of this process.
            let _ = send_fds(&end, &[], why.as_bytes());
        }
    }

    /// Says whether the check went well, and waits for what is handed over: descriptors under the names that the
    /// predecessor gave them.
    ///
    /// # Errors
    /// Where the predecessor is gone, or the check failed: this process is not needed.
    pub async fn wait(
        &self,
        checked: Result<(), String>,
    ) -> Result<Vec<(String, OwnedFd)>, SuccessorError> {
        match checked {
            Ok(()) => self.channel.send(CHECKED, &[]).await.map_err(io::Error::other)?,
            Err(why) => {
                let _ = self.channel.send(why.as_bytes(), &[]).await;
                return Err(SuccessorError::Check(why));
            }
        }
        let mut fds = Vec::new();
        loop {
            let parcel = self.channel.recv().await.map_err(io::Error::other)?;
            fds.extend(parcel.fds);
            match &*parcel.message {
                TAKE => return Ok(fds),
                MORE => {}
                _ => return Err(SuccessorError::Ended("not wanted".to_owned())),
            }
        }
    }

    /// Tells the predecessor why this process cannot take over.
    pub async fn refuse(&self, why: &str) {
        let _ = self.channel.send(why.as_bytes(), &[]).await;
    }

    /// Tells the predecessor that it may go, and returns when it has nothing any more: it says so, or is gone. One that is
    /// stopped says nothing, and finds what it was told when it is woken.
    pub async fn serving(&self) {
        self.serving_within(SERVE_LIMIT).await;
    }

    async fn serving_within(&self, limit: Duration) {
        if self.channel.send(SERVING, &[]).await.is_ok()
            && tokio::time::timeout(limit, self.channel.recv()).await.is_err()
        {
            let _ = self.channel.send(ALONE, &[]).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::{recv_fds, send_fds};
    use rustix::net::sockopt::{Timeout, set_socket_timeout};

    /// Set for the child that this test program becomes.
    const CHILD: &str = "STOPPED_PREDECESSOR_FD";
    const LIMIT: Duration = Duration::from_millis(300);

    /// [INIT-1] Two would go on with the same consumers otherwise.
    #[test]
    fn a_predecessor_that_was_stopped_beyond_the_limit_hears_that_its_successor_serves() {
        let (ours, theirs) = socketpair().unwrap();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let number = inherit(&mut command, theirs, LOWEST).unwrap();
        let test = "handover::successor::tests::as_a_predecessor";
        command.args(["--exact", test, "--nocapture"]).env(CHILD, number.to_string());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        drop(command);
        let thread = String::from_utf8(recv_fds(&ours).unwrap().message).unwrap();
        let pid = Pid::from_child(&child);
        let stat = format!("/proc/{}/task/{thread}/stat", child.id());
        let is = |wanted: &str| {
            let text = std::fs::read_to_string(&stat).unwrap();
            text.rsplit(") ").next().unwrap().starts_with(wanted)
        };
        while !is("S") {
            std::thread::yield_now();
        }
        kill_process(pid, Signal::STOP).unwrap();
        while !is("T") {
            std::thread::yield_now();
        }
        send_fds(&ours, &[], SERVING).unwrap();
        // Who is stopped says nothing, for longer than its patience.
        set_socket_timeout(&ours, Timeout::Recv, Some(2 * LIMIT)).unwrap();
        assert!(recv_fds(&ours).is_err());
        kill_process(pid, Signal::CONT).unwrap();
        assert!(child.wait().unwrap().success(), "it would go on beside its successor");
    }

    /// [INIT-1] It would go on with what its successor has served and changed since.
    #[tokio::test]
    async fn a_predecessor_that_wakes_when_its_successor_has_served_and_ended_ends_too() {
        let woken = async |waits: bool| {
            // A child has every descriptor for a moment: it is gone before there are any.
            let mut child = Command::new("true").spawn().unwrap();
            child.wait().await.unwrap();
            let (ours, theirs) = socketpair().unwrap();
            let mut predecessor =
                Successor { child, channel: Arc::new(Channel::new(ours).unwrap()) };
            let successor = Predecessor { channel: Channel::new(theirs).unwrap() };
            match waits {
                true => successor.serving_within(LIMIT).await,
                false => successor.channel.send(SERVING, &[]).await.unwrap(),
            }
            drop(successor);
            predecessor.answer(SERVING, "serve", LIMIT).await.unwrap();
            predecessor.let_go().await
        };
        woken(true).await.unwrap();
        assert!(woken(false).await.is_err(), "who ended before it could go on has touched nothing");
    }

    /// The other half of the first test; on its own it has nothing to do.
    #[test]
    fn as_a_predecessor() {
        let Ok(number) = std::env::var(CHILD) else {
            return;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let end = inherited(number.parse().unwrap()).unwrap();
            let ours = end.try_clone().unwrap();
            let child = Command::new("true").spawn().unwrap();
            let channel = Arc::new(Channel::new(end).unwrap());
            let mut successor = Successor { child, channel };
            let _ = successor.child.wait().await;
            let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
            send_fds(&ours, &[], thread.as_bytes()).unwrap();
            successor.answer(SERVING, "serve", LIMIT).await.unwrap();
        });
    }
}
