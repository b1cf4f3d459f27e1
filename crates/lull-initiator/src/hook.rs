//! The command that an attachment's policy runs [TIMER-1]: with `hook:CMD` beside the hold, with `shutdown` before
//! the shutdown's own command.
//!
//! It is run with `/bin/sh -c`, in a process group of its own and without input. What it prints is in the daemon's
//! log and, its last lines, in the status. When its time is up it is killed with all of its group. This is in its
//! environment, and in that of the shutdown's commands:
//!
//! | variable | value |
//! | --- | --- |
//! | `LULL_NODE` | name of this node |
//! | `LULL_ATTACHMENT` | name of the attachment |
//! | `LULL_RESOURCE` | name of the resource at its target |
//! | `LULL_TARGET` | where the target is dialled |
//! | `LULL_POLICY` | `hook` or `shutdown` |
//! | `LULL_TIMER` | `restart` or `resume`: which timer ended |
//! | `LULL_AWAY_MS` | for how long nothing has been shared, in milliseconds |
//! | `LULL_WHY` | why nothing is shared, as a sentence |
//!
//! The target's return does not end it: what it has begun it may finish within its time.

use std::rc::Rc;
use std::time::Duration;

use lull_proto::MonoTime;
use lull_proto::initiator::Timer;

use crate::attachment::{Attachment, Core};
use crate::command::{self, Ending, Run};
use crate::config::Policy;
use crate::wording;

/// What a policy's commands find in their environment.
pub type Environment = Vec<(&'static str, String)>;

/// The environment of this outage.
pub fn environment(
    attachment: &Attachment,
    core: &Core,
    now: MonoTime,
    timer: Timer,
) -> Environment {
    let (config, outage) = (attachment.config(), core.machine.view(now).outage);
    let away = outage.as_ref().map_or(Duration::ZERO, |outage| now.since(outage.since));
    let why = outage.map(|outage| wording::why(outage.why, &core.told)).unwrap_or_default();
    let timer = match timer {
        Timer::Restart => "restart",
        Timer::Resume => "resume",
    };
    let policy = match config.policy {
        Policy::Shutdown { .. } => "shutdown",
        Policy::Wait | Policy::Error | Policy::Hook(_) => "hook",
    };
    vec![
        ("LULL_NODE", attachment.node().to_owned()),
        ("LULL_ATTACHMENT", config.name.clone()),
        ("LULL_RESOURCE", config.uri.resource.clone()),
        ("LULL_TARGET", config.target().to_string()),
        ("LULL_POLICY", policy.to_owned()),
        ("LULL_TIMER", timer.to_owned()),
        ("LULL_AWAY_MS", away.as_millis().to_string()),
        ("LULL_WHY", why),
    ]
}

/// Runs it; ends when it has ended, or its time is up.
pub async fn run(attachment: Rc<Attachment>, run: Rc<std::cell::RefCell<Run>>, of: Environment) {
    let name = attachment.config().name.clone();
    let say = move |line: &str| tracing::info!("{name}: hook: {line}");
    let ending = command::run(&run, &of, attachment.config().hook_limit, say).await;
    let (what, text) = match &ending {
        Ending::Done => ("hook_done", "the hook has ended".to_owned()),
        Ending::Failed(how) => ("hook_failed", format!("the hook {how}")),
    };
    run.borrow_mut().ended = Some((attachment.clock().now(), ending));
    attachment.tell(what, text);
}
