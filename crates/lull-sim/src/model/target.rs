//! The target's daemon around its machine: models `perform.rs`, `lane.rs` and `life.rs` of `lull-target`. A request is
//! executed and replied to in one step; what was executed and not replied to is what dies on its way back.

use super::setup::Wish;
use super::state::{Daemon, Frame, Lane, Running, SECTOR, node_of, target_parts};
use super::turn::Turn;
use crate::canary::Canary;
use crate::state_dir::{Asked, Medium};
use crate::target::refused;
use lull_proto::ConnId;
use lull_proto::target::{
    Action, Change, Ended, Event, Report, ResourceIndex, RowState, SessionState, Target,
};
use lull_wire::messages::{Reply, Request};
use lull_wire::{DisconnectCode, Message, OpCode, RequestFlags, RestartId, StatusCode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

impl Turn<'_> {
    /// Gives the target's machine what happened and does what it wants done.
    pub fn tell_target(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        let mut actions = Vec::new();
        while let Some(event) = events.pop_front() {
            let Some(daemon) = &mut self.state.owner.daemon else { return };
            if let Event::Received { conn, .. } = event {
                daemon.machine.heard(conn);
            }
            daemon.machine.handle(self.now, event, &mut actions);
            for action in actions.drain(..) {
                self.perform_target(action, &mut events);
            }
        }
    }

    fn perform_target(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Send { conn, message } => self.send_down(conn, message),
            Action::Refuse { conn, refusal } => {
                self.send_down(conn, refused(&refusal).into());
                self.hang_up_target(conn);
            }
            Action::Open { conn, resource, .. } => self.open_lane(conn, resource.0),
            Action::Close { conn } => self.close_lane(conn, events),
            Action::HangUp { conn } => self.hang_up_target(conn),
            Action::Record { ticket, change } => {
                let forgotten =
                    self.sings(Canary::NoOwnerRecord) && matches!(change, Change::Owner(..));
                if forgotten {
                    events.push_back(Event::Recorded { ticket, ok: true });
                } else {
                    self.state.owner.store.ask(Asked::Change(ticket, change));
                }
            }
            Action::StartWriteBack | Action::GiveBack { .. } => {}
            Action::MakeDurable { restart } => {
                if self.sings(Canary::NoMakeDurable) {
                    events.push_back(Event::Durable { restart, ok: true });
                } else if let Some(daemon) = &mut self.state.owner.daemon {
                    daemon.settling = Some(restart);
                }
            }
            Action::StopAccepting => {
                if let Some(daemon) = &mut self.state.owner.daemon {
                    daemon.accepts = false;
                }
            }
            Action::Renew { resource } => {
                self.state.owner.media[resource.0].failed = false;
                if let Some(daemon) = &mut self.state.owner.daemon {
                    daemon.ended.remove(&resource.0);
                }
            }
            Action::Down { .. } => self.go_down(),
            Action::Report(Report::Violation { .. }) => {
                self.state.found("violation", "the target says that an initiator broke a rule");
            }
            Action::Report(_) => {}
        }
    }

    fn send_down(&mut self, conn: ConnId, message: Message) {
        self.judge_target_sends(conn, &message);
        if let Some(wire) = self.state.wires.iter_mut().find(|wire| wire.at_target == conn) {
            wire.send_down(Frame::Message(message));
        }
    }

    fn hang_up_target(&mut self, conn: ConnId) {
        if let Some(wire) = self.state.wires.iter_mut().find(|wire| wire.at_target == conn) {
            wire.close_at_target();
        }
        if let Some(daemon) = &mut self.state.owner.daemon
            && daemon.machine.session(conn).is_none()
        {
            daemon.lanes.retain(|other, lane| *other != conn || !lane.running.is_empty());
        }
    }

    fn open_lane(&mut self, conn: ConnId, resource: usize) {
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        let older = daemon.lanes.values_mut().filter(|lane| lane.resource == resource);
        let mut left = false;
        for lane in older {
            lane.stale = true;
            left |= lane.running.iter().any(|running| running.wish != Wish::Flush);
        }
        let running = Vec::new();
        let lane = Lane { resource, closing: false, muted: false, stale: false, running };
        daemon.lanes.insert(conn, lane);
        if left {
            self.state.found("SAFE-5", "somebody is let in while changes of another run");
        }
    }

    fn close_lane(&mut self, conn: ConnId, events: &mut VecDeque<Event>) {
        let fenced = !self.sings(Canary::NoFence);
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        let lane = daemon.lanes.get_mut(&conn);
        let drained = lane.is_none_or(|lane| {
            lane.closing = true;
            lane.running.is_empty() || !fenced
        });
        if drained {
            events.push_back(Event::Drained { conn });
        }
    }

    /// A request came.
    pub fn admit(&mut self, conn: ConnId, request: &Request, content: u8) {
        let fenced = !self.sings(Canary::NoFence);
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        daemon.machine.heard(conn);
        let Some(lane) = daemon.lanes.get_mut(&conn) else {
            self.state.found("SEC-4", "a request came before ATTACHED");
            return;
        };
        // [SAFE-5] It dies with its epoch.
        if lane.closing && fenced {
            return;
        }
        let sector = (request.offset as u32 / SECTOR as u32) as u8;
        let wish = match request.op {
            OpCode::Flush => Wish::Flush,
            _ if request.flags.has(RequestFlags::FUA) => Wish::Durable(sector),
            _ => Wish::Write(sector),
        };
        if lane.running.iter().any(|running| running.number == request.number) {
            self.state.found("SAFE-11", "a request has the number of another");
            return;
        }
        lane.running.push(Running { number: request.number, wish, content });
    }

    /// A request reaches the medium and is replied to; `fails`: its sync does.
    pub fn execute(&mut self, conn: ConnId, nth: usize, fails: bool) {
        self.judge_executes(conn, nth);
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        let Some(lane) = daemon.lanes.get_mut(&conn) else { return };
        let Running { number, wish, content } = lane.running.remove(nth);
        let resource = lane.resource;
        let medium = &mut self.state.owner.media[resource];
        let mut good = true;
        match wish {
            Wish::Write(sector) => medium.write(sector.into(), content),
            Wish::Durable(sector) => {
                medium.write(sector.into(), content);
                good = !medium.failed && !fails;
                if good {
                    medium.sync_one(sector.into());
                }
            }
            Wish::Flush => {
                good = !medium.failed && !fails;
                if good {
                    medium.sync();
                }
            }
        }
        let (muted, drained) = (lane.muted, lane.closing && lane.running.is_empty());
        if fails {
            self.sync_failed(resource);
        } else if !muted {
            let status = if good { StatusCode::Done } else { StatusCode::Io };
            self.reply(conn, resource, number, status);
        }
        if drained {
            self.tell_target(Event::Drained { conn });
        }
    }

    fn reply(
        &mut self,
        conn: ConnId,
        resource: usize,
        number: lull_wire::RequestNumber,
        status: StatusCode,
    ) {
        let Some(daemon) = &self.state.owner.daemon else { return };
        let incarnation = daemon.machine.resources()[resource].incarnation;
        let wire = self.state.wires.iter_mut().find(|wire| wire.at_target == conn);
        if let Some(wire) = wire.filter(|wire| wire.target_open) {
            wire.send_down(Frame::Reply(Reply { number, status, incarnation }));
        }
    }

    /// [SAFE-4] Nothing of the life that ended is answered.
    fn sync_failed(&mut self, resource: usize) {
        self.state.owner.media[resource].drop_dirty();
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        for lane in daemon.lanes.values_mut().filter(|lane| lane.resource == resource) {
            lane.muted = true;
        }
        if daemon.ended.insert(resource) {
            self.tell_target(Event::LifeEnded {
                resource: ResourceIndex(resource),
                why: Ended::WriteBack,
            });
        }
    }

    /// All backends are flushed; `fails`: the first of them cannot be.
    pub fn settled(&mut self, fails: bool) {
        let Some(daemon) = &mut self.state.owner.daemon else { return };
        let Some(restart) = daemon.settling.take() else { return };
        let mut ok = !fails;
        for medium in self.state.owner.media.iter_mut().skip(usize::from(fails)) {
            ok &= !medium.failed;
            if !medium.failed {
                medium.sync();
            }
        }
        self.tell_target(Event::Durable { restart, ok });
        if fails {
            self.sync_failed(0);
        }
    }

    /// The commit that runs ends.
    pub fn committed(&mut self, fails: bool) {
        let life = self.state.owner.life;
        self.state.owner.store.medium = if fails { Medium::Refuses } else { Medium::Takes };
        let done = self.state.owner.store.commit(life);
        self.state.owner.store.medium = Medium::Takes;
        for (asked, ok) in done {
            // Nobody shares in the model.
            let Asked::Change(ticket, change) = asked else { continue };
            if ok && matches!(change, Change::Clean(_)) {
                self.judge_clean();
            }
            self.tell_target(Event::Recorded { ticket, ok });
        }
        self.state.owner.store.begin();
    }

    /// A new life with what is on stable storage.
    pub fn start_target(&mut self) {
        let owner = &mut self.state.owner;
        owner.life += 1;
        for medium in &mut owner.media {
            medium.failed = false;
        }
        let (config, resources) = target_parts(self.setup, owner);
        owner.store.unfinished = None;
        let roster = owner.store.roster.values().cloned().collect();
        owner.daemon = Some(Daemon {
            machine: Target::new(self.now, config, resources, roster),
            lanes: BTreeMap::new(),
            accepts: true,
            settling: None,
            ended: BTreeSet::new(),
        });
    }

    /// Every session is told and closed: the process ends.
    fn go_down(&mut self) {
        let owner = &mut self.state.owner;
        owner.store.close(owner.life);
        let daemon = owner.daemon.take();
        if daemon.is_some_and(|one| one.lanes.values().any(|lane| !lane.running.is_empty())) {
            self.state.found("PAUSE-5", "the target goes while requests run");
        }
        for wire in &mut self.state.wires {
            wire.close_at_target();
        }
    }

    /// The process dies. `lucky`: a commit that ran came through; `lossy`: what was on its way to nodes is lost.
    pub fn kill_target(&mut self, lucky: bool, lossy: bool) {
        let owner = &mut self.state.owner;
        owner.daemon = None;
        owner.store.crash(owner.life, lucky);
        for wire in &mut self.state.wires {
            if lossy && wire.target_open {
                wire.down.clear();
            }
            wire.close_at_target();
        }
    }

    /// What a target says, beside what it has stored [PAUSE-5].
    fn judge_target_sends(&mut self, conn: ConnId, message: &Message) {
        let owner = &self.state.owner;
        let Some(daemon) = &owner.daemon else { return };
        let mine = |noted: Option<crate::state_dir::Noted>, restart| {
            noted.is_some_and(|noted| noted.life == owner.life && noted.restart == restart)
        };
        let restart = daemon.machine.phase().restart();
        let unstoppable = restart.is_some_and(|restart| restart.order.unstoppable);
        let wrong = match message {
            Message::Attached(attached) => {
                let wire = self.state.wires.iter().find(|wire| wire.at_target == conn);
                let entry = wire
                    .and_then(|one| owner.store.roster.get(&super::state::attachment(one.node)));
                entry.is_none_or(|entry| entry.epoch != attached.epoch)
            }
            Message::Pause(pause) => !unstoppable && !mine(owner.store.intent, pause.restart),
            Message::Disconnect(told) if told.code == DisconnectCode::Restart => {
                !unstoppable && !mine(owner.store.clean, told.restart)
            }
            Message::Resume(resume) => mine(owner.store.clean, resume.restart),
            _ => false,
        };
        if wrong {
            self.state.found("PAUSE-5", "something is said before it is stored so");
        }
    }

    fn judge_executes(&mut self, conn: ConnId, nth: usize) {
        let Some(daemon) = &self.state.owner.daemon else { return };
        let Some(lane) = daemon.lanes.get(&conn) else { return };
        let changes = lane.running[nth].wish != Wish::Flush;
        let stale = lane.stale && changes;
        let session = daemon.machine.session(conn);
        let complete = matches!(session, Some(SessionState::Complete { .. }));
        if stale {
            self.state.found("SAFE-5", "a change is executed after somebody else was let in");
        }
        if complete {
            self.state.found("PAUSE-3", "a request is executed after PAUSE COMPLETE");
        }
    }

    /// [PAUSE-5] Unless it proceeds without some, all are complete at the clean record, and nothing that they were told
    /// of is in a cache only.
    fn judge_clean(&mut self) {
        let Some(daemon) = &self.state.owner.daemon else { return };
        let rows = daemon.machine.rows(self.now);
        let late = |state| matches!(state, RowState::Draining(_) | RowState::Sharing);
        if rows.iter().any(|row| late(row.state)) {
            if self.setup.on_timeout != lull_proto::target::OnTimeout::Proceed {
                self.state.found("PAUSE-5", "a clean record without all who share");
            }
            return;
        }
        let told = rows.iter().any(|row| {
            let node = node_of(row.entry.attachment);
            let medium = &self.state.owner.media[row.entry.resource.0];
            matches!(row.state, RowState::Complete(_))
                && medium.sectors.iter().any(|sector| sector.stable < sector.told[node])
        });
        if told {
            self.state.found("PAUSE-5", "what was acknowledged is not durable at the clean record");
        }
    }
}

/// Whether a restart is under way that an operator may still give up.
pub fn may_be_aborted(daemon: &Daemon) -> Option<RestartId> {
    let phase = daemon.machine.phase();
    phase.restart().filter(|_| !phase.is_leaving()).map(|restart| restart.id)
}
