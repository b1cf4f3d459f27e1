//! Shutting this host down because a disk is gone [TIMER-2].
//!
//! ```text
//!   attachment:  why is told ─▶ hook, within its time ─▶ the machine's word ─┐
//!   host:                                                                    ▼
//!                         command, within the deadline ─▶ last resort ─▶ "still up"
//! ```
//! Nothing here waits for a disk that may be the lost one: why the host goes down is told on standard error and to the
//! kernel's log, and the file that keeps it is written by a thread that nobody waits for.

use std::cell::{Cell, OnceCell};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use lull_admin::{Event, ShutdownPhase};
use lull_proto::MonoTime;
use lull_proto::initiator::Timer;

use crate::attachment::{Attachment, Core};
use crate::command::{self, Ending, Run};
use crate::config::{Policy, ShutdownConfig};
use crate::hook::{self, Environment};
use crate::wording;

/// Where the kernel takes lines for its log: consoles, and what a crash leaves behind, have them without any disk.
const KERNEL_LOG: &str = "/dev/kmsg";

/// A shutdown that an attachment's policy wants, as people see it.
#[derive(Debug)]
pub struct Shutdown {
    /// When the policy began it.
    pub since: MonoTime,
    /// When the hook is given up.
    pub deadline: Option<MonoTime>,
    /// Whether the point of no return is passed: from there on the host's own steps count.
    pub begun: bool,
    /// What its commands are told.
    environment: Environment,
}

/// How far the host is on its way down.
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// Which command runs.
    pub phase: ShutdownPhase,
    /// When it is given up.
    pub deadline: MonoTime,
}

/// The host, which is shut down once however many attachments want it.
#[derive(Debug)]
pub struct Host {
    config: ShutdownConfig,
    descent: Cell<Option<Descent>>,
    journal: OnceCell<mpsc::Sender<Note>>,
}

/// A line for a file, and whether it is the first of that shutdown.
type Note = (PathBuf, Event, bool);

impl Host {
    /// One that stays up so far.
    pub fn new(config: ShutdownConfig) -> Self {
        Self { config, descent: Cell::new(None), journal: OnceCell::new() }
    }

    /// One that no policy shuts down.
    pub fn left_alone() -> Self {
        let command = String::new();
        Self::new(ShutdownConfig { command, deadline: Duration::ZERO, last_resort: None })
    }

    /// How far it is on its way down; `None`: it is not, or came to nothing.
    pub fn descent(&self) -> Option<Descent> {
        self.descent.get()
    }

    /// Hands a line to the thread that may have to wait for a lost disk; neither anybody here nor the runtime does.
    fn keep(&self, note: Note) {
        let journal = self.journal.get_or_init(|| {
            let (notes, queue) = mpsc::channel::<Note>();
            let write = move || queue.iter().for_each(|note| keep(&note));
            // Without a thread there is no file; the kernel's log and standard error have it.
            drop(std::thread::Builder::new().name("lull-shutdown".into()).spawn(write));
            notes
        });
        let _ = journal.send(note);
    }
}

impl Attachment {
    /// Says why the host is to go down, runs the hook, and lets the machine decide then.
    pub(crate) fn prepare_shutdown(self: &Rc<Self>, core: &mut Core, now: MonoTime, timer: Timer) {
        let Policy::Shutdown { hook } = &self.config().policy else { return };
        let environment = hook::environment(self, core, now, timer);
        let why = core.machine.view(now).outage.map(|o| wording::why(o.why, &core.told));
        let deadline = hook.as_ref().map(|_| now + self.config().hook_limit);
        let of = environment.clone();
        core.told.shutdown = Some(Shutdown { since: now, deadline, begun: false, environment });
        let why = why.unwrap_or_else(|| "its target is gone".to_owned());
        self.proclaim("shutdown_prepared", format!("this host is to be shut down: {why}"), true);
        let running = hook.as_ref().map(|command| Run::new(command, now));
        if let Some(run) = &running {
            core.told.hook = Some(Rc::clone(run));
        }
        let attachment = Rc::clone(self);
        // The hook is looked after whatever becomes of the shutdown; that its end counts can be taken back.
        let hook = tokio::task::spawn_local(async move {
            if let Some(run) = running {
                hook::run(attachment, run, of).await;
            }
        });
        let attachment = Rc::clone(self);
        let prepared = tokio::task::spawn_local(async move {
            let _ = hook.await;
            attachment.handle(lull_proto::initiator::Event::Prepared);
        });
        core.preparing = Some(prepared.abort_handle());
    }

