//! An initiator as a process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lull_admin::{
    AdminAddr, AttachmentPhase, AttachmentStatus, Client, OutcomeKind, RestartRecord, Status,
};
use rustix::process::Signal;

use crate::command::{Finished, Running};
use crate::process::{self, Process};
use crate::service::ServiceManager;
use crate::target::{Target, uri_at};
use crate::wait::{PROMPT, wait_for, wait_until};
use crate::world::Inner;

/// One use of a resource: an attachment to be.
#[derive(Clone, Debug)]
pub struct Use {
    uri: String,
    resource: String,
    name: Option<String>,
    tcp: bool,
    settings: Vec<(&'static str, String)>,
}

impl Use {
    /// The use of a target's resource.
    pub fn of(target: &Target, resource: &str) -> Self {
        Self::at(target.listen(), resource)
    }

    /// The same at any address, `unix:/path` or `tcp:host:port`: a proxy's.
    pub fn at(addr: &str, resource: &str) -> Self {
        let (uri, resource) = (uri_at(addr, resource), resource.to_owned());
        Self { uri, resource, name: None, tcp: false, settings: Vec::new() }
    }

    /// The attachment's own name; otherwise it has the resource's. Only in a configuration.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Its consumer reaches it over TCP.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// A setting by its flag's name: `access`, `on-timeout`, `restart-timeout`, `resume-timeout`, `hold`.
    #[must_use]
    pub fn set(mut self, flag: &'static str, value: &str) -> Self {
        self.settings.push((flag, value.to_owned()));
        self
    }

    /// Its consumer finds it as a file too.
    #[must_use]
    pub fn mounted(self, path: &std::path::Path) -> Self {
        self.set("fuse", &path.display().to_string())
    }

    fn attachment(&self) -> &str {
        self.name.as_ref().unwrap_or(&self.resource)
    }
}

/// An initiator to be started.
#[derive(Debug)]
pub struct InitiatorBuilder {
    world: Arc<Inner>,
    name: String,
    uses: Vec<Use>,
    flags: Vec<String>,
    settings: Vec<(&'static str, String)>,
    place: String,
    binary: Option<PathBuf>,
}

impl InitiatorBuilder {
    pub(crate) fn new(world: Arc<Inner>, name: &str) -> Self {
        let name = name.to_owned();
        let (uses, flags, settings) = Default::default();
        Self { world, place: name.clone(), name, uses, flags, settings, binary: None }
    }

    /// It is run from this binary instead of the built one.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// It uses this.
    #[must_use]
    pub fn uses(mut self, one: Use) -> Self {
        self.uses.push(one);
        self
    }

    /// A setting of the daemon by its flag's name: `shutdown-command`.
    #[must_use]
    pub fn set(mut self, flag: &'static str, value: &str) -> Self {
        self.settings.push((flag, value.to_owned()));
        self
    }

    /// A flag of `lull attach` without a value, as `--take-over`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Its state, sockets and log are under this name, where another of its name runs in this world.
    #[must_use]
    pub fn place(mut self, place: &str) -> Self {
        self.place = place.to_owned();
        self
    }

    /// The initiator, not started. One use is `lull attach`, several are `lull initiator`.
    pub fn prepare(self) -> Initiator {
        let Self { world, name, uses, flags, settings, place, binary } = self;
        let admin = AdminAddr::unix(world.path(&format!("{place}-admin.sock")));
        let state = world.path(&format!("{place}.state"));
        let faces: Vec<_> = uses
            .iter()
            .map(|one| match one.tcp {
                true => format!("tcp:127.0.0.1:{}", world.port()),
                false => {
                    let file = format!("{place}-{}.nbd", one.attachment());
                    format!("unix:{}", world.path(&file).display())
                }
            })
            .collect();
        let words = match (&*uses, &*faces) {
            ([one], [face]) if one.name.is_none() => {
                let mut words = vec!["attach".to_owned(), one.uri.clone()];
                let mut flag = |name: &str, value: String| {
                    words.extend([format!("--{name}"), value]);
                };
                flag("nbd", face.clone());
                flag("name", name.clone());
                flag("state", state.display().to_string());
                flag("admin", admin.to_string());
                flag("keep-alive", "2s".to_owned());
                settings
                    .iter()
                    .chain(&one.settings)
                    .for_each(|(name, value)| flag(name, value.clone()));
                words.extend(flags);
                words
            }
            _ => {
                let file = world.path(&format!("{place}.toml"));
                let mut text = toml(&name, &state, &admin, &settings);
                attachments(&mut text, &uses, &faces);
                std::fs::write(&file, text).expect("a configuration can be written");
                let file = file.display().to_string();
                ["initiator".to_owned(), "--config".to_owned(), file]
                    .into_iter()
                    .chain(flags)
                    .collect()
            }
        };
        let names = uses.iter().map(|one| (one.attachment().to_owned(), one.resource.clone()));
        let faces = names.zip(faces).collect();
        Initiator { world, name, place, admin, state, faces, words, binary, process: None }
    }

