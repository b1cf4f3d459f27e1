//! A host that goes down: its initiators pause before it stops anything, so that they do not depend on the order in which
//! it does. Until it ends this process all of that can be taken back.

use crate::chronicle::plain;
use crate::daemon::{Core, Daemon, Input, Plan};
use crate::life::{SIZES_VARIABLE, STATE_VARIABLE};
use lull_admin::{ApiError, Delay, ErrorCode, HostWatch, OutcomeKind, Reason, RestartKind};
use lull_proto::MonoTime;
use lull_proto::target::{self, Holder, OnTimeout, Order, Phase, Purpose};
use lull_transport::Origin;
use lull_transport::handover::VARIABLE;
use lull_wire::RestartId;
use lull_wire::messages::Prose;
use rustix::process::{Pid, Signal, kill_process_group};
use std::rc::Rc;
use std::time::Duration;

/// What initiators are told to expect of a host that never restarted before while this target looked.
pub const FIRST_DOWNTIME: Duration = Duration::from_secs(60);
/// How long everybody stays paused for a host that has said that it goes down. It may stop others first that need these
/// disks for it, virtual machines for instance: those go on then, and pause again when this process is ended.
const SAID: Duration = Duration::from_secs(30);
/// How long for one that was ordered to.
const ORDERED: Duration = Duration::from_secs(120);

/// How far the host is on its way down.
pub struct Descent {
    /// It has said that it goes.
    goes: bool,
    /// How long it is expected to be away.
    pub downtime: Duration,
    /// What brings it down, once everybody is paused for that.
    command: Option<String>,
    /// What was run for that.
    sent: Option<Sent>,
    /// The restart in which everybody was paused for that before: a timer runs.
    quiet_in: u64,
    delay: Delay,
}

/// The command that brings the host down.
struct Sent {
    /// The restart for which it was run.
    restart: u64,
    command: String,
    /// Its group, while it runs.
    running: Option<Pid>,
}

/// Watches the host, which is asked to wait for a pause; must be called within a runtime.
pub fn watch(node: &str) -> HostWatch {
    let who = format!("lull target {node}");
    let why = "initiators pause before anything is stopped";
    HostWatch::start(Some(Reason { who, why }), |trouble| match std::env::var_os("NOTIFY_SOCKET") {
        Some(_) => tracing::info!("{trouble}"),
        // In a container, or a program's own target, that is as it should be.
        None => tracing::debug!("{trouble}"),
    })
}

impl Descent {
    pub fn new(downtime: Option<Duration>, delay: Delay) -> Self {
        let downtime = downtime.unwrap_or(FIRST_DOWNTIME);
        Self { goes: false, downtime, command: None, sent: None, quiet_in: 0, delay }
    }

    /// What a planned end of this process is then: kind, reason, expected downtime.
    pub fn end(&self) -> (RestartKind, &'static str, Duration) {
        match self.goes {
            true => (RestartKind::Host, "this host goes down", self.downtime),
            false => (RestartKind::Stop, "the target was told to end", Duration::ZERO),
        }
    }
}

impl Daemon {
    /// The host has said that it goes down, or that it stays.
    pub(crate) fn host_says(self: &Rc<Self>, goes: bool) {
        let now = self.clock.now();
        let input = {
            let mut core = self.core.borrow_mut();
            core.descent.goes = goes;
            let (node, what, text) = match goes {
                true => (self.config.node.clone(), "host_goes", "this host goes down"),
                false => (self.config.node.clone(), "host_stays", "this host stays up after all"),
            };
            core.chronicle.tell(now, &node, what, text);
            match goes {
                true => self.pause_early(&mut core, now),
                false => self.unpause(&mut core, OutcomeKind::Aborted, text),
            }
        };
        if let Some(input) = input {
            self.input(input);
        }
    }

    /// The pause for a host that is about to stop everything, while it still waits.
    fn pause_early(&self, core: &mut Core, now: MonoTime) -> Option<Input> {
        let here = self.on_this_host(core);
        if core.stage(now).is_some() || core.machine.seats().next().is_none() || !here.is_empty() {
            if !here.is_empty() {
                let text = format!("{} on this host may need its disk until then", here.join(", "));
                let node = self.config.node.clone();
                core.chronicle.tell(now, &node, "no_early_pause", text);
            }
            core.descent.delay.end();
            return None;
        }
        let (kind, reason, downtime) = core.descent.end();
        let id = core.next_restart();
        core.chronicle.begin(now, id, kind, reason, &core.machine, &self.resource_names());
        core.plan = Plan::Stop;
        Some(Input::Order(Order {
            id: RestartId(id),
            purpose: Purpose::Hold,
            reason: Prose::clipped(reason),
            downtime,
            span: self.config.pause_timeout,
            // Nobody is there to ask, and the end of this process ends the waiting.
            on_timeout: OnTimeout::Wait,
            unstoppable: false,
        }))
    }

