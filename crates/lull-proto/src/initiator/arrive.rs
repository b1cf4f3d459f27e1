//! From nothing to sharing, whatever came before: one road for the first attach, a restart, a loss and a crash.

use super::{
    Action, Actions, DIAL_LIMIT, Dial, End, Initiator, Interruption, Link, Marks, Outage, Pause,
    Report, Resume, State, Step, Why,
};
use crate::beat::Beat;
use crate::geometry::Geometry;
use crate::initiator::refusing::Refusing;
use crate::initiator::shutdown::cancel as cancel_shutdown;
use crate::initiator::state::Probe;
use crate::initiator::{Again, Intent, Memory};
use crate::time::{micros, millis};
use crate::{ConnId, MonoTime, Violation};
use alloc::{format, vec};
use core::time::Duration;
use lull_wire::messages::{
    Attach, Attached, Connect, Disconnect, Hello, Path, Prose, Stall, Welcome,
};
use lull_wire::{
    DisconnectCode, Epoch, InstanceId, OLDEST_VERSION, RefusalCode, RestartId, Text, VERSION,
};

/// How long a place is tried to be given back of which it is not known whether it is still kept.
const LEAVE_LIMIT: Duration = Duration::from_secs(4);

impl Initiator {
    pub(super) fn begin(&mut self, now: MonoTime, actions: &mut Actions) {
        if matches!(self.state, State::Idle) {
            let first =
                || Outage::new(now, Why::First, Duration::ZERO, Duration::ZERO, Marks::default());
            let outage = self.before.take().unwrap_or_else(first);
            self.dial(now, outage, actions);
        }
    }

    /// [CONN-1] The initiator dials.
    pub(super) fn dial(&mut self, now: MonoTime, outage: Outage, actions: &mut Actions) {
        self.dial_instead_of(None, now, outage, actions);
    }

    fn dial_instead_of(
        &mut self,
        instead_of: Option<MonoTime>,
        now: MonoTime,
        mut outage: Outage,
        actions: &mut Actions,
    ) {
        self.conns += 1;
        outage.attempts += 1;
        let conn = ConnId(self.conns);
        let dial = Dial { conn, limit: now + DIAL_LIMIT, step: Step::Connecting, instead_of };
        self.state = State::Dialling { outage, dial };
        actions.push(Action::Dial { conn });
    }

    pub(super) fn dialled(&mut self, conn: ConnId, actions: &mut Actions) {
        let hello = Hello {
            min_version: OLDEST_VERSION,
            max_version: VERSION,
            instance: self.config.instance,
            node: self.config.node.clone(),
            software: self.config.software.clone(),
            callback: self.config.callback.clone(),
        };
        match &mut self.state {
            State::Dialling { dial, .. } if dial.conn == conn && dial.step == Step::Connecting => {
                dial.step = Step::Greeted;
                actions.push(Action::Send { conn, message: hello.into() });
            }
            // A dial that was given up meanwhile.
            State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Leaving { .. }
            | State::Ended(_) => actions.push(Action::HangUp { conn }),
        }
    }

    pub(super) fn dial_failed(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        if matches!(&self.state, State::Dialling { dial, .. } if dial.conn == conn) {
            // Who cannot be reached refuses nothing.
            self.refusal = None;
            self.give_up_dial(now, None, actions);
        }
    }

    /// The dial, or the ATTACH after it, came to nothing: wait, then try again. If it was begun after the end of the
    /// restart timer, the policy runs [TIMER-6].
    pub(super) fn give_up_dial(
        &mut self,
        now: MonoTime,
        wait: Option<Duration>,
        actions: &mut Actions,
    ) {
        let Some(mut outage) = self.outage().cloned() else { return };
        let next = if let (None, Some(next)) = (wait, self.knocked_instead_of()) {
            // [CONN-1] Whoever knocked, nobody was there: the wait goes on as if nothing had been heard.
            outage.attempts -= 1;
            next
        } else {
            now + wait.unwrap_or_else(|| outage.backoff(now, self.roll()))
        };
        // [CONN-5] Nobody let it in for some seconds: the place stays reserved for its hold.
        if self.intent == Intent::LeaveOnceMore && next.since(outage.since) >= LEAVE_LIMIT {
            self.end(End::Left, actions);
            return;
        }
        self.state = State::Away { outage, next };
        self.expire(actions);
    }

