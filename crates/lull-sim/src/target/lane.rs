//! Where requests are executed. Models `lane.rs` of `lull-target` (admission, numbers, closing, draining) and the
//! engine of `lull-block` under it; the room for payload is left out, since nothing here has any.

use super::gate::Entered;
use crate::canary::Canary;
use crate::world::World;
use crate::world::queue::Happening;
use crate::world::wire::{Frame, Payload};
use lull_proto::ConnId;
use lull_proto::initiator::WINDOW;
use lull_proto::target::{Ended, Event, ResourceIndex, Share};
use lull_wire::messages::{Reply, Request};
use lull_wire::{Epoch, OpCode, RequestFlags, RequestNumber, StatusCode};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often a sync that hangs is looked at.
const HUNG_LOOK: Duration = Duration::from_millis(500);

/// One connection's lane.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Which resource.
    pub resource: usize,
    /// Whether changes are refused.
    pub read_only: bool,
    /// Nothing new is taken.
    pub closing: bool,
    /// Nothing is answered any more: the life of its resource has ended.
    pub muted: bool,
    lowest: u64,
    outstanding: BTreeSet<u64>,
    /// Requests under way.
    pub under_way: usize,
    /// Of the session.
    version: u16,
    /// Others write as well.
    pub share: Option<Share>,
}

impl Lane {
    /// An open one.
    pub fn new(resource: usize, read_only: bool, version: u16, share: Option<Share>) -> Self {
        Self {
            resource,
            read_only,
            closing: false,
            muted: false,
            lowest: share.map_or(1, |share| share.lowest.0),
            outstanding: BTreeSet::new(),
            under_way: 0,
            version,
            share,
        }
    }

    /// Whether a request may have this number; if so, it is outstanding from now on.
    fn take(&mut self, number: RequestNumber, lowest: RequestNumber) -> bool {
        self.lowest = self.lowest.max(lowest.0);
        let inside = number.0 >= self.lowest && number.0 - self.lowest < WINDOW as u64;
        inside && self.outstanding.insert(number.0)
    }
}

/// Who waits for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An initiator.
    Lane(ConnId),
    /// A client without an agent.
    Client(usize),
    /// The target itself, before it goes down.
    Target,
}

/// A request under way.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "they are those of a request; what is more says so")]
pub struct Running {
    pub owner: Owner,
    pub number: RequestNumber,
    pub op: OpCode,
    pub first: u64,
    pub count: u64,
    pub fua: bool,
    pub payload: Payload,
    pub resource: usize,
    /// Whose, and of which epoch.
    pub from: Option<(usize, Epoch)>,
    /// It is its own sync.
    pub through: bool,
    /// What a read has read.
    pub data: Vec<u64>,
}

impl Running {
    /// Whether it changes content.
    pub fn changes(&self) -> bool {
        matches!(self.op, OpCode::Write | OpCode::WriteZeroes | OpCode::Discard)
    }
}

