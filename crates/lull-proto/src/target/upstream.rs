//! Resources that lie on another target's: who uses one is told to hold while that target is away.
//!
//! ```text
//!  not attached yet ──▶ Standing ◀──────────────────────▶ Away
//!    HOLD to who asks     ATTACHED to who asked            HOLD to everybody, renewed; who asks waits
//!                         RESUME to who holds
//! ```
//!
//! A new incarnation up there is a new life here, see [`super::life`].

use super::{Action, Actions, Holder, Refusal, Report, Resource, ResourceIndex, Seat, Target};
use crate::geometry::Geometry;
use crate::target::session::{Claim, Session, SessionState};
use crate::time::millis;
use crate::{ConnId, MonoTime, Never, Upstream};
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::{self, PATH_LIMIT, Path, Prose, Resized, Resume};
use lull_wire::{ResourceId, RestartId, Text};

/// How often HOLD is said again.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// The least span that HOLD names: whoever holds bears the loss of some renewals.
const LEAST_SPAN: Duration = Duration::from_secs(30);

/// Why, since when and until when those who use a resource hold [TIMER-5].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    /// What the node at the end of the path does.
    pub reason: Prose,
    /// The nodes from this one to the one that is waited for.
    pub path: Path,
    /// Since when.
    pub since: MonoTime,
    /// When it may be over, as far as anybody has said.
    pub until: MonoTime,
    /// Why it never will be, by itself.
    pub never: Option<Never>,
    pub(super) renew_at: MonoTime,
}

/// The target above one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Upper {
    /// It has stood in this life of the daemon.
    pub(super) known: bool,
    pub(super) hold: Option<Hold>,
}

impl Upper {
    /// Of a resource at the start; `None` where it lies on a medium of this machine.
    pub fn of(now: MonoTime, resource: &Resource) -> Option<Self> {
        let hold = Hold {
            reason: Prose::clipped("has not been reached yet"),
            path: resource.path.clone(),
            since: now,
            until: now,
            never: None,
            renew_at: now + RENEW_EVERY,
        };
        resource.chained.then_some(Self { known: false, hold: Some(hold) })
    }
}

impl Target {
    /// [CHAIN-1] Who uses the resource is told when it has to hold and when that is over.
    pub(super) fn upstream(
        &mut self,
        now: MonoTime,
        resource: ResourceIndex,
        told: Upstream,
        actions: &mut Actions,
    ) {
        if self.uppers.get(resource.0).is_none_or(Option::is_none) {
            return;
        }
        match told {
            Upstream::Away { reason, span, path, never } => {
                let (path, ends) = self.path_above(resource, &path);
                let never = if ends { never } else { Some(Never::Circle) };
                self.held(now, resource, (reason, span, path, never), actions);
            }
            Upstream::Standing { path, identity, geometry } => {
                let (path, ends) = self.path_above(resource, &path);
                if ends {
                    self.stands(now, resource, (path, identity, geometry), actions);
                } else {
                    let reason = Prose::clipped("leads back to where it began");
                    let told = (reason, Duration::ZERO, path, Some(Never::Circle));
                    self.held(now, resource, told, actions);
                }
            }
        }
    }

    /// [CHAIN-3] The whole way from here; and whether it has an end: who is on it twice, or finds it longer than a path
    /// may be, goes round in a circle.
    fn path_above(&self, resource: ResourceIndex, above: &Path) -> (Path, bool) {
        let name = &self.resources[resource.0].name;
        let own = Text::clipped(&format!("{}/{}", self.config.node, name));
        let above = above.as_slice();
        let ends = !above.contains(&own) && above.len() < PATH_LIMIT;
        let all = core::iter::once(&own).chain(above).take(PATH_LIMIT).cloned().collect();
        (Path::new(all).unwrap_or_default(), ends)
    }

    fn held(
        &mut self,
        now: MonoTime,
        resource: ResourceIndex,
        (reason, span, path, never): (Prose, Duration, Path, Option<Never>),
        actions: &mut Actions,
    ) {
        let Some(upper) = &mut self.uppers[resource.0] else { return };
        let until = now + span;
        if let Some(hold) = &mut upper.hold
            && (&hold.reason, &hold.path, hold.never) == (&reason, &path, never)
        {
            hold.until = until;
            return;
        }
        let since = upper.hold.as_ref().map_or(now, |hold| hold.since);
        let renew_at = now + RENEW_EVERY;
        let (said, way) = (reason.clone(), path.clone());
        upper.hold = Some(Hold { reason, path, since, until, never, renew_at });
        let report = match never {
            Some(Never::Fenced) => Report::FencedAbove { resource, reason: said, path: way },
            Some(Never::Circle) | None => Report::Holding { resource, reason: said, path: way },
        };
        actions.push(Action::Report(report));
        self.say_hold(now, resource, actions);
        self.refuse_waiting(resource, actions);
        // Who waits for it to come in is not waited for.
        self.check_complete(now, actions);
    }