    /// Everybody who was paused for the host goes on, unless this process is to end all the same.
    fn unpause(&self, core: &mut Core, outcome: OutcomeKind, why: &str) -> Option<Input> {
        let is_host = core.chronicle.current().is_some_and(|now| now.kind == RestartKind::Host);
        let restart = core.machine.phase().restart()?;
        if !is_host || restart.order.unstoppable {
            return None;
        }
        core.chronicle.comes_to(outcome, why.to_owned());
        Some(Input::Decide(target::Decision::Abort))
    }

    /// Whether an operator may have the host restarted with everybody paused before.
    pub(crate) fn host_restart(&self, core: &mut Core) -> Result<(), ApiError> {
        let here = self.on_this_host(core);
        if here.is_empty() {
            core.descent.command = Some(self.config.reboot_command.clone());
            return Ok(());
        }
        let whom = here.join(", ");
        Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "this host uses disks of its own target ({whom}); what uses them is stopped first, which nothing can \
                 be while they are paused"
            ),
            "systemctl reboot, which stops it in its turn; initiators elsewhere pause when this target is stopped",
        ))
    }

    /// All are paused: the host may go, or is sent.
    pub(crate) fn quiet(self: &Rc<Self>, core: &mut Core) {
        let Some(record) = core.chronicle.current().filter(|now| now.kind == RestartKind::Host)
        else {
            return;
        };
        let (id, daemon) = (record.id, Rc::clone(self));
        // Somebody may have come back, and have paused anew.
        if std::mem::replace(&mut core.descent.quiet_in, id) == id {
            return;
        }
        let command = core.descent.command.take();
        core.descent.delay.end();
        tokio::task::spawn_local(async move {
            let limit = if command.is_some() { ORDERED } else { SAID };
            let run = async {
                match command {
                    Some(command) => daemon.send_down(id, command).await,
                    None => Ok(()),
                }
            };
            let late = tokio::time::sleep(limit);
            let why = match tokio::time::timeout(limit, run).await {
                Ok(Err(why)) => why,
                Ok(Ok(())) | Err(_) => {
                    late.await;
                    format!("the host has not ended this target within {} s", limit.as_secs())
                }
            };
            daemon.not_gone(id, &why);
        });
    }

    /// The host is still up.
    fn not_gone(self: &Rc<Self>, id: u64, why: &str) {
        let input = {
            let mut core = self.core.borrow_mut();
            let waits =
                matches!(core.machine.phase(), Phase::Quiet { restart } if restart.id.0 == id);
            let failed = OutcomeKind::Failed;
            if waits { self.unpause(&mut core, failed, why) } else { None }
        };
        if let Some(input) = input {
            self.input(input);
        }
    }

    /// The initiators that are connected from this host.
    fn on_this_host(&self, core: &Core) -> Vec<String> {
        let here = core.machine.seats().filter(|seat| match seat.holder {
            Holder::Taken(conn) => {
                core.connections.get(&conn).is_some_and(|link| link.origin == Origin::Here)
            }
            Holder::Lost => false,
        });
        let mut names: Vec<_> =
            here.map(|seat| plain(seat.entry.node.as_str()).into_owned()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Runs what brings the host down; the sentence where that fails.
    async fn send_down(&self, restart: u64, command: String) -> Result<(), String> {
        tracing::info!("running: {command}");
        let mut shell = tokio::process::Command::new("/bin/sh");
        shell.arg("-c").arg(&command).env_remove(VARIABLE);
        shell.env_remove(STATE_VARIABLE).env_remove(SIZES_VARIABLE);
        let failed = |why: String| Err(format!("the host was not restarted: {command}: {why}"));
        let mut shell = match shell.process_group(0).spawn() {
            Ok(shell) => shell,
            Err(error) => return failed(error.to_string()),
        };
        let group = shell.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let sent = Sent { restart, command: command.clone(), running: group };
        self.core.borrow_mut().descent.sent = Some(sent);
        let ended = shell.wait().await;
        // In the same turn in which its number became free.
        if let Some(sent) = &mut self.core.borrow_mut().descent.sent {
            sent.running = None;
        }
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => failed(status.to_string()),
            Err(error) => failed(error.to_string()),
        }
    }

    /// What was run to bring the host down, in a restart that is given up, is ended where it has not ended itself; what
    /// becomes of it, as a sentence. Not everything that it does can be taken back.
    pub(crate) fn call_back(&self, core: &mut Core) -> Option<String> {
        let restart = core.machine.phase().restart()?.id.0;
        let Sent { command, running, .. } =
            core.descent.sent.take_if(|sent| sent.restart == restart)?;
        let text = match running {
            Some(group) => {
                // Whoever is gone is as good as ended.
                let _ = kill_process_group(group, Signal::TERM);
                format!(
                    "`{command}`, which was to restart this host, was ended before it was done: see whether the host stays"
                )
            }
            None => format!(
                "this host was told to restart by `{command}`, which nothing here takes back: it goes down all the same"
            ),
        };
        core.chronicle.tell(self.clock.now(), &self.config.node, "reboot_command", &*text);
        Some(text)
    }
}
