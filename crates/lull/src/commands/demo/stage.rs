//! Where the demonstration plays: a directory, a target, three initiators.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lull_admin::{AdminAddr, AttachmentPhase, AttachmentStatus, Client, ResourceUri};
use lull_frontend::nbd::Uri;
use lull_transport::Addr;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

use super::process::{Orphans, Process, adopt_successors};
use crate::exit::Failure;

/// Name of the target.
pub const TARGET: &str = "store";

/// Names of the initiators, each of which uses the disk of its name.
pub const INITIATORS: [&str; 3] = ["web", "db", "mail"];

/// The initiator whose policy is `error`.
pub const IMPATIENT: &str = "mail";

/// How long that one waits for a lost target.
pub const IMPATIENCE: Duration = Duration::from_millis(1000);

/// Size of each disk, a sparse file.
const DISK: &str = "64M";

/// How long a daemon may take for anything that it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a daemon is asked whether it has done it.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A unix socket's path has at most 107 bytes; the longest name below the directory has 16.
const LONGEST_DIRECTORY: usize = 90;

/// The directory and everything that runs in it. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Stage {
    // In this order: processes end before their directory is removed.
    processes: Vec<Process>,
    _orphans: Orphans,
    directory: PathBuf,
    temporary: Option<TempDir>,
}