    fn stands(
        &mut self,
        now: MonoTime,
        resource: ResourceIndex,
        (path, identity, geometry): (Path, ResourceId, Geometry),
        actions: &mut Actions,
    ) {
        let Some(upper) = &mut self.uppers[resource.0] else { return };
        let shared = &mut self.resources[resource.0];
        let grew = upper.known && geometry.size > shared.geometry.size;
        (shared.path, shared.identity, shared.geometry) = (path, identity, geometry);
        upper.known = true;
        let over = upper.hold.take();
        for (conn, session) in sessions_of(&mut self.sessions, &self.roster, resource) {
            if !is_attached(&session.state) {
                continue;
            }
            if grew {
                let message = Resized { size: geometry.size }.into();
                actions.push(Action::Send { conn, message });
            }
            // Before READY there is nothing that could be resumed: RESUME follows that.
            if core::mem::take(&mut session.held) && session.ready {
                let message = Resume { restart: RestartId(0) }.into();
                actions.push(Action::Send { conn, message });
            }
        }
        if let Some(hold) = over {
            let lasted = now.since(hold.since);
            actions.push(Action::Report(Report::HoldOver { resource, lasted }));
            self.fenced(now, actions);
        }
    }

    /// HOLD to everybody on a resource who does not take his leave. Where nothing ends it, who is on it is about to hear
    /// that its life has ended, and who comes is refused.
    fn say_hold(&mut self, now: MonoTime, resource: ResourceIndex, actions: &mut Actions) {
        let Some(message) = self.hold_message(now, resource) else { return };
        for (conn, session) in sessions_of(&mut self.sessions, &self.roster, resource) {
            session.held = true;
            actions.push(Action::Send { conn, message: message.clone().into() });
        }
    }

