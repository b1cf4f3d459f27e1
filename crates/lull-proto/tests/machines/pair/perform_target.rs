//! What the target's machine wants done, done.

use super::{Frame, LATENCY, Later, Pair, Seen};
use lull_proto::ConnId;
use lull_proto::target::{Action, Change, Ended, Event, Refusal, Row, RowState};
use lull_wire::messages::{Prose, Refused, Reply};
use lull_wire::{Epoch, Tenure};

impl Pair {
    pub fn tell_target(&mut self, event: Event) {
        if self.target_frozen && matches!(event, Event::Accepted { .. }) {
            // It hears of it when it runs again; the connection stands meanwhile.
            let Event::Accepted { conn } = event else { return };
            self.backlog.push_front(Later::Connect { wire: conn.0 as usize });
            return;
        }
        let Some(target) = &mut self.target else { return };
        let mut actions = Vec::new();
        if let Event::Received { conn, .. } = event {
            target.heard(conn);
        }
        target.handle(self.now, event, &mut actions);
        for action in actions {
            self.perform_target(action);
        }
    }

    fn perform_target(&mut self, action: Action) {
        match action {
            Action::Send { conn, message } => self.send_to_node(conn, Frame::Message(message)),
            Action::Refuse { conn, refusal } => {
                self.send_to_node(conn, Frame::Message(refused(&refusal).into()));
                self.hang_up_target(conn);
            }
            Action::Open { conn, resource, read_only, version: _, share } => {
                self.lanes.open(conn, resource, read_only, share.is_some())
            }
            Action::Close { conn } => {
                if self.lanes.close(conn) {
                    self.after(LATENCY, Later::Drained { life: self.life, conn });
                }
            }
            Action::HangUp { conn } => self.hang_up_target(conn),
            Action::Record { ticket, change } => {
                if matches!(change, Change::Clean(_)) {
                    let rows = self.target.as_ref().expect("it runs").rows(self.now);
                    let complete = |row: &Row| match row.state {
                        RowState::Complete(proof) => proof.is_clean(),
                        RowState::Sharing | RowState::Draining(_) | RowState::Lost { .. } => false,
                    };
                    let clean = rows.iter().filter(|row| complete(row));
                    self.store.clean = clean.map(|row| row.entry.attachment).collect();
                }
                self.store.pending.insert(ticket, change);
                self.after(self.store.delay, Later::Commit { life: self.life, ticket });
            }
            Action::Renew { resource } => {
                assert!(!self.lanes.is_used(resource), "a life begins while the last one is used");
                self.lanes.failed.remove(&resource);
                self.trace.push(Seen::Renewed(resource.0));
            }
            Action::StartWriteBack => self.trace.push(Seen::StartWriteBack),
            Action::MakeDurable { restart } => {
                self.trace.push(Seen::MakeDurable);
                let (life, ok) = (self.life, self.store.durable);
                self.after(self.store.flush, Later::Durable { life, restart, ok });
            }
            Action::GiveBack { .. } => unreachable!("no resource here lies on another's"),
            Action::StopAccepting => {
                self.accepting = false;
                self.trace.push(Seen::StopAccepting);
            }
            Action::Down { restart } => {
                assert!(
                    self.lanes.lanes.values().all(|lane| lane.closed && lane.running.is_empty()),
                    "it goes with requests under way"
                );
                let tickets: Vec<_> = self.store.pending.keys().copied().collect();
                tickets.into_iter().for_each(|ticket| {
                    self.store.commit(ticket);
                });
                self.vanish();
                if let Some(downtime) = self.downtime {
                    self.after(downtime, Later::Start { from: restart });
                }
            }
            Action::Report(report) => self.reports.push(report),
        }
    }

    fn send_to_node(&mut self, conn: ConnId, frame: Frame) {
        let wire = conn.0 as usize;
        if self.wires[wire].at_target {
            self.trace.push(Seen::Down(self.wires[wire].node, frame.kind()));
            self.send_down(wire, frame);
        }
    }

    fn hang_up_target(&mut self, conn: ConnId) {
        let wire = conn.0 as usize;
        if core::mem::take(&mut self.wires[wire].at_target) && !self.wires[wire].severed {
            let when = self.wires[wire].down_due.max(self.now + LATENCY);
            self.at(when, Later::LostAtNode { wire });
        }
    }

    /// Disk and store have done what they were asked for.
    pub(super) fn finish_work(&mut self, later: Later) {
        match later {
            Later::Execute { conn, at, .. } => {
                if self.lanes.loses(conn, at) {
                    return self.write_back_fails(conn, at);
                }
                let Some((request, status, data)) = self.lanes.execute(conn, at) else { return };
                let lane = &self.lanes.lanes[&conn];
                let (place, muted) = (lane.resource, lane.muted);
                let target = self.target.as_ref().expect("this life runs");
                let incarnation = target.resources()[place.0].incarnation;
                let reply = Reply { number: request.number, status, incarnation };
                if !muted {
                    self.send_to_node(conn, Frame::Reply(reply, data));
                }
                if self.lanes.ran_dry(conn) {
                    self.tell_target(Event::Drained { conn });
                }
            }
            Later::Drained { conn, .. } => self.tell_target(Event::Drained { conn }),
            Later::Commit { ticket, .. } => {
                if let Some((change, ok)) = self.store.commit(ticket) {
                    if ok {
                        self.trace.push(Seen::Committed(change));
                    }
                    self.tell_target(Event::Recorded { ticket, ok });
                }
            }
            Later::Durable { restart, ok, .. } => {
                if ok {
                    self.lanes.make_durable();
                }
                self.tell_target(Event::Durable { restart, ok });
            }
            Later::Connect { .. }
            | Later::ToTarget { .. }
            | Later::ToNode { .. }
            | Later::LostAtTarget { .. }
            | Later::LostAtNode { .. }
            | Later::Connected { .. }
            | Later::Start { .. } => unreachable!("not work of the target's"),
        }
    }

    /// [SAFE-4] A flush fails, and what it should have covered is gone: nobody is answered.
    fn write_back_fails(&mut self, conn: ConnId, at: u64) {
        let resource = self.lanes.lose(conn, at);
        self.tell_target(Event::LifeEnded { resource, why: Ended::WriteBack });
        if self.lanes.ran_dry(conn) {
            self.tell_target(Event::Drained { conn });
        }
    }

    /// Whether this was committed before that.
    pub fn committed_before(&self, change: &Change, then: &Seen) -> bool {
        let first = self.trace.iter().position(|seen| *seen == Seen::Committed(change.clone()));
        let then = self.trace.iter().position(|seen| seen == then);
        matches!((first, then), (Some(first), Some(then)) if first < then)
    }
}

/// A refusal as the daemon says it.
pub fn refused(refusal: &Refusal) -> Refused {
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
        | Refusal::NotReplayed { .. }
        | Refusal::WriteBackFailed { .. }
        | Refusal::Cycle { .. }
        | Refusal::NotReached { .. }
        | Refusal::FencedAbove { .. }
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
