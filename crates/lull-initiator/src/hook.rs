//! The command that an attachment's policy runs [TIMER-1].
//!
//! It is run with `/bin/sh -c`, without input, its output goes to the daemon's, and this is in its environment:
//!
//! | variable | value |
//! | --- | --- |
//! | `LULL_NODE` | name of this node |
//! | `LULL_ATTACHMENT` | name of the attachment |
//! | `LULL_RESOURCE` | name of the resource at its target |
//! | `LULL_TARGET` | where the target is dialled |
//! | `LULL_TIMER` | `restart` or `resume`: which timer ended |
//! | `LULL_AWAY_MS` | for how long nothing has been shared, in milliseconds |
//!
//! Nobody waits for it: requests stay held while it runs, and the target's return ends the hold whatever it does.

use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use lull_proto::initiator::Timer;
use tokio::process::Command;

use crate::attachment::Attachment;

/// Runs it beside everything else.
pub fn run(attachment: &Rc<Attachment>, command: &str, timer: Timer, away: Duration) {
    let config = attachment.config();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null());
    shell.env("LULL_NODE", attachment.node());
    shell.env("LULL_ATTACHMENT", &config.name);
    shell.env("LULL_RESOURCE", &config.uri.resource);
    shell.env("LULL_TARGET", config.target().to_string());
    shell.env("LULL_AWAY_MS", away.as_millis().to_string());
    shell.env(
        "LULL_TIMER",
        match timer {
            Timer::Restart => "restart",
            Timer::Resume => "resume",
        },
    );
    let attachment = Rc::clone(attachment);
    tokio::task::spawn_local(async move {
        let (what, text) = match shell.status().await {
            Ok(status) if status.success() => ("hook_done", "the hook has ended".to_owned()),
            Ok(status) => ("hook_failed", format!("the hook ended with {status}")),
            Err(error) => ("hook_failed", format!("the hook could not be run: {error}")),
        };
        attachment.tell(what, text);
    });
}
