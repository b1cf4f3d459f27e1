//! What is seen of targets.

use crate::target::{Owner, Running};
use crate::world::World;
use lull_proto::ConnId;
use lull_proto::target::{
    Change, Decision, OnTimeout, Phase, Proof, QUESTION_SPAN, Report, RowState,
};
use lull_wire::{Access, DisconnectCode, Message, OpCode, StatusCode};
use std::time::Duration;

impl World {
    /// A request of an initiator is taken.
    pub(crate) fn judge_admitted(&mut self, at: usize, running: &Running) {
        let Some((attachment, _)) = running.from else { return };
        if self.attachments[attachment].watch.quiet {
            self.found("PAUSE-3", || {
                format!("target-{at} takes {running:?} after PAUSE COMPLETE of node-{attachment}")
            });
        }
    }

    /// A request reaches the medium.
    pub(crate) fn judge_executes(&mut self, at: usize, running: &Running) {
        let Some((attachment, epoch)) = running.from else { return };
        let id = self.attachments[attachment].config.attachment;
        let granted = self.judge.granted.get(&(at, id)).copied();
        if granted.is_some_and(|granted| granted > epoch) {
            self.found("SAFE-5", || {
                format!("target-{at} executes {running:?} after {granted:?} was granted")
            });
        }
        self.judge_admitted(at, running);
        self.judge_repeats(at, running);
    }

    /// A request is done there.
    pub(crate) fn judge_finished(&mut self, at: usize, running: &Running, status: StatusCode) {
        if status == StatusCode::Done {
            self.judge_executed(running);
        }
        if self.upper(at, running.resource).is_some() {
            let disk = self.medium(at, running.resource);
            let failed = disk.failed || disk.failed_before;
            if !failed && !matches!(status, StatusCode::Done | StatusCode::NotExecuted) {
                self.found("PAUSE-7", || {
                    format!("target-{at}: {running:?} fails with {status} above a good disk")
                });
            }
            return;
        }
        let disk = &self.targets[at].disks[running.resource];
        let durable = running.op == OpCode::Flush || running.fua;
        if status == StatusCode::Done && durable && disk.dropped {
            self.found("SAFE-4", || {
                format!("target-{at}: {running:?} succeeds after a failed write-back")
            });
        } else if status != StatusCode::Done && !disk.failed {
            self.found("PAUSE-7", || format!("target-{at}: {running:?} fails on a good disk"));
        }
    }

    /// Requests of a connection may be executed from now on.
    pub(crate) fn judge_opens(
        &mut self,
        at: usize,
        conn: ConnId,
        resource: usize,
        read_only: bool,
    ) {
        let Some(daemon) = &self.targets[at].daemon else { return };
        let Some(claim) = daemon.claims.get(&conn).copied() else { return };
        let id = self.attachments[claim.attachment].config.attachment;
        let mut wrong = None;
        for running in daemon.running.values() {
            match (running.owner, running.from) {
                (Owner::Lane(_), Some((other, epoch)))
                    if self.attachments[other].config.attachment == id && epoch < claim.epoch =>
                {
                    wrong = Some(("SAFE-5", running.clone()));
                }
                (Owner::Lane(_), Some((other, _)))
                    if !read_only
                        && running.resource == resource
                        && running.changes()
                        && self.attachments[other].config.attachment != id
                        && !self.goes_beside(other, claim.attachment) =>
                {
                    wrong = Some(("SAFE-9", running.clone()));
                }
                (Owner::Client(_), _)
                    if !read_only && running.resource == resource && running.changes() =>
                {
                    wrong = Some(("SAFE-9", running.clone()));
                }
                (Owner::Lane(_) | Owner::Client(_) | Owner::Target, _) => {}
            }
        }
        if let Some((rule, running)) = wrong {
            self.found(rule, || format!("target-{at} grants {claim:?} while {running:?} runs"));
        }
        self.judge.granted.insert((at, id), claim.epoch);
        // Whoever had the place before has it no more.
        for other in 0..self.attachments.len() {
            if other != claim.attachment && self.attachments[other].config.attachment == id {
                self.forsake(other);
            }
        }
        // Whatever older epochs left behind cannot happen any more.
        for other in 0..self.attachments.len() {
            if self.attachments[other].config.attachment == id {
                for request in std::mem::take(&mut self.attachments[other].watch.orphans) {
                    self.judge.settles(at, resource, request);
                }
            }
        }
    }