impl World {
    /// A request came on a connection.
    pub(crate) fn admit(&mut self, at: usize, conn: ConnId, request: &Request, payload: Payload) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        daemon.pulses.insert(conn);
        let claim = daemon.claims.get(&conn).copied();
        let Some(lane) = daemon.lanes.get_mut(&conn) else {
            self.found("SEC-4", || format!("{} came before ATTACHED", request.number));
            return;
        };
        if lane.closing && self.canary != Some(Canary::NoFence) {
            return; // It dies with its epoch [SAFE-5].
        }
        if request.since().max(request.op.since()) > lane.version {
            self.found("CONN-8", || format!("request {request:?} is of a later version"));
            return;
        }
        if !lane.take(request.number, request.lowest) {
            let lane = lane.clone();
            self.found("SAFE-11", || format!("request {request:?} may not be sent: {lane:?}"));
            return;
        }
        let sector = u64::from(crate::disk::SECTOR);
        let running = Running {
            owner: Owner::Lane(conn),
            number: request.number,
            op: request.op,
            first: request.offset / sector,
            count: u64::from(request.length) / sector,
            // [SAFE-11] What one sharer is answered, a crash takes from nobody.
            fua: request.flags.has(RequestFlags::FUA)
                || (lane.share.is_some()
                    && matches!(request.op, OpCode::Write | OpCode::WriteZeroes)),
            payload,
            resource: lane.resource,
            from: claim.map(|claim| (claim.attachment, claim.epoch)),
            through: false,
            data: Vec::new(),
        };
        if lane.read_only && running.changes() {
            self.reply(at, &running, StatusCode::ReadOnly);
            return;
        }
        if let Some(share) = lane.share {
            return self.admit_shared(at, share, request.lowest, running);
        }
        lane.under_way += 1;
        self.judge_admitted(at, &running);
        self.begin_op(at, running);
    }

    /// Starts a request on the medium.
    pub(crate) fn begin_op(&mut self, at: usize, mut running: Running) {
        let host = &mut self.targets[at];
        let life = host.life;
        let Some(daemon) = &mut host.daemon else { return };
        daemon.ops += 1;
        let op = daemon.ops;
        let gate = &mut daemon.gates[running.resource];
        let needs_sync = running.op == OpCode::Flush || running.fua;
        if running.op == OpCode::Write && running.fua && host.uppers[running.resource].is_none() {
            running.through = gate.claim();
        }
        let (is_flush, failed) = (running.op == OpCode::Flush, needs_sync && gate.failed);
        let upper = host.uppers[running.resource];
        daemon.running.insert(op, running);
        if upper.is_some() {
            // From the thread of the lane to that of the attachment.
            let span = self.chance.scattered(Duration::from_micros(50));
            self.after(span, Happening::Execute { target: at, life, op });
        } else if failed {
            self.finish(at, op, StatusCode::Io);
        } else if is_flush {
            self.enter_gate(at, op);
        } else {
            let span = self.chance.scattered(self.targets[at].service);
            self.after(span, Happening::Execute { target: at, life, op });
        }
    }

    /// A request reaches the medium.
    pub(crate) fn execute(&mut self, at: usize, op: u64) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(running) = daemon.running.get(&op).cloned() else { return };
        if !self.targets[at].stale.is_empty() && self.chance.one_in(8) {
            self.late_io(at);
        }
        self.judge_executes(at, &running);
        if let Some(upper) = self.upper(at, running.resource) {
            self.pass_on(at, upper, op);
            return;
        }
        let disk = &mut self.targets[at].disks[running.resource];
        if disk.fails {
            disk.failed = true;
            // A part of it may have happened.
            self.apply_some(at, &running);
            if running.through {
                self.leave_gate(at, running.resource);
            }
            self.finish(at, op, StatusCode::Io);
            return;
        }
        if running.op == OpCode::Read {
            let data = disk.read(running.first, running.count);
            if let Some(running) = self.running_mut(at, op) {
                running.data = data;
            }
        } else {
            self.apply(at, &running, |_| true);
        }
        if running.through {
            let disk = &mut self.targets[at].disks[running.resource];
            let mark = disk.mark();
            if disk.sync(mark, running.first, running.count) {
                self.leave_gate(at, running.resource);
                self.finish(at, op, StatusCode::Done);
            } else {
                self.sync_failed(at, running.resource, vec![op]);
            }
        } else if running.fua && matches!(running.op, OpCode::Write | OpCode::WriteZeroes) {
            self.enter_gate(at, op);
        } else {
            self.finish(at, op, StatusCode::Done);
        }
    }

    fn running_mut(&mut self, at: usize, op: u64) -> Option<&mut Running> {
        self.targets[at].daemon.as_mut()?.running.get_mut(&op)
    }

    /// Puts a change on the medium, sector by sector where `reaches` says so.
    pub(crate) fn apply(
        &mut self,
        at: usize,
        running: &Running,
        mut reaches: impl FnMut(&mut crate::chance::Chance) -> bool,
    ) {
        let discards = running.op == OpCode::Discard && self.chance.one_in(2);
        if !running.changes() || discards {
            return;
        }
        for nth in 0..running.count {
            let content = match running.op {
                OpCode::Write => running.payload.content + nth,
                _ => 0,
            };
            if reaches(&mut self.chance) {
                let disk = &mut self.targets[at].disks[running.resource];
                disk.write(running.first + nth, content, running.payload.request);
            }
        }
    }

    /// The same for one that was interrupted.
    pub(crate) fn apply_some(&mut self, at: usize, running: &Running) {
        let how = self.chance.below(3);
        self.apply(at, running, |chance| match how {
            0 => false,
            1 => true,
            _ => chance.one_in(2),
        });
    }

    fn enter_gate(&mut self, at: usize, op: u64) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(running) = daemon.running.get(&op) else { return };
        let resource = running.resource;
        let mark = self.targets[at].disks[resource].mark();
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        match daemon.gates[resource].enter(op, mark) {
            Entered::Alone => self.begin_sync(at, resource),
            Entered::Waits => {}
            Entered::Failed => self.finish(at, op, StatusCode::Io),
        }
    }

    fn begin_sync(&mut self, at: usize, resource: usize) {
        let (life, longest) = (self.targets[at].life, self.targets[at].sync);
        let span = self.chance.scattered(longest);
        self.after(span, Happening::Synced { target: at, life, resource });
    }

    /// Lets the next one in.
    fn leave_gate(&mut self, at: usize, resource: usize) {
        let mark = self.targets[at].disks[resource].mark();
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        if daemon.gates[resource].leave(mark) {
            self.begin_sync(at, resource);
        }
    }

    /// A sync of a whole disk ends.
    pub(crate) fn synced(&mut self, at: usize, resource: usize) {
        let disk = &self.targets[at].disks[resource];
        if disk.hangs_until > self.now {
            let life = self.targets[at].life;
            self.after(HUNG_LOOK, Happening::Synced { target: at, life, resource });
            return;
        }
        let sectors = disk.sectors();
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(sync) = daemon.gates[resource].running.take() else { return };
        if self.targets[at].disks[resource].sync(sync.mark, 0, sectors) {
            self.leave_gate(at, resource);
            for op in sync.serves {
                self.finish(at, op, StatusCode::Done);
            }
        } else {
            self.sync_failed(at, resource, sync.serves);
        }
    }

    fn sync_failed(&mut self, at: usize, resource: usize, mut told: Vec<u64>) {
        self.note(|| format!("target-{at}: write-back of disk-{resource} failed"));
        self.judge_broken(at, resource);
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let gate = &mut daemon.gates[resource];
        told.extend(gate.leave_failed());
        if self.canary == Some(Canary::FlushAfterFailure) {
            gate.failed = false;
            for op in told {
                self.finish(at, op, StatusCode::Io);
            }
            return;
        }
        let news = self.mute(at, resource);
        for op in told {
            self.finish(at, op, StatusCode::Io);
        }
        if news {
            let resource = ResourceIndex(resource);
            self.tell_target(at, Event::LifeEnded { resource, why: Ended::WriteBack });
        }
    }

    /// [SAFE-1] Nothing of the life that ended is answered; whether that is news.
    pub(crate) fn mute(&mut self, at: usize, resource: usize) -> bool {
        let Some(daemon) = &mut self.targets[at].daemon else { return false };
        for lane in daemon.lanes.values_mut().filter(|lane| lane.resource == resource) {
            lane.muted = true;
        }
        for client in &mut self.clients {
            if client.target == at && client.resource == resource {
                client.cut = true;
            }
        }
        daemon.ended.insert(resource)
    }

    /// A request is done.
    pub(crate) fn finish(&mut self, at: usize, op: u64, status: StatusCode) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(running) = daemon.running.remove(&op) else { return };
        self.judge_finished(at, &running, status);
        self.note_outcome(at, &running, status);
        match running.owner {
            Owner::Lane(conn) => {
                if let Some(daemon) = &mut self.targets[at].daemon
                    && let Some(lane) = daemon.lanes.get_mut(&conn)
                {
                    lane.under_way -= 1;
                    if lane.muted {
                        lane.outstanding.remove(&running.number.0);
                    } else {
                        self.reply(at, &running, status);
                    }
                }
                if self.is_drained(at, conn) {
                    self.tell_target(at, Event::Drained { conn });
                }
            }
            // A client that is cut off finds its connection ended: nothing of it was answered with success.
            Owner::Client(client) if self.clients[client].cut => {
                self.client_answered(client, &running, StatusCode::Io);
            }
            Owner::Client(client) => self.client_answered(client, &running, status),
            // [CHAIN-1] One that cannot be reached is left out.
            Owner::Target => {
                let restart = lull_wire::RestartId(running.number.0);
                let good = matches!(status, StatusCode::Done | StatusCode::NotExecuted);
                self.backend_durable(at, restart, good);
            }
        }
    }

    fn is_drained(&self, at: usize, conn: ConnId) -> bool {
        let lane = self.targets[at].daemon.as_ref().and_then(|daemon| daemon.lanes.get(&conn));
        lane.is_some_and(|lane| lane.closing && lane.under_way == 0)
    }

    pub(super) fn reply(&mut self, at: usize, running: &Running, status: StatusCode) {
        let Owner::Lane(conn) = running.owner else { return };
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        if let Some(lane) = daemon.lanes.get_mut(&conn) {
            lane.outstanding.remove(&running.number.0);
        }
        let incarnation = daemon.machine.resources()[running.resource].incarnation;
        let wire = conn.0 as usize;
        if !self.wires[wire].at_target {
            return;
        }
        let reply = Reply { number: running.number, status, incarnation };
        let data = if status == StatusCode::Done { running.data.clone() } else { Vec::new() };
        let twice = self.sings(Canary::AnswerTwice).then(|| (reply.clone(), data.clone()));
        self.send_down(wire, Frame::Reply(reply, data));
        if let Some((reply, data)) = twice {
            self.send_down(wire, Frame::Reply(reply, data));
        }
    }
}
