//! HOLD: the target lies on another one, which is away. Nothing new is sent, nothing fails, and no timer ends
//! [CHAIN-1]. And the same as a target says it on, whose medium this attachment is.

use super::{Action, Actions, End, Initiator, Link, PAUSE_MARGIN, Report, Retain, State, Why};
use crate::initiator::state::Probe;
use crate::time::span;
use crate::{MonoTime, Never, Upstream};
use alloc::format;
use core::time::Duration;
use lull_wire::RefusalCode;
use lull_wire::messages::{self, Path, Prose};

/// Whom the target waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Since when.
    pub since: MonoTime,
    /// How long it may last, as it was said last.
    pub until: MonoTime,
    /// What the node at the end of the path does, for people: as in "waits for NODE, which …".
    pub reason: Prose,
    /// The nodes from the target to the one that is waited for.
    pub path: Path,
}

impl Held {
    /// When it is taken for a loss that nobody says it again.
    pub(super) fn silent_at(&self) -> MonoTime {
        self.until + PAUSE_MARGIN
    }
}

impl Initiator {
    /// [CHAIN-1] Legal at any time after WELCOME, and said again while it lasts.
    pub(super) fn told_to_hold(
        &mut self,
        now: MonoTime,
        told: messages::Hold,
        actions: &mut Actions,
    ) {
        let lasts = span(told.span_ms);
        let until = now + lasts;
        if let State::Attaching { outage, resume, .. }
        | State::Replaying { outage, resume, .. }
        | State::Ready { outage, resume, .. } = &mut self.state
        {
            // The timers stop while somebody further up is waited for.
            resume.by = resume.by.max(until);
            resume.probe = Probe::NotYet;
            outage.held(until);
        }
        let Some(link) = self.link_mut() else { return };
        let news = link
            .held
            .as_ref()
            .is_none_or(|held| (&held.reason, &held.path) != (&told.reason, &told.path));
        let since = link.held.as_ref().map_or(now, |held| held.since);
        let held = Held { since, until, reason: told.reason, path: told.path };
        link.held = Some(held.clone());
        self.requests.hold_back(true);
        if news {
            actions.push(Action::Report(Report::Holding { span: lasts, held }));
        }
    }

    /// RESUME, where requests flow: what was not executed meanwhile is sent again, then what was held.
    pub(super) fn hold_over(&mut self, now: MonoTime, actions: &mut Actions) {
        self.end_hold(now, actions);
        let (State::Sharing { link } | State::Leaving { link, .. }) = &self.state else { return };
        let conn = link.conn;
        // [CHAIN-1] What could not be passed on can be now.
        self.requests.flush_may_be_tried();
        self.requests.send_again(conn, actions);
        self.requests.send_held(now, conn, actions);
        self.leave(now, actions);
    }

    /// The target says, or shows, that nobody is waited for any more.
    pub(super) fn end_hold(&mut self, now: MonoTime, actions: &mut Actions) {
        let longest = self.requests.longest_wait(now);
        self.requests.hold_back(false);
        if let Some(held) = self.link_mut().and_then(|link| link.held.take()) {
            let lasted = now.since(held.since);
            actions.push(Action::Report(Report::HoldOver { lasted, longest }));
        }
    }

    /// Whether the target holds, since it waits for another one.
    pub fn is_held_above(&self) -> bool {
        self.link().is_some_and(|link| link.held.is_some())
    }

    /// Whether what is asked goes out at once.
    pub(super) fn passes_on(&self) -> bool {
        matches!(&self.state, State::Sharing { link: Link { held: None, .. } })
    }

    /// The nodes that the resource leads through, as far as they are known, the target first [CHAIN-3].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the target stands, for the target whose medium this attachment is ([`Retain::Elsewhere`]); `None` until
    /// it has begun. To be told to that one whenever it is another than before; the span alone may be left out.
    pub fn upstream(&self, now: MonoTime) -> Option<Upstream> {
        debug_assert!(self.config.retain == Retain::Elsewhere, "nothing lies on this one");
        let away = |reason: &str, until: Option<MonoTime>, path: &Path| Upstream::Away {
            reason: Prose::clipped(reason),
            span: until.map_or(Duration::ZERO, |until| until.since(now)),
            path: path.clone(),
            never: match &self.state {
                State::Leaving { .. } | State::Ended(_) => Some(Never::Fenced),
                State::Idle
                | State::Away { .. }
                | State::Dialling { .. }
                | State::Attaching { .. }
                | State::Replaying { .. }
                | State::Ready { .. }
                | State::Sharing { .. }
                | State::Draining { .. }
                | State::Flushing { .. }
                | State::Paused { .. } => {
                    let code = self.refusal.as_ref().map(|refusing| refusing.code);
                    (code == Some(RefusalCode::Cycle)).then_some(Never::Circle)
                }
            },
        };
        let held = |held: &Held| away(held.reason.as_str(), Some(held.until), &held.path);
        if let Some(pause) = self.pause() {
            let reason = match pause.reason.as_str() {
                "" => "pauses for a restart".into(),
                why => format!("pauses for a restart: {why}"),
            };
            return Some(away(&reason, Some(pause.until), &self.path));
        }
        // [TIMER-5] Who refuses is asked again and again, which changes nothing about it.
        let refuses = self.refusal.as_ref().map(|refusing| match refusing.detail.as_str() {
            "" => format!("refuses this node: {}", refusing.code),
            detail => format!("refuses this node: {detail}"),
        });
        let attaching = |link: &Link| match (&link.held, &refuses) {
            (Some(above), _) => held(above),
            (None, Some(refuses)) => away(refuses, None, &self.path),
            (None, None) => away("is being attached", None, &self.path),
        };
        Some(match &self.state {
            State::Idle => return None,
            State::Sharing { link: Link { held: Some(above), .. } } => held(above),
            // [SAFE-5] Whoever asked that may have lost its place since: nobody is let in beside it.
            State::Sharing { .. } if self.requests.are_late() => {
                away("finishes what was asked before", None, &self.path)
            }
            State::Sharing { .. } => Upstream::Standing {
                path: self.path.clone(),
                identity: self.memory.identity,
                geometry: self.promised?,
            },
            State::Away { outage, .. } | State::Dialling { outage, .. } => {
                let reason = refuses.as_deref().unwrap_or_else(|| absence(outage.why));
                away(reason, outage.back_by.or(outage.deadline), &self.path)
            }
            State::Attaching { link, .. }
            | State::Replaying { link, .. }
            | State::Ready { link, .. } => attaching(link),
            State::Draining { .. } | State::Flushing { .. } | State::Paused { .. } => {
                unreachable!("a pause was looked for first")
            }
            State::Leaving { .. } | State::Ended(End::Detached | End::Left | End::Refused) => {
                away("was left by this node", None, &self.path)
            }
            State::Ended(End::Fenced) => {
                let why = match self.refusal.as_ref().map(|refusing| refusing.code) {
                    Some(RefusalCode::StaleTenure) => "has let another writer in since",
                    Some(RefusalCode::OtherInstance) => "has let another instance of this node in",
                    Some(_) | None => "has evicted this node, or let another instance of it in",
                };
                away(why, None, &self.path)
            }
        })
    }
}

fn absence(why: Why) -> &'static str {
    match why {
        Why::First => "has not been reached yet",
        Why::Restart(_) => "restarts",
        Why::Lost | Why::Successor => "cannot be reached",
        Why::WriteBack => "begins anew after a failed write-back",
        Why::Faulted => "fails",
        Why::Shutdown => "was shut down",
    }
}
