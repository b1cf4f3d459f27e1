//! What a target's machine wants done, done: models `perform.rs` of `lull-target`.

use super::lane::{Lane, Owner, Running};
use crate::canary::Canary;
use crate::state_dir::Asked;
use crate::world::World;
use crate::world::queue::Happening;
use crate::world::wire::{Frame, Payload};
use lull_proto::ConnId;
use lull_proto::target::{Action, Change, Event, Refusal, Ticket};
use lull_wire::messages::{Prose, Refused};
use lull_wire::{Epoch, Kind, Message, OpCode, RequestNumber, RestartId, Tenure};

impl World {
    pub(super) fn perform_target(&mut self, at: usize, action: Action) {
        match action {
            Action::Send { conn, message } => self.send_from_target(at, conn, message),
            Action::Refuse { conn, refusal } => {
                self.send_from_target(at, conn, refused(&refusal).into());
                self.hang_up_target(at, conn);
            }
            Action::Open { conn, resource, read_only, version, share } => {
                self.judge_opens(at, conn, resource.0, read_only);
                let lane = Lane::new(resource.0, read_only, version, share);
                if let Some(daemon) = &mut self.targets[at].daemon {
                    daemon.lanes.insert(conn, lane);
                    if let Some(share) = share {
                        let ledger = &mut daemon.ledgers[resource.0];
                        ledger.open(share.attachment, share.instance, share.lowest);
                    }
                }
                self.go_on(at, resource.0);
            }
            Action::Renew { resource } => self.renew(at, resource.0),
            Action::Close { conn } => self.close_lane(at, conn),
            Action::HangUp { conn } => self.hang_up_target(at, conn),
            Action::Record { ticket, change } => self.record(at, ticket, change),
            Action::StartWriteBack => {
                for disk in &mut self.targets[at].disks {
                    disk.write_back(&mut self.chance);
                }
            }
            Action::MakeDurable { restart } => self.make_durable(at, restart),
            Action::GiveBack { resource, on } => self.give_back(at, resource.0, on),
            Action::StopAccepting => {
                if let Some(daemon) = &mut self.targets[at].daemon {
                    daemon.accepts = false;
                }
                self.dismiss_clients(at);
            }
            Action::Down { restart } => self.go_down(at, restart),
            Action::Report(report) => self.judge_target_reports(at, &report),
        }
    }

    fn send_from_target(&mut self, at: usize, conn: ConnId, message: Message) {
        let wire = conn.0 as usize;
        self.judge_target_sends(at, conn, &message);
        let attachment = self.wires[wire].attachment;
        self.note(|| format!("target-{at} ▶ node-{attachment} {}", words(&message)));
        let kind = message.kind();
        let swallowed = kind == Kind::Hold && self.sings(Canary::NoHold);
        if self.wires[wire].at_target && !swallowed {
            self.send_down(wire, Frame::Message(message));
        }
        self.ambush(crate::fault::Watch::Down(kind), attachment);
    }

    fn hang_up_target(&mut self, at: usize, conn: ConnId) {
        self.close_at_target(conn.0 as usize);
        if let Some(daemon) = &mut self.targets[at].daemon
            && daemon.machine.session(conn).is_none()
        {
            daemon.claims.remove(&conn);
            daemon.lanes.retain(|other, lane| *other != conn || lane.under_way > 0);
        }
    }

    /// A resource begins a new life: whoever is without an agent has been cut off.
    fn renew(&mut self, at: usize, resource: usize) {
        if let Some(daemon) = &mut self.targets[at].daemon {
            daemon.gates[resource].failed = false;
            daemon.ended.remove(&resource);
        }
        self.targets[at].disks[resource].dropped = false;
        self.targets[at].since = self.now;
        self.judge_renewed(at, resource);
    }

    fn close_lane(&mut self, at: usize, conn: ConnId) {
        let fenced = !self.sings(Canary::NoFence);
        self.drop_parked(at, conn);
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let drained = match daemon.lanes.get_mut(&conn) {
            Some(lane) => {
                lane.closing = true;
                lane.under_way == 0 || !fenced
            }
            None => true,
        };
        if drained {
            daemon.inputs.push_back(Event::Drained { conn });
        }
    }

