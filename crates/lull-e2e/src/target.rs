//! A target as a process.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lull_admin::{
    AdminAddr, Client, ClientError, OutcomeKind, RestartPhase, RestartRecord, RestartStatus,
    SessionPhase, SessionStatus, Status, TargetPhase, TargetStatus,
};
use rustix::process::Signal;

use crate::command::{Finished, Running};
use crate::initiator::block_on;
use crate::process::{self, Process};
use crate::service::{ServiceManager, with_passed};
use crate::terminal::Terminal;
use crate::wait::{PROMPT, wait_for, wait_until};
use crate::world::Inner;

/// A target to be started; short spans are set, so that tests that wait for them are short.
#[derive(Debug)]
pub struct TargetBuilder {
    world: Arc<Inner>,
    name: String,
    listen: String,
    nbd: Vec<String>,
    resources: Vec<(String, String)>,
    spans: Vec<(&'static str, String)>,
    binary: Option<PathBuf>,
    by_file: bool,
}

impl TargetBuilder {
    pub(crate) fn new(world: Arc<Inner>, name: &str) -> Self {
        let listen = format!("unix:{}", world.path(&format!("{name}.sock")).display());
        let spans = vec![("pause-timeout", "2s".to_owned()), ("keep-alive", "2s".to_owned())];
        let (nbd, resources) = (Vec::new(), Vec::new());
        let name = name.to_owned();
        Self { world, name, listen, nbd, resources, spans, binary: None, by_file: false }
    }

    /// A resource on a sparse file of its own.
    #[must_use]
    pub fn file(self, name: &str, size: &str) -> Self {
        let path = self.world.path(&format!("{name}.img"));
        self.backend(name, &format!("file:{},size={size}", path.display()))
    }

    /// A resource on any backend.
    #[must_use]
    pub fn backend(mut self, name: &str, backend: &str) -> Self {
        self.resources.push((name.to_owned(), backend.to_owned()));
        self
    }

    /// Initiators reach it over TCP instead of a unix socket.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.listen = format!("tcp:127.0.0.1:{}", self.world.port());
        self
    }

    /// Clients without an agent reach it too, over a unix socket.
    #[must_use]
    pub fn nbd(mut self) -> Self {
        let path = self.world.path(&format!("{}-nbd.sock", self.name));
        self.nbd.push(format!("unix:{}", path.display()));
        self
    }

    /// A span or policy by its flag's name: `pause-timeout`, `keep-alive`, `on-pause-timeout`.
    #[must_use]
    pub fn set(mut self, flag: &'static str, value: &str) -> Self {
        self.spans.retain(|(other, _)| *other != flag);
        self.spans.push((flag, value.to_owned()));
        self
    }

    /// It is run from this binary instead of the built one.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// It is told everything by a configuration, NAME.toml in the world.
    #[must_use]
    pub fn by_file(mut self) -> Self {
        self.by_file = true;
        self
    }

    /// The target, not started.
    pub fn prepare(self) -> Target {
        let state = self.world.path(&format!("{}.state", self.name));
        let admin = AdminAddr::unix(self.world.path(&format!("{}-admin.sock", self.name)));
        let words = match self.by_file {
            true => {
                let file = self.world.path(&format!("{}.toml", self.name));
                let text = self.toml(&state, &admin);
                std::fs::write(&file, text).expect("a configuration can be written");
                vec!["target".to_owned(), "--config".to_owned(), file.display().to_string()]
            }
            false => self.flags(&state, &admin),
        };
        let Self { world, name, listen, nbd, binary, .. } = self;
        Target { world, name, listen, nbd, state, admin, binary, words, process: None }
    }

    /// The target, serving.
    #[track_caller]
    pub fn start(self) -> Target {
        let mut target = self.prepare();
        target.start();
        target
    }

    fn flags(&self, state: &std::path::Path, admin: &AdminAddr) -> Vec<String> {
        let mut words = vec!["target".to_owned()];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        flag("name", self.name.clone());
        flag("listen", self.listen.clone());
        flag("state", state.display().to_string());
        flag("admin", admin.to_string());
        self.nbd.iter().for_each(|addr| flag("nbd", addr.clone()));
        self.spans.iter().for_each(|(name, value)| flag(name, value.clone()));
        words.extend(self.resources.iter().map(|(name, backend)| format!("{name}={backend}")));
        words
    }