    /// The target is back in time.
    pub(crate) fn cancel_shutdown(&self, core: &mut Core) {
        core.told.shutdown = None;
        if let Some(preparing) = core.preparing.take() {
            preparing.abort();
        }
        self.proclaim("shutdown_cancelled", "this host stays up".to_owned(), false);
    }

    /// The point of no return.
    pub(crate) fn shut_down(self: &Rc<Self>, core: &mut Core, now: MonoTime) {
        let Some(shutdown) = &mut core.told.shutdown else { return };
        shutdown.begun = true;
        let host = &self.made.host;
        if host.descent().is_some() {
            return; // Another attachment was first.
        }
        let deadline = now + host.config.deadline;
        host.descent.set(Some(Descent { phase: ShutdownPhase::Begun, deadline }));
        let environment = shutdown.environment.clone();
        tokio::task::spawn_local(bring_down(Rc::clone(self), environment, deadline));
    }

    /// Tells it wherever it may be read without the lost disk. `fresh`: what an earlier outage left is replaced.
    fn proclaim(&self, what: &'static str, text: String, fresh: bool) {
        let event = self.made.chronicle.warn(&self.config().name, what, text);
        tell_kernel(&event);
        let file = self.made.state_dir.join(format!("{}.shutdown.log", self.config().name));
        self.made.host.keep((file, event, fresh));
    }
}

/// The command, and the last resort if the host is still up when the deadline has come.
async fn bring_down(attachment: Rc<Attachment>, environment: Environment, over: MonoTime) {
    let host = &attachment.made.host;
    let ShutdownConfig { command, deadline, last_resort } = &host.config;
    attachment.proclaim("shutdown", format!("shutting this host down: {command}"), false);
    step(&attachment, command, &environment, over).await;
    if let Some(command) = last_resort {
        let over = attachment.clock().now() + *deadline;
        host.descent.set(Some(Descent { phase: ShutdownPhase::Forced, deadline: over }));
        let text = format!("this host is still up; forcing it down: {command}");
        attachment.proclaim("shutdown_forced", text, false);
        step(&attachment, command, &environment, over).await;
    }
    host.descent.set(None);
    let text = "this host is still up although it was to be shut down; shut it down by hand";
    attachment.proclaim("shutdown_failed", text.to_owned(), false);
}

/// Runs a command that is to end this host, and with it this process; comes back when it has failed, or when the host
/// is still up at the end of its time.
async fn step(
    attachment: &Rc<Attachment>,
    command: &str,
    environment: &Environment,
    over: MonoTime,
) {
    let (name, now) = (attachment.config().name.clone(), attachment.clock().now());
    let say = move |line: &str| tracing::info!("{name}: shutdown: {line}");
    let ending = command::run(&Run::new(command, now), environment, over.since(now), say).await;
    match ending {
        // The others on this host end in their own time.
        Ending::Done => tokio::time::sleep_until(attachment.clock().instant(over)).await,
        Ending::Failed(how) => {
            attachment.proclaim("shutdown_failed", format!("`{command}` {how}"), false);
        }
    }
}

/// Best effort: only root may, and not in every container.
fn tell_kernel(event: &Event) {
    const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let log = OpenOptions::new().write(true).custom_flags(NONBLOCK).open(KERNEL_LOG);
    // One line a write, as critical; the sentence has no line ends.
    let told = log.and_then(|mut log| log.write_all(format!("<2>lull: {event}\n").as_bytes()));
    if let Err(error) = told {
        tracing::debug!("{KERNEL_LOG}: {error}");
    }
}

fn keep((file, event, fresh): &Note) {
    let mut open = OpenOptions::new();
    open.create(true).write(true).append(!fresh).truncate(*fresh);
    let log = open.open(file);
    let line = serde_json::to_string(event).unwrap_or_default() + "\n";
    let kept = log.and_then(|mut log| {
        log.write_all(line.as_bytes())?;
        log.sync_all()
    });
    if let Err(error) = kept {
        tracing::warn!("{}: {error}", file.display());
    }
}