    fn record(&mut self, at: usize, ticket: Ticket, change: Change) {
        self.note(|| format!("target-{at} records {change:?}"));
        let forgotten = match &change {
            Change::Intent(_) => self.sings(Canary::NoIntent),
            Change::Clean(_) => self.sings(Canary::NoCleanRecord),
            Change::Owner(..) => self.sings(Canary::NoOwnerRecord),
            Change::Gone(_) | Change::Missed(..) | Change::Incarnation(..) | Change::Revoked(_) => {
                false
            }
        };
        if forgotten {
            if let Some(daemon) = &mut self.targets[at].daemon {
                daemon.inputs.push_back(Event::Recorded { ticket, ok: true });
            }
            return;
        }
        if self.targets[at].state.ask(Asked::Change(ticket, change)) {
            self.begin_commit(at);
        }
    }

    pub(super) fn begin_commit(&mut self, at: usize) {
        let (life, longest) = (self.targets[at].life, self.targets[at].commit);
        let span = self.chance.scattered(longest);
        self.after(span, Happening::Committed { target: at, life });
    }

    pub(crate) fn committed(&mut self, at: usize) {
        let life = self.targets[at].life;
        for (asked, ok) in self.targets[at].state.commit(life) {
            match asked {
                Asked::Change(ticket, change) => {
                    if ok {
                        self.judge_committed(at, &change);
                        self.forget_sharers(at, &change);
                    }
                    self.tell_target(at, Event::Recorded { ticket, ok });
                }
                Asked::Outcomes(attachment, outcomes) => {
                    self.outcomes_stored(at, attachment, &outcomes, ok);
                }
            }
        }
        if self.targets[at].lives(life) && self.targets[at].state.begin() {
            self.begin_commit(at);
        }
    }

    fn make_durable(&mut self, at: usize, restart: RestartId) {
        let count = self.targets[at].disks.len();
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        if self.canary == Some(Canary::NoMakeDurable) {
            daemon.inputs.push_back(Event::Durable { restart, ok: true });
            return;
        }
        daemon.durable.insert(restart, (count, true));
        for resource in 0..count {
            let running = Running {
                owner: Owner::Target,
                number: RequestNumber(restart.0),
                op: OpCode::Flush,
                first: 0,
                count: 0,
                fua: false,
                payload: Payload { request: 0, content: 0 },
                resource,
                from: None,
                through: false,
                data: Vec::new(),
            };
            self.begin_op(at, running);
        }
    }

    /// One of the backends is flushed, or cannot be.
    pub(crate) fn backend_durable(&mut self, at: usize, restart: RestartId, good: bool) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some((left, ok)) = daemon.durable.get_mut(&restart) else { return };
        *left -= 1;
        *ok &= good;
        if *left == 0 {
            let ok = *ok;
            daemon.durable.remove(&restart);
            // It may be called from within a turn.
            self.tell_target(at, Event::Durable { restart, ok });
        }
    }
}

/// A message in a trace.
pub fn words(message: &Message) -> String {
    let text = format!("{message:?}");
    let inner = text.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
    let short: String = inner.chars().take(300).collect();
    format!("{} {short}", message.kind())
}

/// A refusal as the daemon says it, without the words for people.
pub(crate) fn refused(refusal: &Refusal) -> Refused {
    let (retry, after) = refusal.disposition();
    let (epoch, tenure) = match refusal {
        Refusal::StaleEpoch { current } => (*current, Tenure(0)),
        Refusal::StaleTenure { current } | Refusal::Missed { current } => (Epoch(0), *current),
        Refusal::Version { .. }
        | Refusal::UnknownResource { .. }
        | Refusal::Identity { .. }
        | Refusal::AccessNotOffered { .. }
        | Refusal::Pausing
        | Refusal::OtherInstance { .. }
        | Refusal::Conflict { .. }
        | Refusal::Agentless { .. }
        | Refusal::NotRecorded
        | Refusal::Cycle { .. }
        | Refusal::NotReached { .. }
        | Refusal::FencedAbove { .. }
        | Refusal::NotReplayed { .. }
        | Refusal::WriteBackFailed { .. }
        | Refusal::Limit { .. } => (Epoch(0), Tenure(0)),
    };
    Refused {
        code: refusal.code(),
        retry,
        retry_after_ms: after.as_millis() as u32,
        epoch,
        tenure,
        detail: Prose::default(),
    }
}
