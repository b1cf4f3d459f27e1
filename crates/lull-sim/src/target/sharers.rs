//! Changes of those who share a resource: the real ledger, and around it what `sharers.rs` of `lull-target` does.

use super::lane::{Owner, Running};
use crate::canary::Canary;
use crate::disk::SECTOR;
use crate::state_dir::Asked;
use crate::world::World;
use lull_proto::ConnId;
use lull_proto::ledger::{Outcomes, Verdict};
use lull_proto::target::{Change, Share};
use lull_wire::{AttachmentId, RequestNumber, StatusCode};

impl Running {
    fn offset(&self) -> u64 {
        self.first * u64::from(SECTOR)
    }
}

impl World {
    /// A request came from a sharer.
    pub(super) fn admit_shared(
        &mut self,
        at: usize,
        share: Share,
        lowest: RequestNumber,
        running: Running,
    ) {
        let forgets = self.sings(Canary::NoOutcomes);
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let ledger = &mut daemon.ledgers[running.resource];
        ledger.confirm(share.attachment, lowest);
        let which = (share.attachment, running.number);
        let (offset, length) = (running.offset(), (running.count * u64::from(SECTOR)) as u32);
        let verdict = match running.changes() && !forgets {
            true => ledger.admit(which, offset, length),
            false => Verdict::Run,
        };
        let resource = running.resource;
        match verdict {
            Verdict::Run => self.run_shared(at, running),
            Verdict::Wait => {
                daemon.parked.insert(which, running);
            }
            Verdict::Repeat(status) => self.reply(at, &running, status),
        }
        self.go_on(at, resource);
    }

    fn run_shared(&mut self, at: usize, running: Running) {
        let Owner::Lane(conn) = running.owner else { return };
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(lane) = daemon.lanes.get_mut(&conn) else { return };
        lane.under_way += 1;
        self.judge_admitted(at, &running);
        self.begin_op(at, running);
    }

    /// Whatever the ledger wants done.
    pub(super) fn go_on(&mut self, at: usize, resource: usize) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let ledger = &mut daemon.ledgers[resource];
        let to_store = ledger.to_store();
        for (attachment, outcomes) in to_store {
            if self.sings(Canary::NoStoredOutcomes) {
                let Some(daemon) = &mut self.targets[at].daemon else { return };
                daemon.ledgers[resource].stored(attachment, &outcomes, true);
                continue;
            }
            self.note(|| format!("target-{at} stores {outcomes:?} of {attachment}"));
            if self.targets[at].state.ask(Asked::Outcomes(attachment, outcomes)) {
                self.begin_commit(at);
            }
        }
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        for which in daemon.ledgers[resource].take_ready() {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            if let Some(running) = daemon.parked.remove(&which) {
                self.run_shared(at, running);
            }
        }
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        for which in daemon.ledgers[resource].take_back() {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            if let Some(running) = daemon.parked.remove(&which) {
                self.reply(at, &running, StatusCode::NotExecuted);
            }
        }
    }

    /// A request is done.
    pub(super) fn note_outcome(&mut self, at: usize, running: &Running, status: StatusCode) {
        let Owner::Lane(conn) = running.owner else { return };
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let Some(lane) = daemon.lanes.get(&conn) else { return };
        let Some(share) = lane.share.filter(|_| running.changes()) else { return };
        let which = (share.attachment, running.number);
        let ledger = &mut daemon.ledgers[running.resource];
        // Of a life that has ended nobody knows what was executed.
        if lane.muted {
            ledger.abandon(which, running.offset());
        } else {
            ledger.done(which, running.offset(), status);
        }
        self.go_on(at, running.resource);
    }

    /// A lane closes: what was not begun never is.
    pub(super) fn drop_parked(&mut self, at: usize, conn: ConnId) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        let mine = |running: &Running| running.owner == Owner::Lane(conn);
        let parked = daemon.parked.iter().filter(|(_, running)| mine(running));
        let parked: Vec<_> = parked.map(|(which, running)| (*which, running.clone())).collect();
        for (which, running) in parked {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            daemon.parked.remove(&which);
            daemon.ledgers[running.resource].abandon(which, running.offset());
            self.go_on(at, running.resource);
        }
    }

    /// Outcomes are on stable storage, or could not be written.
    pub(super) fn outcomes_stored(
        &mut self,
        at: usize,
        attachment: AttachmentId,
        outcomes: &Outcomes,
        ok: bool,
    ) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        for resource in 0..daemon.ledgers.len() {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            daemon.ledgers[resource].stored(attachment, outcomes, ok);
            self.go_on(at, resource);
        }
        if !ok {
            let life = self.targets[at].life;
            let again = crate::world::queue::Happening::StoreAgain { target: at, life };
            self.after(std::time::Duration::from_secs(1), again);
        }
    }

    /// Outcomes that could not be written are to be.
    pub(crate) fn store_again(&mut self, at: usize) {
        let count = self.targets[at].disks.len();
        for resource in 0..count {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            daemon.ledgers[resource].store_again();
            self.go_on(at, resource);
        }
    }

    /// Who has lost its place for good sends nothing again.
    pub(super) fn forget_sharers(&mut self, at: usize, change: &Change) {
        let gone = match change {
            Change::Gone(attachment) => vec![*attachment],
            Change::Missed(whom, ..) => whom.clone(),
            Change::Owner(..)
            | Change::Incarnation(..)
            | Change::Intent(_)
            | Change::Clean(_)
            | Change::Revoked(_) => return,
        };
        let count = self.targets[at].disks.len();
        for resource in 0..count {
            let Some(daemon) = &mut self.targets[at].daemon else { return };
            gone.iter().for_each(|attachment| daemon.ledgers[resource].leave(*attachment));
            self.go_on(at, resource);
        }
    }
}