    pub(super) fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Violation> {
        let State::Dialling { dial, .. } = &mut self.state else {
            return Err(Violation::OutOfPlace(lull_wire::Kind::Welcome));
        };
        if dial.step != Step::Greeted {
            return Err(Violation::OutOfPlace(lull_wire::Kind::Welcome));
        }
        let version = welcome.version;
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(Violation::Version(version));
        }
        let keep_alive = Duration::from_millis(welcome.keep_alive_ms.into());
        dial.step = Step::Welcomed { keep_alive, version };
        // [CHAIN-3] As far as it is known before ATTACHED says all of it.
        let node = Text::clipped(&format!("{}/{}", welcome.node, self.config.resource));
        if self.path.as_slice().first() != Some(&node) {
            self.path = Path::new(vec![node]).unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn connected(
        &mut self,
        now: MonoTime,
        connect: &Connect,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let (mut outage, dial) = match self.take() {
            State::Dialling { outage, dial } => (outage, dial),
            other => {
                self.state = other;
                return Err(Violation::OutOfPlace(lull_wire::Kind::Connect));
            }
        };
        let Step::Welcomed { keep_alive, version } = dial.step else {
            self.state = State::Dialling { outage, dial };
            return Err(Violation::OutOfPlace(lull_wire::Kind::Connect));
        };
        outage.marks.connected = Some(now);
        let conn = dial.conn;
        actions.push(Action::Report(Report::Connected { restart: connect.restart }));
        // The last number of all is refused for ever; it must not come to more than that.
        self.memory.epoch = Epoch(self.memory.epoch.0.saturating_add(1));
        let message = self.attach_message().into();
        actions.push(Action::Send { conn, message });
        let by =
            now + crate::time::span(connect.barrier_ms).saturating_add(self.config.resume_timeout);
        let beat = Beat::new(now, keep_alive);
        let link = Link { conn, beat, version, incarnation: self.memory.incarnation, held: None };
        self.state = State::Attaching { outage, link, resume: Resume { by, probe: Probe::NotYet } };
        Ok(())
    }

    fn attach_message(&self) -> Attach {
        Attach {
            attachment: self.config.attachment,
            resource: self.config.resource.clone(),
            identity: self.memory.identity,
            access: self.config.access,
            epoch: self.memory.epoch,
            predecessor: self.config.predecessors.first().copied().unwrap_or(InstanceId::NONE),
            take_over: self.config.take_over,
            dirty: self.requests.is_dirty(),
            hold_ms: millis(self.config.hold),
            incarnation: self.memory.incarnation,
            tenure: self.memory.tenure,
            lowest: self.requests.lowest(),
        }
    }

    pub(super) fn attached(
        &mut self,
        now: MonoTime,
        attached: &Attached,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let State::Attaching { link, .. } = &self.state else {
            return Err(Violation::OutOfPlace(lull_wire::Kind::Attached));
        };
        let (conn, version) = (link.conn, link.version);
        if attached.epoch != self.memory.epoch {
            return Err(Violation::Epoch);
        }
        let geometry = Geometry::of(attached).ok_or(Violation::Geometry)?;
        // [SAFE-8] What is held and unanswered is for the resource that was attached, not for one of its name.
        let known = self.memory.identity;
        let other = !known.is_none() && known != attached.identity;
        if other || self.promised.is_some_and(|promised| !geometry.keeps(&promised)) {
            let detail = Prose::clipped("its resource is another one than before, or can do less");
            let identity = RefusalCode::Identity;
            let refusing = Refusing::again(self.refusal.take(), identity, &detail, true);
            let wait = refusing.wait();
            self.refusal = Some(refusing);
            actions.push(Action::Report(Report::Unusable));
            actions.push(Action::HangUp { conn });
            self.give_up_dial(now, Some(wait), actions);
            return Ok(());
        }
        // [SAFE-5] An operator's word, and an inheritance, are good for one grant.
        self.config.take_over = false;
        self.config.predecessors.clear();
        let changed = self.memory.incarnation != attached.incarnation;
        self.memory = Memory {
            epoch: attached.epoch,
            identity: attached.identity,
            incarnation: attached.incarnation,
            tenure: attached.tenure,
        };
        actions.push(Action::Remember(self.memory));
        actions.push(Action::Report(Report::Attached {
            epoch: attached.epoch,
            incarnation: attached.incarnation,
            changed,
        }));
        if let Some(changed) = self.requests.learn_loss(attached.incarnation) {
            actions.push(Action::Report(Report::LogMissing { changed }));
        }
        self.promise(geometry, actions);
        self.requests.offered(version, geometry.features);
        self.path = attached.path.clone();
        self.refusal = None;
        let State::Attaching { outage, mut link, resume } = self.take() else { return Ok(()) };
        link.incarnation = attached.incarnation;
        link.held = None;
        self.bring_up(now, outage, link, resume, actions);
        Ok(())
    }

    /// What consumers are told: at first all of it, later only growth [CONN-7].
    fn promise(&mut self, geometry: Geometry, actions: &mut Actions) {
        match &mut self.promised {
            None => {
                self.promised = Some(geometry);
                actions.push(Action::Open(geometry));
            }
            Some(promised) if geometry.size > promised.size => {
                promised.size = geometry.size;
                actions.push(Action::Resize(geometry.size));
            }
            Some(_) => {}
        }
    }

    pub(super) fn resized(&mut self, size: u64, actions: &mut Actions) -> Result<(), Violation> {
        let out_of_place = Violation::OutOfPlace(lull_wire::Kind::Resized);
        if matches!(self.state, State::Dialling { .. } | State::Attaching { .. }) {
            return Err(out_of_place);
        }
        let promised = self.promised.ok_or(out_of_place)?;
        if size < promised.size || !size.is_multiple_of(u64::from(promised.block)) {
            return Err(Violation::Geometry);
        }
        self.promise(Geometry { size, ..promised }, actions);
        Ok(())
    }

    pub(super) fn resumed(
        &mut self,
        now: MonoTime,
        restart: RestartId,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        match self.take() {
            State::Ready { outage, link, again, .. } if self.is_noted => {
                self.share(now, link, outage, again, restart, actions)
            }
            // [PAUSE-6] The restart was aborted; [PAUSE-11] of another one this says nothing.
            State::Draining { link, pause }
            | State::Flushing { link, pause }
            | State::Paused { link, pause }
                if pause.restart == restart =>
            {
                self.unpause(now, link, pause, actions);
            }
            State::Replaying { outage, link, mut resume, replay, pause: Some(pause) }
                if pause.restart == restart =>
            {
                // [PAUSE-11] Of this restart: it is ready when the replay is done, as if nobody had asked for a pause.
                resume.by = resume.by.max(now + self.config.resume_timeout);
                self.state = State::Replaying { outage, link, resume, replay, pause: None };
                self.replay_again(now, actions);
            }
            state @ (State::Sharing { .. } | State::Leaving { .. }) => {
                self.state = state;
                self.hold_over(now, actions);
            }
            // In a pause it ends a HOLD and nothing else.
            state @ (State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Replaying { pause: Some(_), .. }) => {
                self.state = state;
                self.end_hold(now, actions);
            }
            state @ (State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Replaying { pause: None, .. }
            | State::Ready { .. }
            | State::Ended(_)) => {
                self.state = state;
                return Err(Violation::OutOfPlace(lull_wire::Kind::Resume));
            }
        }
        Ok(())
    }

    /// The outage is over: first what is unanswered, in its order, then what was held.
    pub(super) fn share(
        &mut self,
        now: MonoTime,
        link: Link,
        outage: Outage,
        again: Again,
        restart: RestartId,
        actions: &mut Actions,
    ) {
        let longest = outage.waited.max(self.requests.longest_wait(now));
        let held = self.requests.held();
        let conn = link.conn;
        self.state = State::Sharing { link };
        self.end_hold(now, actions);
        // [PAUSE-7] Nothing that was asked meanwhile is lost or fails.
        let later = self.requests.send_again(conn, actions);
        self.requests.send_held(now, conn, actions);
        let again =
            Again { requests: again.requests + later.requests, bytes: again.bytes + later.bytes };
        if outage.may_be_cancelled() {
            cancel_shutdown(actions);
        }
        let marks = outage.marks;
        if outage.why != Why::First {
            let (gone, connected) =
                (marks.gone.unwrap_or(outage.since), marks.connected.unwrap_or(now));
            let message = Stall {
                restart,
                longest_us: micros(longest),
                held,
                away_us: micros(connected.since(gone)),
                resume_us: micros(now.since(connected)),
            };
            actions.push(Action::Send { conn, message: message.into() });
        }
        let report = Interruption { why: outage.why, marks, resumed: now, longest, held, again };
        actions.push(Action::Report(Report::Sharing(report)));
        self.leave(now, actions);
    }

    /// [CONN-2] A loss is a DISCONNECT without a reason; after PAUSE it counts as announced.
    pub(super) fn lost(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        if self.conn() != Some(conn) {
            return;
        }
        match &self.state {
            State::Dialling { .. } => {
                self.refusal = None;
                self.give_up_dial(now, None, actions);
            }
            State::Attaching { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Leaving { .. } => {
                let (why, downtime) = self.pause().map_or((Why::Lost, Duration::ZERO), |pause| {
                    (Why::Restart(pause.restart), pause.downtime)
                });
                self.go_away(now, why, downtime, actions);
            }
            State::Idle | State::Away { .. } | State::Ended(_) => {}
        }
    }

    pub(super) fn disconnected(&mut self, now: MonoTime, told: &Disconnect, actions: &mut Actions) {
        let Some(conn) = self.conn() else { return };
        let other = |pause: &Pause| told.restart != RestartId(0) && told.restart != pause.restart;
        if told.code == DisconnectCode::Restart && self.pause().is_some_and(other) {
            return; // [PAUSE-11]
        }
        let why = match told.code {
            DisconnectCode::Restart => Why::Restart(told.restart),
            DisconnectCode::WriteBackFailed => Why::WriteBack,
            DisconnectCode::Shutdown => Why::Shutdown,
            DisconnectCode::Unknown(_) => Why::Lost,
            // [SAFE-5] Who was fenced does not come back by itself.
            DisconnectCode::TakenOver | DisconnectCode::Evicted => {
                self.end(End::Fenced, actions);
                return;
            }
        };
        actions.push(Action::HangUp { conn });
        if matches!(self.state, State::Dialling { .. }) {
            self.give_up_dial(now, None, actions);
        } else {
            self.go_away(now, why, Duration::from_millis(told.downtime_ms), actions);
        }
    }

    /// The session is gone. An outage that had not ended goes on with its timer; the first dial follows at once,
    /// since a successor may have the listening socket already.
    pub(super) fn go_away(
        &mut self,
        now: MonoTime,
        why: Why,
        downtime: Duration,
        actions: &mut Actions,
    ) {
        if self.intent == Intent::LeaveOnceMore {
            self.end(End::Left, actions);
            return;
        }
        // [CONN-5] The target may have let it in, or may not have let it go: it is asked once more.
        let leaving = self.intent == Intent::Leave && self.has_nothing_to_lose();
        if leaving {
            self.intent = Intent::LeaveOnceMore;
        }
        let in_flight = self.requests.in_flight();
        self.requests.lost();
        let timeout = self.config.restart_timeout;
        let pause_marks = self.pause().map(|pause| pause.marks).unwrap_or_default();
        // [TIMER-4] What was announced by PAUSE has the time of a restart, whatever went before.
        let span = if self.pause().is_some() { timeout } else { Duration::ZERO };
        let held = self.link().and_then(|link| link.held.as_ref()).map(|held| held.until);
        // Whom it is asked for waits no longer than some seconds from now, whatever went before.
        let outage = match self.outage().filter(|_| !leaving) {
            Some(before) => {
                let mut outage = before.clone();
                if outage.announced(now, span, downtime) {
                    cancel_shutdown(actions);
                }
                outage
            }
            None => {
                let marks = Marks { gone: Some(now), ..pause_marks };
                let mut outage = Outage::new(now, why, downtime, timeout, marks);
                outage.held(held.unwrap_or(now));
                outage
            }
        };
        let deadline = outage.deadline;
        actions.push(Action::Report(Report::Away { why, deadline, in_flight, leaving }));
        if self.outage().is_some() {
            // It came and went before: not at once again, or a crashing target is dialled without a pause.
            let wait = outage.backoff(now, self.roll());
            let failing = outage.is_failing();
            self.state = State::Away { outage, next: now + wait };
            if failing {
                self.requests.fail_all(actions);
            }
            self.expire(actions);
        } else {
            self.dial(now, outage, actions);
        }
    }

    /// [CONN-1] [SEC-3] It may be anybody who knocks: what follows is a dial like any other, only sooner.
    pub(super) fn knocked(&mut self, now: MonoTime, actions: &mut Actions) {
        match self.take() {
            State::Away { outage, next } => {
                self.dial_instead_of(Some(next), now, outage, actions);
            }
            other => self.state = other,
        }
    }

    /// When the dial under way would have been begun, had no knock come.
    fn knocked_instead_of(&self) -> Option<MonoTime> {
        match &self.state {
            State::Dialling { dial, .. } => dial.instead_of,
            State::Idle
            | State::Away { .. }
            | State::Attaching { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Leaving { .. }
            | State::Ended(_) => None,
        }
    }
}