    /// HOLD to one session, where its resource is held.
    pub(super) fn say_hold_to(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let Some(resource) = resource_of(session, &self.roster) else { return };
        let Some(message) = self.hold_message(now, resource) else { return };
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.held = true;
            actions.push(Action::Send { conn, message: message.into() });
        }
    }

    fn hold_message(&self, now: MonoTime, resource: ResourceIndex) -> Option<messages::Hold> {
        let hold = self.hold(resource).filter(|hold| hold.never != Some(Never::Fenced))?;
        let span = hold.until.since(now).max(LEAST_SPAN);
        let (path, reason) = (hold.path.clone(), hold.reason.clone());
        Some(messages::Hold { span_ms: millis(span), path, reason })
    }

    /// When HOLD is due again.
    pub(super) fn hold_at(&self) -> Option<MonoTime> {
        let held = self.uppers.iter().flatten().filter_map(|upper| upper.hold.as_ref());
        held.map(|hold| hold.renew_at).min()
    }

    pub(super) fn renew_holds(&mut self, now: MonoTime, actions: &mut Actions) {
        for place in 0..self.uppers.len() {
            let hold = self.uppers[place].as_mut().and_then(|upper| upper.hold.as_mut());
            if let Some(hold) = hold.filter(|hold| hold.renew_at <= now) {
                hold.renew_at = now + RENEW_EVERY;
                self.say_hold(now, ResourceIndex(place), actions);
            }
        }
    }

    /// Why requests to a resource wait for another target, and for which; `None` where they do not.
    pub fn hold(&self, resource: ResourceIndex) -> Option<&Hold> {
        self.uppers.get(resource.0)?.as_ref()?.hold.as_ref()
    }

    /// [CHAIN-3] A circle would wait for itself for ever. [SAFE-5] Who was fenced does not come back by itself.
    pub(super) fn check_above(&self, resource: ResourceIndex) -> Result<(), Refusal> {
        let Some(Hold { never: Some(never), path, reason, .. }) = self.hold(resource) else {
            return Ok(());
        };
        let (resource, path) = (self.resources[resource.0].name.clone(), path.clone());
        Err(match never {
            Never::Circle => Refusal::Cycle { resource, path },
            Never::Fenced => Refusal::FencedAbove { resource, path, reason: reason.clone() },
        })
    }

    /// Nobody knows what a resource is whose target has not been reached.
    pub(super) fn check_known(&self, resource: ResourceIndex) -> Result<(), Refusal> {
        self.check_above(resource)?;
        match &self.uppers[resource.0] {
            Some(Upper { known: false, hold: Some(hold) }) => Err(Refusal::NotReached {
                resource: self.resources[resource.0].name.clone(),
                path: hold.path.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Nobody waits for what never comes.
    pub(super) fn refuse_waiting(&mut self, resource: ResourceIndex, actions: &mut Actions) {
        let Err(refusal) = self.check_above(resource) else { return };
        let waits = |session: &Session| matches!(&session.state, SessionState::Fencing { claim } if claim.entry.resource == resource);
        let waiting: Vec<ConnId> = self
            .sessions
            .iter()
            .filter(|(_, session)| waits(session))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in waiting {
            self.refuse(conn, refusal.clone(), actions);
        }
    }

    /// Whether nothing keeps this claim from being granted but the target above. A pause does not wait for such a one:
    /// nothing of it is under way here, and it could not be let in to say that it is quiet [CHAIN-1].
    pub(super) fn waits_above(&self, claim: &Claim) -> bool {
        self.hold(claim.entry.resource).is_some()
    }

    /// Whether a lost one waits for the target above to be let in, or cannot be let in because of it.
    pub(super) fn is_held_off(&self, seat: &Seat) -> bool {
        if seat.holder == Holder::Lost && self.check_above(seat.entry.resource).is_err() {
            return true;
        }
        let of_seat = |claim: &Claim| claim.entry.attachment == seat.entry.attachment;
        seat.holder == Holder::Lost
            && self.sessions.values().any(|session| {
                matches!(&session.state, SessionState::Fencing { claim }
                    if of_seat(claim) && self.waits_above(claim))
            })
    }

    /// [CHAIN-1] What cannot be passed on is kept, unless this target is about to go itself.
    pub(super) fn give_back(&self, on: bool, actions: &mut Actions) {
        for (place, upper) in self.uppers.iter().enumerate() {
            if upper.is_some() {
                actions.push(Action::GiveBack { resource: ResourceIndex(place), on });
            }
        }
    }
}

/// The sessions on a resource that hear of its target above.
fn sessions_of<'a>(
    sessions: &'a mut alloc::collections::BTreeMap<ConnId, Session>,
    roster: &'a alloc::collections::BTreeMap<lull_wire::AttachmentId, Seat>,
    resource: ResourceIndex,
) -> impl Iterator<Item = (ConnId, &'a mut Session)> {
    let mine = move |session: &Session| resource_of(session, roster) == Some(resource);
    sessions.iter_mut().filter(move |(_, session)| mine(session)).map(|(&conn, one)| (conn, one))
}

/// What a session asks for or has; `None` for one that takes its leave.
fn resource_of(
    session: &Session,
    roster: &alloc::collections::BTreeMap<lull_wire::AttachmentId, Seat>,
) -> Option<ResourceIndex> {
    match &session.state {
        SessionState::Accepted { .. }
        | SessionState::Greeted { .. }
        | SessionState::Closing { .. }
        | SessionState::Detaching { .. } => None,
        SessionState::Fencing { claim } | SessionState::Recording { claim, .. } => {
            Some(claim.entry.resource)
        }
        SessionState::Arriving { attachment }
        | SessionState::Ready { attachment, .. }
        | SessionState::Sharing { attachment }
        | SessionState::Asked { attachment, .. }
        | SessionState::Complete { attachment, .. } => {
            roster.get(attachment).map(|seat| seat.entry.resource)
        }
    }
}

/// Whether ATTACHED was said on it, and nothing since that ends it.
fn is_attached(state: &SessionState) -> bool {
    match state {
        SessionState::Arriving { .. }
        | SessionState::Ready { .. }
        | SessionState::Sharing { .. }
        | SessionState::Asked { .. }
        | SessionState::Complete { .. } => true,
        SessionState::Accepted { .. }
        | SessionState::Greeted { .. }
        | SessionState::Fencing { .. }
        | SessionState::Recording { .. }
        | SessionState::Closing { .. }
        | SessionState::Detaching { .. } => false,
    }
}