    fn toml(&self, state: &std::path::Path, admin: &AdminAddr) -> String {
        let Self { name, listen, nbd, .. } = self;
        let state = state.display();
        let mut text = format!(
            "[target]\nname = {name:?}\nlisten = [{listen:?}]\nnbd = {nbd:?}\nstate = \"{state}\"\nadmin = \"{admin}\"\n"
        );
        for (name, value) in &self.spans {
            text += &format!("{name} = {value:?}\n");
        }
        for (name, backend) in &self.resources {
            text += &format!("[[resource]]\nname = {name:?}\nbackend = {backend:?}\n");
        }
        text
    }
}

/// A target; it may be down.
#[derive(Debug)]
pub struct Target {
    pub(crate) world: Arc<Inner>,
    name: String,
    listen: String,
    nbd: Vec<String>,
    state: PathBuf,
    admin: AdminAddr,
    binary: Option<PathBuf>,
    words: Vec<String>,
    process: Option<Process>,
}

impl Target {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where initiators reach it, in the form of the command line.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.state
    }

    /// Its admin socket.
    pub fn admin(&self) -> &AdminAddr {
        &self.admin
    }

    /// The URI of one of its resources for initiators.
    pub fn uri(&self, resource: &str) -> String {
        uri_at(&self.listen, resource)
    }

    /// The URI of one of its resources for NBD clients; it was built with [`TargetBuilder::nbd`].
    pub fn nbd_uri(&self, resource: &str) -> String {
        crate::initiator::nbd_uri(self.nbd.first().expect("a target with --nbd"), resource)
    }

    /// How it is started.
    pub fn command(&self) -> Command {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        self.world.command_of(self.binary.as_deref(), &words)
    }

    /// Starts its process, and does not wait.
    pub fn spawn(&mut self) {
        let log = self.world.path(&format!("{}.log", self.name));
        self.process = Some(Process::start(self.command(), &self.name, &log));
    }

    /// Starts its process as this service manager does it: with what it keeps.
    pub fn spawn_by(&mut self, manager: &ServiceManager) {
        let log = self.world.path(&format!("{}.log", self.name));
        let command = manager.with_stored(&self.command());
        self.process = Some(Process::start(command, &self.name, &log));
    }

    /// Starts its process as a service manager does it that has bound this socket for it.
    pub fn spawn_on(&mut self, socket: impl AsFd) {
        let log = self.world.path(&format!("{}.log", self.name));
        let command = with_passed(&self.command(), "lull-target.socket", socket);
        self.process = Some(Process::start(command, &self.name, &log));
    }

    /// The same with more flags.
    pub fn spawn_with(&mut self, flags: &[&str]) {
        let log = self.world.path(&format!("{}.log", self.name));
        let mut command = self.command();
        command.args(flags);
        self.process = Some(Process::start(command, &self.name, &log));
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.wait_serving();
    }

    /// Waits until it serves; initiators of before may still be awaited.
    #[track_caller]
    pub fn wait_serving(&self) {
        let what = format!("{} serves", self.name);
        wait_for(&what, PROMPT, || {
            if let Some(status) = self.process().ended() {
                panic!("{} has ended: {status}\n{}", self.name, self.process().log());
            }
            let target = self.try_status()?.target?;
            matches!(target.phase, TargetPhase::Serving | TargetPhase::Resuming).then_some(())
        });
    }

    /// Its first process of this start.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a target that was started")
    }

    /// The process that serves now.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.status_document().pid
    }

    /// Sends a signal to the process that serves now, which must be able to say its number.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::send(self.pid(), signal);
    }

    /// Running processes that the one that serves now has started: a successor that waits.
    pub fn children(&self) -> Vec<u32> {
        process::children(self.pid())
    }

    /// SIGKILL to everything that it is; returns when nothing of it is left.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Waits until nothing of it runs any more, as after a planned stop.
    #[track_caller]
    pub fn wait_gone(&mut self) {
        let process = self.process.take().expect("a target that was started");
        let group = process.pid();
        wait_until(&format!("the end of {}", self.name), PROMPT, || process::is_empty_group(group));
    }

    /// What it and its successors have printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.world.path(&format!("{}.log", self.name))).unwrap_or_default()
    }

    /// Its state, if it answers now.
    pub fn try_status(&self) -> Option<Status> {
        self.call(async |client| client.status().await).ok()
    }

    /// Its state as a whole document.
    #[track_caller]
    pub fn status_document(&self) -> Status {
        wait_for(&format!("{} answers", self.name), PROMPT, || self.try_status())
    }

    /// Its state.
    #[track_caller]
    pub fn status(&self) -> TargetStatus {
        self.status_document().target.expect("a target has a target's status")
    }

    /// An initiator's place on its roster, if there is one.
    #[track_caller]
    pub fn session(&self, initiator: &str) -> Option<SessionStatus> {
        self.status().initiators.into_iter().find(|session| session.initiator == initiator)
    }

    /// Waits until this initiator is in this phase.
    #[track_caller]
    pub fn wait_session(&self, initiator: &str, phase: SessionPhase) -> SessionStatus {
        wait_for(&format!("{} sees {initiator} {phase}", self.name), PROMPT, || {
            self.session(initiator).filter(|session| session.phase == phase)
        })
    }

    /// Waits until nothing is under way and everybody on the roster shares.
    #[track_caller]
    pub fn wait_all_sharing(&self) {
        let what = format!("{} shares with everybody", self.name);
        wait_for(&what, PROMPT, || {
            let target = self.try_status()?.target?;
            let all = target.initiators.iter().all(|one| one.phase == SessionPhase::Sharing);
            (all && target.phase == TargetPhase::Serving && target.restart.is_none()).then_some(())
        });
    }

    /// Waits until the restart that is under way is in this phase.
    #[track_caller]
    pub fn wait_restart(&self, phase: RestartPhase) -> RestartStatus {
        let what = format!("the restart of {} is {phase}", self.name);
        wait_for(&what, PROMPT, || {
            self.try_status()?.target?.restart.filter(|restart| restart.phase == phase)
        })
    }

    /// Runs a verb against it to its end: `["restart", "--daemon"]`.
    #[track_caller]
    pub fn lull(&self, words: &[&str]) -> Finished {
        self.begin(words).finish(Duration::from_secs(90))
    }

    /// Starts a verb against it.
    pub fn begin(&self, words: &[&str]) -> Running {
        let mut command = self.world.command(words);
        command.args(["--admin", &self.admin.to_string()]);
        Running::start(command)
    }

    /// Starts a verb against it at a terminal.
    pub fn at_terminal(&self, words: &[&str]) -> Terminal {
        let mut command = self.world.command(words);
        command.args(["--admin", &self.admin.to_string()]);
        Terminal::start(command)
    }

    /// Restarts it by `words`, which must succeed, and gives the record.
    #[track_caller]
    pub fn restart(&self, words: &[&str]) -> RestartRecord {
        let mut all = vec!["restart", "--json"];
        all.extend(words);
        let finished = self.lull(&all).ok();
        let record: RestartRecord = serde_json::from_value(finished.json()).expect("a record");
        let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
        assert_eq!(kind, Some(OutcomeKind::Completed), "{record:#?}");
        record
    }

    /// All records, whole, the newest last.
    #[track_caller]
    pub fn history(&self) -> Vec<RestartRecord> {
        let all = self.call(async |client| {
            let mut all = Vec::new();
            for record in client.histories().await? {
                all.push(client.history(record.id).await?);
            }
            Ok(all)
        });
        all.unwrap_or_else(|error| panic!("the history of {}: {error}", self.name))
    }

    /// A call of the interface that no verb makes in this form.
    ///
    /// # Errors
    /// What the daemon answered, or that it did not.
    pub fn call<T>(
        &self,
        ask: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        block_on(ask(Client::at(self.admin.clone())))
    }
}

/// The URI of a resource at an address in the form of the command line.
pub(crate) fn uri_at(addr: &str, resource: &str) -> String {
    match addr.split_once(':') {
        Some(("unix", path)) => format!("lull+unix:///{resource}?socket={path}"),
        Some(("tcp", place)) => format!("lull://{place}/{resource}"),
        _ => panic!("{addr} is no address of a target"),
    }
}