    /// A client without an agent is let in.
    pub(crate) fn judge_client_comes(&mut self, at: usize, resource: usize, read_only: bool) {
        let Some(daemon) = &self.targets[at].daemon else { return };
        let writer = daemon.running.values().find(|running| {
            matches!(running.owner, Owner::Lane(_))
                && running.resource == resource
                && running.changes()
        });
        if let (false, Some(running)) = (read_only, writer.cloned()) {
            self.found("SAFE-9", || {
                format!("target-{at} lets a client write while {running:?} runs")
            });
        }
    }

    /// Whether two attachments may write at the same time.
    fn goes_beside(&self, one: usize, other: usize) -> bool {
        let access = |at: usize| self.attachments[at].config.access;
        access(one).goes_beside(access(other))
    }

    /// What a target says.
    pub(crate) fn judge_target_sends(&mut self, at: usize, conn: ConnId, message: &Message) {
        self.judge_opened(at, conn, message);
        let host = &self.targets[at];
        let Some(daemon) = &host.daemon else { return };
        let mine = |noted: Option<crate::state_dir::Noted>, restart| {
            noted.is_some_and(|noted| noted.life == host.life && noted.restart == restart)
        };
        let unstoppable =
            daemon.machine.phase().restart().is_some_and(|restart| restart.order.unstoppable);
        let wrong = match message {
            Message::Attached(attached) => daemon.claims.get(&conn).is_none_or(|claim| {
                let id = self.attachments[claim.attachment].config.attachment;
                host.state.roster.get(&id).is_none_or(|entry| {
                    entry.epoch != attached.epoch || entry.instance != claim.instance
                })
            }),
            Message::Pause(pause) => !unstoppable && !mine(host.state.intent, pause.restart),
            Message::Disconnect(told) if told.code == DisconnectCode::Restart => {
                !unstoppable
                    && self.judge.left_out.get(&at) != Some(&told.restart)
                    && !mine(host.state.clean, told.restart)
            }
            Message::Resume(resume) => mine(host.state.clean, resume.restart),
            _ => false,
        };
        if wrong {
            self.found("PAUSE-5", || {
                format!("target-{at} says {message:?} before it is stored so")
            });
        }
    }

    /// RESUME lets a sharer go on: what it and the others had to send again is executed, or given up.
    fn judge_opened(&mut self, at: usize, conn: ConnId, message: &Message) {
        let daemon = self.targets[at].daemon.as_ref();
        let claim = daemon.and_then(|daemon| daemon.claims.get(&conn));
        let node = claim.map(|claim| &self.attachments[claim.attachment]);
        let node = node.filter(|node| node.config.access == Access::Shared);
        if let (Message::Resume(_), Some(node)) = (message, node) {
            let resource = node.resource;
            self.judge.disks[at][resource].crowd.opened = true;
            self.judge_replayed(at, resource);
        }
    }

    /// A change of a target's state is on stable storage.
    pub(crate) fn judge_committed(&mut self, at: usize, change: &Change) {
        match change {
            Change::Clean(_) => self.judge_clean(at),
            Change::Owner(entry, _) => {
                let rivals = self.targets[at].state.roster.values().filter(|other| {
                    other.resource == entry.resource
                        && other.attachment != entry.attachment
                        && !other.access.goes_beside(entry.access)
                });
                let rivals = rivals.count();
                if rivals > 0 {
                    self.found("SAFE-9", || {
                        format!("{rivals} others on the roster beside {entry:?}")
                    });
                }
            }
            Change::Gone(_)
            | Change::Missed(..)
            | Change::Incarnation(..)
            | Change::Intent(_)
            | Change::Revoked(_) => {}
        }
    }

    /// [PAUSE-5] Where everybody is complete, nothing that was acknowledged is in a cache when the clean record is
    /// written.
    fn judge_clean(&mut self, at: usize) {
        let Some(daemon) = &self.targets[at].daemon else { return };
        let rows = daemon.machine.rows(self.now);
        if rows.iter().any(|row| matches!(row.state, RowState::Draining(_) | RowState::Sharing)) {
            return;
        }
        for resource in 0..self.targets[at].disks.len() {
            // What one life of an initiator was acknowledged and its end forgot, nobody keeps; a medium that could not be
            // reached was not flushed for it [CHAIN-1].
            let chained = self.upper(at, resource).is_some();
            let of_complete = |request, _| {
                let done = self.judge.done.get(&request);
                let done =
                    done.filter(|(by, life)| !chained || self.attachments[*by].life == *life);
                let by = done.map(|(attachment, _)| &self.attachments[*attachment].config);
                rows.iter().any(|row| {
                    let clean = |proof: Proof| proof.retained == 0;
                    // Who lost the place to somebody else has completed nothing: its log is lost with it.
                    let owns = by.is_some_and(|by| {
                        by.attachment == row.entry.attachment && by.instance == row.entry.instance
                    });
                    owns && matches!(row.state, RowState::Complete(proof) if clean(proof))
                })
            };
            let left = self.medium(at, resource).unsynced(of_complete);
            let writers = self
                .clients
                .iter()
                .any(|client| client.here && client.target == at && client.resource == resource);
            if let Some(request) = left.filter(|_| !writers) {
                self.found("PAUSE-5", || {
                    format!("target-{at}: request {request} is not durable at the clean record")
                });
            }
        }
    }