impl Stage {
    /// An empty stage in a fresh temporary directory, or in `directory`, which stays.
    ///
    /// # Errors
    /// The directory cannot be made, is not empty, or has too long a name for sockets.
    pub fn new(directory: Option<PathBuf>) -> Result<Self, Failure> {
        let (directory, temporary) = match directory {
            Some(directory) => {
                std::fs::create_dir_all(&directory)?;
                let directory = std::fs::canonicalize(directory)?;
                if std::fs::read_dir(&directory)?.next().is_some() {
                    let name = directory.display();
                    let text = format!("{name} is not empty\n  next: name another with --dir");
                    return Err(Failure::Usage(text));
                }
                (directory, None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("lull-demo-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        if directory.as_os_str().len() > LONGEST_DIRECTORY {
            let name = directory.display();
            let text = format!("{name} is too long for sockets\n  next: --dir /tmp/lull-demo");
            return Err(Failure::Usage(text));
        }
        adopt_successors();
        Ok(Self { processes: Vec::new(), _orphans: Orphans, directory, temporary })
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the directory where it is.
    pub fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
    }

    /// Where a process's words are.
    pub fn log(&self, name: &str) -> PathBuf {
        match self.processes.iter().find(|process| process.name() == name) {
            Some(process) => process.log().to_owned(),
            None => self.directory.join(format!("{name}.log")),
        }
    }

    fn path(&self, name: &str, what: &str) -> PathBuf {
        self.directory.join(format!("{name}{what}"))
    }

    fn unix(&self, name: &str, what: &str) -> String {
        format!("unix:{}", self.path(name, what).display())
    }

    /// The daemon of this name, whether it runs or not.
    pub fn client(&self, name: &str) -> Client {
        Client::at(AdminAddr::unix(self.path(name, ".admin")))
    }

    /// The front end of an initiator.
    pub fn front_end(&self, name: &str) -> Uri {
        Uri { addr: Addr::Unix(self.path(name, ".nbd")), export: String::new() }
    }

    /// A disk of the target, straight over NBD.
    pub fn straight(&self, disk: &str) -> Uri {
        Uri { addr: Addr::Unix(self.path(TARGET, ".nbd")), export: disk.to_owned() }
    }

    /// Starts the target and waits until it serves; with `straight` it serves plain NBD too.
    ///
    /// # Errors
    /// It does not come to serve.
    pub async fn start_target(&mut self, straight: bool) -> Result<(), Failure> {
        let state = self.path(TARGET, ".state").display().to_string();
        let mut arguments: Vec<String> = vec!["target".into()];
        for (flag, value) in [
            ("--name", TARGET.to_owned()),
            ("--listen", self.unix(TARGET, ".sock")),
            ("--admin", self.unix(TARGET, ".admin")),
            ("--state", state),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        if straight {
            arguments.extend(["--nbd".to_owned(), self.unix(TARGET, ".nbd")]);
        }
        for disk in INITIATORS {
            let file = self.path(disk, ".img");
            arguments.push(format!("{disk}=file:{},size={DISK}", file.display()));
        }
        self.start(TARGET, arguments)?;
        let client = self.client(TARGET);
        self.until(TARGET, "serve", async || client.status().await.is_ok()).await
    }

    /// Starts an initiator and waits until it shares its disk.
    ///
    /// # Errors
    /// It does not come to share.
    pub async fn start_initiator(&mut self, name: &str) -> Result<(), Failure> {
        let place = lull_admin::Place::Unix { path: self.path(TARGET, ".sock") };
        let uri = ResourceUri { place, resource: name.to_owned() };
        let state = self.path(name, ".state").display().to_string();
        let mut arguments: Vec<String> = vec!["attach".into(), uri.to_string()];
        for (flag, value) in [
            ("--name", name.to_owned()),
            ("--nbd", self.unix(name, ".nbd")),
            ("--admin", self.unix(name, ".admin")),
            ("--state", state),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        if name == IMPATIENT {
            let span = format!("{}ms", IMPATIENCE.as_millis());
            arguments.extend(["--on-timeout", "error", "--restart-timeout"].map(str::to_owned));
            arguments.push(span);
        }
        self.start(name, arguments)?;
        self.until_shares(name).await
    }

    /// Waits until an initiator shares its disk.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn until_shares(&mut self, name: &str) -> Result<(), Failure> {
        self.until_phase(name, "share its disk", AttachmentPhase::Sharing).await
    }

    /// Waits until an initiator's attachment is in `phase`.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn until_phase(
        &mut self,
        name: &str,
        what: &str,
        phase: AttachmentPhase,
    ) -> Result<(), Failure> {
        let client = self.client(name);
        let reached =
            async || attachment(&client).await.is_some_and(|attachment| attachment.phase == phase);
        self.until(name, what, reached).await
    }

    /// What an initiator says of its attachment.
    pub async fn attachment(&self, name: &str) -> Option<AttachmentStatus> {
        attachment(&self.client(name)).await
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: Signal) {
        let process = self.processes.iter().find(|process| process.name() == name);
        process.into_iter().for_each(|process| process.signal(signal));
    }

    /// Kills a process at once.
    pub fn kill(&mut self, name: &str) {
        self.processes.retain_mut(|process| process.name() != name);
    }

    /// Tells a process to end, and waits until it has.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&mut self, name: &str) -> Result<(), Failure> {
        self.signal(name, Signal::TERM);
        let begun = Instant::now();
        while self.runs(name) {
            if begun.elapsed() > PATIENCE {
                return Err(self.late(name, "end"));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.kill(name);
        Ok(())
    }

    fn start(&mut self, name: &str, arguments: Vec<String>) -> Result<(), Failure> {
        let started = Process::start(name, &self.directory, arguments);
        let why = |error| Failure::failed(format!("{name} could not be started: {error}"));
        self.processes.push(started.map_err(why)?);
        Ok(())
    }

    fn runs(&mut self, name: &str) -> bool {
        self.processes.iter_mut().any(|process| process.name() == name && !process.has_ended())
    }

    async fn until(
        &mut self,
        name: &str,
        what: &str,
        mut reached: impl AsyncFnMut() -> bool,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        while !reached().await {
            if !self.runs(name) {
                return Err(Failure::failed(format!(
                    "{name} has ended instead of coming to {what}"
                )));
            }
            if begun.elapsed() > PATIENCE {
                return Err(self.late(name, what));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    fn late(&self, name: &str, what: &str) -> Failure {
        let log = self.log(name);
        let (waited, log) = (PATIENCE.as_secs(), log.display());
        Failure::failed(format!("{name} did not {what} within {waited} s; its log: {log}"))
    }
}

async fn attachment(client: &Client) -> Option<AttachmentStatus> {
    client.status().await.ok()?.initiator?.attachments.pop()
}
