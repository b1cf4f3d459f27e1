//! This host goes down. Whoever is stopped before this daemon, file systems above all, may need a disk for that whose target
//! is away: it is waited for some time, and then what is held is answered with errors, so that the host comes to its end.

use std::time::Duration;

use lull_admin::HostWatch;
use lull_proto::MonoTime;

use crate::attachment::Attachment;
use crate::daemon::{Daemon, LAST_CALL};
use crate::error::RunError;
use crate::wording::span;

/// A host on its way down.
#[derive(Debug)]
pub(crate) struct Descent {
    since: MonoTime,
    /// Attachments that are not waited for any more, by name, and since when.
    given_up: Vec<(String, MonoTime)>,
}

/// Watches the host, which is not asked to wait; must be called within a runtime.
pub(crate) fn watch() -> HostWatch {
    HostWatch::start(None, |trouble| match std::env::var_os("NOTIFY_SOCKET") {
        Some(_) => tracing::info!("{trouble}"),
        // In a container, or a program's own initiator, that is as it should be.
        None => tracing::debug!("{trouble}"),
    })
}

impl Daemon {
    /// The host has said that it goes down, or that it stays.
    pub(crate) fn host_says(&mut self, goes: bool) {
        let (what, text) = if goes {
            let most = span(self.going_down_timeout);
            (
                "host_goes",
                format!("this host goes down: a target that is away is waited for {most} at most"),
            )
        } else {
            ("host_stays", "this host stays up after all".to_owned())
        };
        self.chronicle.record(&self.node, what, text, None);
        let since = self.clock.now();
        self.descent = goes.then(|| Descent { since, given_up: Vec::new() });
    }

    /// Where this host goes down: ends the attachments whose consumers have waited for long enough.
    pub(crate) fn let_host_go(&mut self) -> Result<(), RunError> {
        let now = self.clock.now();
        let Some(descent) = &mut self.descent else { return Ok(()) };
        let mut late = Vec::new();
        for attachment in &self.attachments {
            let name = &attachment.config().name;
            match descent.given_up.iter().find(|(given_up, _)| given_up == name) {
                Some((_, since)) if now.since(*since) >= LAST_CALL && !attachment.has_ended() => {
                    late.push(name.clone());
                }
                Some(_) => {}
                None => {
                    let waited = attachment.waits(now);
                    if waited.min(now.since(descent.since)) >= self.going_down_timeout {
                        let text = format!(
                            "this host goes down, and has waited for {}: what is held is answered with errors",
                            span(waited)
                        );
                        self.chronicle.warn(name, "given_up", text);
                        descent.given_up.push((name.clone(), now));
                        attachment.detach(true);
                    }
                }
            }
        }
        self.cut_off(|one| late.contains(&one.config().name))
    }
}

impl Attachment {
    /// For how long its consumers wait already, or would if they asked.
    fn waits(&self, now: MonoTime) -> Duration {
        let view = self.core.borrow().machine.view(now);
        let away = view.outage.as_ref();
        if away.is_some_and(|outage| outage.is_failing()) {
            return Duration::ZERO;
        }
        let away = away.map(|outage| now.since(outage.since));
        let held = view.held_by.map(|held| now.since(held.since));
        view.oldest.max(away.unwrap_or_default()).max(held.unwrap_or_default())
    }
}