    /// The initiator, all of whose attachments share.
    #[track_caller]
    pub fn start(self) -> Initiator {
        let mut initiator = self.prepare();
        initiator.start();
        initiator
    }
}

fn toml(
    name: &str,
    state: &std::path::Path,
    admin: &AdminAddr,
    settings: &[(&'static str, String)],
) -> String {
    let state = state.display();
    let mut text = format!(
        "[initiator]\nname = {name:?}\nstate = \"{state}\"\nadmin = \"{admin}\"\nkeep-alive = \"2s\"\n"
    );
    for (key, value) in settings {
        text += &format!("{key} = {value:?}\n");
    }
    text
}

fn attachments(text: &mut String, uses: &[Use], faces: &[String]) {
    for (one, face) in uses.iter().zip(faces) {
        let (uri, name) = (&one.uri, one.attachment());
        *text += &format!("[[attachment]]\nname = {name:?}\nuri = {uri:?}\nnbd = {face:?}\n");
        for (key, value) in &one.settings {
            *text += &format!("{key} = {value:?}\n");
        }
    }
}

/// An initiator; it may be down.
#[derive(Debug)]
pub struct Initiator {
    world: Arc<Inner>,
    name: String,
    place: String,
    admin: AdminAddr,
    state: PathBuf,
    /// Attachment and resource with the address of its face.
    faces: Vec<((String, String), String)>,
    words: Vec<String>,
    binary: Option<PathBuf>,
    process: Option<Process>,
}

impl Initiator {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its admin socket.
    pub fn admin(&self) -> &AdminAddr {
        &self.admin
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &std::path::Path {
        &self.state
    }

    /// The NBD URI of its first attachment's face.
    pub fn nbd(&self) -> String {
        let ((name, _), face) = &self.faces[0];
        nbd_uri(face, name)
    }

    /// The NBD URI of one attachment's face.
    pub fn nbd_of(&self, attachment: &str) -> String {
        let found = self.faces.iter().find(|((name, _), _)| name == attachment);
        let ((name, _), face) = found.unwrap_or_else(|| panic!("no attachment {attachment}"));
        nbd_uri(face, name)
    }

    /// How it is started.
    pub fn command(&self) -> Command {
        let words: Vec<_> = self.words.iter().map(String::as_str).collect();
        self.world.command_of(self.binary.as_deref(), &words)
    }

    /// Starts its process, and does not wait.
    pub fn spawn(&mut self) {
        let log = self.world.path(&format!("{}.log", self.place));
        self.process = Some(Process::start(self.command(), &self.name, &log));
    }

    /// Starts its process as this service manager does it: with what it keeps.
    pub fn spawn_by(&mut self, manager: &ServiceManager) {
        let log = self.world.path(&format!("{}.log", self.place));
        let command = manager.with_stored(&self.command());
        self.process = Some(Process::start(command, &self.name, &log));
    }

    /// Running processes that the one that serves now has started and that keep nothing: a successor that waits.
    pub fn children(&self) -> Vec<u32> {
        let mut all = process::children(self.pid());
        let keepers = self.keepers();
        all.retain(|child| !keepers.contains(child));
        all
    }

    /// The processes that keep its logs.
    pub fn keepers(&self) -> Vec<u32> {
        process::with_words(&["keep-log", &self.state.display().to_string()])
    }

    /// Waits until a keeper has the kernel's end of its mounted file, so that the mount outlives this process.
    #[track_caller]
    pub fn wait_mount_kept(&self) {
        let has_it = |keeper: &u32| process::has_open(*keeper, "/dev/fuse");
        wait_until("the mount is kept", PROMPT, || self.keepers().iter().any(has_it));
    }

    /// Starts it and waits until all of its attachments share.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.wait_sharing();
    }

    /// Waits until all of its attachments share.
    #[track_caller]
    pub fn wait_sharing(&self) {
        self.wait_sharing_within(PROMPT);
    }

    /// The same where its target is slow: an emulated machine.
    #[track_caller]
    pub fn wait_sharing_within(&self, within: Duration) {
        wait_for(&format!("{} shares", self.name), within, || {
            // A successor is in the group of the first process.
            if let Some(status) = self.process().ended()
                && process::is_empty_group(self.process().pid())
            {
                panic!("{} has ended: {status}\n{}", self.name, self.process().log());
            }
            let all = self.try_status()?.initiator?.attachments;
            let sharing = all.iter().all(|one| one.phase == AttachmentPhase::Sharing);
            (sharing && all.len() == self.faces.len()).then_some(())
        });
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("an initiator that was started")
    }

    /// Stops it by SIGSTOP; returns when it has stopped.
    #[track_caller]
    pub fn freeze(&self) {
        let process = self.process();
        process.signal(Signal::STOP);
        wait_until("a process stops after SIGSTOP", PROMPT, || process::is_stopped(process.pid()));
    }

    /// Ends a [`Initiator::freeze`].
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.world.path(&format!("{}.log", self.place))).unwrap_or_default()
    }

    /// Its state, if it answers now.
    pub fn try_status(&self) -> Option<Status> {
        let client = Client::at(self.admin.clone());
        block_on(client.status()).ok()
    }

    /// The state of its first attachment.
    #[track_caller]
    pub fn attachment(&self) -> AttachmentStatus {
        let ((name, _), _) = &self.faces[0];
        self.attachment_named(name)
    }

    /// The state of one attachment.
    #[track_caller]
    pub fn attachment_named(&self, name: &str) -> AttachmentStatus {
        wait_for(&format!("{} tells of {name}", self.name), PROMPT, || {
            let all = self.try_status()?.initiator?.attachments;
            all.into_iter().find(|one| one.name == name)
        })
    }

    /// Its process now: a successor has another number than the one that was started.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        wait_for(&format!("{} answers", self.name), PROMPT, || Some(self.try_status()?.pid))
    }