    /// A target begins a life.
    pub(crate) fn judge_started(&mut self, at: usize) {
        self.judge.proceeds.remove(&at);
        for entry in self.targets[at].state.roster.values() {
            let disk = self.judge.disk(at, entry.resource.0);
            disk.begins_anew(entry.access, self.now);
        }
    }

    /// [PAUSE-10] A target that writes down what it is about to do, or makes everything durable, comes to an end of that,
    /// whatever its disks and its state do.
    pub(crate) fn judge_phase(&mut self, at: usize) {
        let now = self.now;
        let Some(daemon) = &self.targets[at].daemon else { return };
        let (Phase::Intending { restart, .. }
        | Phase::Settling { restart, .. }
        | Phase::Sealing { restart, .. }) = daemon.machine.phase()
        else {
            self.judge.settling.remove(&at);
            return;
        };
        let order = &restart.order;
        let limit = order.span + QUESTION_SPAN + Duration::from_secs(1);
        let waits = order.on_timeout == OnTimeout::Wait && !order.unstoppable;
        let since = *self.judge.settling.entry(at).or_insert(now);
        // One that stood still looks at its clock next.
        let looks = daemon.machine.deadline().is_some_and(|at| at <= now);
        if !waits && !looks && now.since(since) > limit {
            self.found("PAUSE-10", || format!("target-{at} waits for its storage since {since:?}"));
        }
    }

    /// A target goes.
    pub(crate) fn judge_went_down(&mut self, at: usize) {
        let running = self.targets[at].daemon.as_ref().and_then(|daemon| {
            daemon.running.values().find(|running| running.owner != Owner::Target).cloned()
        });
        if let Some(running) = running {
            self.found("PAUSE-5", || format!("target-{at} goes while {running:?} runs"));
        }
    }

    /// Its system dies after it went: after a clean end nothing is excused.
    pub(crate) fn judge_clean_loss(&mut self, at: usize, resource: usize) {
        let life = self.targets[at].life;
        let clean = self.targets[at].state.clean.is_some_and(|noted| noted.life == life);
        let proceeds = self.judge.proceeds.get(&at).copied().unwrap_or(true);
        if !clean || proceeds || self.targets[at].disks[resource].failed {
            self.judge.lost(at, resource, lull_history::Loss::Cache);
        }
    }

    /// What a target tells people.
    pub(crate) fn judge_target_reports(&mut self, at: usize, report: &Report) {
        self.note(|| format!("target-{at}: {report:?}"));
        match report {
            Report::Violation { conn, violation } => {
                self.found("violation", || {
                    format!("target-{at}, connection {conn:?}: {violation}")
                });
            }
            // Nobody is given up who had no time to come back.
            Report::Missed { entry } => {
                let host = &self.targets[at];
                if self.now < host.since + host.barrier {
                    self.found("RESUME-2", || format!("target-{at} did not wait for {entry:?}"));
                }
            }
            // With another span.
            Report::Decided { restart, decision } => {
                self.judge.settling.remove(&at);
                if *decision == Decision::Proceed {
                    self.judge.left_out.insert(at, *restart);
                }
            }
            Report::Leaving { restart, rows } => {
                // [PAUSE-10] Its storage had its time, and the choice is to proceed.
                let daemon = self.targets[at].daemon.as_ref();
                let order =
                    daemon.and_then(|daemon| Some(&daemon.machine.phase().restart()?.order));
                let late = self.judge.settling.get(&at).zip(order).is_some_and(|(since, order)| {
                    order.on_timeout == OnTimeout::Proceed && self.now.since(*since) >= order.span
                });
                if late {
                    self.judge.left_out.insert(at, *restart);
                }
                let late = rows
                    .iter()
                    .any(|row| matches!(row.state, RowState::Draining(_) | RowState::Sharing));
                let writers = self
                    .clients
                    .iter()
                    .any(|client| client.here && client.target == at && !client.read_only);
                self.judge.proceeds.insert(at, late || writers);
            }
            _ => {}
        }
    }
}