    /// Replaces its daemon under its consumers.
    ///
    /// # Panics
    /// Where that is not completed, or by the same process.
    #[track_caller]
    pub fn restart(&self) -> RestartRecord {
        let before = self.pid();
        let finished = self.lull(&["restart", "initiator", "--json"]).ok();
        let record: RestartRecord = serde_json::from_value(finished.json()).expect("a record");
        let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
        assert_eq!(kind, Some(OutcomeKind::Completed), "{record:#?}");
        assert_ne!(self.pid(), before, "the process is another one");
        assert!(record.phases.iter().all(|phase| phase.end.is_some()), "{record:#?}");
        record
    }

    /// Waits until its first attachment is in this phase.
    #[track_caller]
    pub fn wait_phase(&self, phase: AttachmentPhase) -> AttachmentStatus {
        wait_for(&format!("{} is {phase}", self.name), PROMPT, || {
            let all = self.try_status()?.initiator?.attachments;
            all.into_iter().next().filter(|one| one.phase == phase)
        })
    }

    /// Runs a verb against it to its end: `["detach", "db1"]`.
    #[track_caller]
    pub fn lull(&self, words: &[&str]) -> Finished {
        self.begin(words).finish(Duration::from_secs(60))
    }

    /// Starts a verb against it.
    pub fn begin(&self, words: &[&str]) -> Running {
        let mut command = self.world.command(words);
        command.args(["--admin", &self.admin.to_string()]);
        Running::start(command)
    }
}

/// The NBD URI of an export at an address in the form of the command line.
pub(crate) fn nbd_uri(addr: &str, export: &str) -> String {
    match addr.split_once(':') {
        Some(("unix", path)) => format!("nbd+unix:///{export}?socket={path}"),
        Some(("tcp", place)) => format!("nbd://{place}/{export}"),
        _ => panic!("{addr} is no address of a face"),
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}
