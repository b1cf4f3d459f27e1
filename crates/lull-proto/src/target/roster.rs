//! Who has a place at a resource, and who may be given one.

use super::{Action, Actions, Refusal, Report, Resource, ResourceIndex, Target};
use crate::target::session::Claim;
use crate::{ConnId, MonoTime};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::{Address, Attach, Name};
use lull_wire::{Access, AttachmentId, Epoch, InstanceId, Tenure};

/// The most places that a resource has: readers, and those that are waited for.
pub const SEATS_LIMIT: usize = 1024;

/// A place on the roster, as it is kept on stable storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The initiator's name.
    pub node: Name,
    /// Which attachment of it.
    pub attachment: AttachmentId,
    /// Of which resource.
    pub resource: ResourceIndex,
    /// What it may do.
    pub access: Access,
    /// The life of the initiator that owns it.
    pub instance: InstanceId,
    /// The last ATTACH.
    pub epoch: Epoch,
    /// How long the place is kept after a loss; [`Duration::MAX`] for without limit [SAFE-7].
    pub hold: Duration,
    /// Whether it may have something to replay in another incarnation; not where it only reads, and not after a pause
    /// that it completed [SAFE-10].
    pub dirty: bool,
    /// Where its last HELLO wants to be knocked after a start [CONN-1]; empty for nowhere.
    pub callback: Address,
}

/// Who sits there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody: the session is lost and the place is reserved.
    Lost,
    /// The session on this connection.
    Taken(ConnId),
}

/// A place with its present state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    /// Whose.
    pub entry: Entry,
    /// Who sits there.
    pub holder: Holder,
    /// Since when.
    pub since: MonoTime,
    /// In the present incarnation nothing is left for it to replay.
    pub settled: bool,
}

impl Seat {
    /// Whether a lost session's reservation is over.
    pub fn is_over(&self, now: MonoTime) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    /// When a lost session's reservation ends; `None` for never, or while it is not lost.
    pub fn until(&self) -> Option<MonoTime> {
        (self.holder == Holder::Lost && self.entry.hold != Duration::MAX)
            .then(|| self.since + self.entry.hold)
    }
}

impl Target {
    /// Whether an ATTACH may be granted, and as what.
    pub(super) fn claim(
        &self,
        now: MonoTime,
        (node, callback): (Name, Address),
        instance: InstanceId,
        attach: Attach,
    ) -> Result<Claim, Refusal> {
        let place = self.resources.iter().position(|resource| resource.name == attach.resource);
        let Some(place) = place else {
            return Err(Refusal::UnknownResource { name: attach.resource });
        };
        let resource = &self.resources[place];
        let place = ResourceIndex(place);
        // [SAFE-8]
        // Of a chained resource that no life has reached yet it is not known: who asks compares it with ATTACHED.
        let known_as = resource.identity;
        if !attach.identity.is_none() && !known_as.is_none() && attach.identity != known_as {
            return Err(Refusal::Identity { name: attach.resource });
        }
        let known = self.roster.get(&attach.attachment);
        if self.phase.is_leaving() || (known.is_none() && !self.is_serving()) {
            return Err(Refusal::Pausing);
        }
        if let Some(seat) = known {
            self.check_owner(now, seat, instance, &attach)?;
            // [SAFE-8] What it holds is for the other one.
            if seat.entry.resource != place {
                return Err(Refusal::Identity { name: attach.resource });
            }
        }
        self.check_epoch(&attach)?;
        if known.is_none() && self.is_full(now, place) {
            return Err(Refusal::Limit { resource: attach.resource });
        }
        // Whose hold is over for good need not wait for the one who has it now.
        let tenure = next_tenure(resource, known, instance, &attach)?;
        self.check_above(place)?;
        self.check_life(now, place)?;
        self.check_access(now, place, &node, &attach)?;
        let hold = crate::time::span(attach.hold_ms);
        let Attach { attachment, access, epoch, lowest, .. } = attach;
        let dirty = access.writes();
        let entry = Entry {
            node,
            attachment,
            resource: place,
            access,
            instance,
            epoch,
            hold,
            dirty,
            callback,
        };
        Ok(Claim { entry, tenure, lowest })
    }

    /// [SAFE-5] Another instance comes in as the owner's heir, on an operator's word, or when nothing is kept for
    /// the owner any more.
    fn check_owner(
        &self,
        now: MonoTime,
        seat: &Seat,
        instance: InstanceId,
        attach: &Attach,
    ) -> Result<(), Refusal> {
        if is_heir(seat, instance, attach) || attach.take_over || seat.is_over(now) {
            return Ok(());
        }
        let (node, since) = (seat.entry.node.clone(), seat.since);
        Err(Refusal::OtherInstance { node, since, lost: seat.holder == Holder::Lost })
    }

    /// [SAFE-5] Higher than any before, granted or not yet.
    fn check_epoch(&self, attach: &Attach) -> Result<(), Refusal> {
        let granted = self.roster.get(&attach.attachment).map(|seat| seat.entry.epoch);
        let claimed = self
            .claims()
            .filter(|claim| claim.entry.attachment == attach.attachment)
            .map(|claim| claim.entry.epoch);
        let current = granted.into_iter().chain(claimed).max().unwrap_or(Epoch(0));
        if attach.epoch > current { Ok(()) } else { Err(Refusal::StaleEpoch { current }) }
    }

    /// [SAFE-9] One writer at a time, or several who share; readers beside either. [SAFE-7] A lost writer's place stays reserved.
    fn check_access(
        &self,
        now: MonoTime,
        place: ResourceIndex,
        asks: &Name,
        attach: &Attach,
    ) -> Result<(), Refusal> {
        if !attach.access.writes() {
            return self.check_replayed(now, place, Some((attach.attachment, asks)));
        }
        let agentless = self.resources[place.0].agentless.writers;
        if agentless > 0 {
            return Err(Refusal::Agentless {
                resource: attach.resource.clone(),
                clients: agentless,
            });
        }
        let writes = |entry: &Entry| {
            entry.attachment != attach.attachment
                && entry.resource == place
                && !entry.access.goes_beside(attach.access)
        };
        if let Some(claim) = self.claims().map(|claim| &claim.entry).find(|entry| writes(entry)) {
            return Err(Refusal::Conflict {
                resource: attach.resource.clone(),
                node: claim.node.clone(),
                namesake: claim.node == *asks,
                access: claim.access,
                since: now,
                reserved: None,
            });
        }
        let rival = self.roster.values().find(|seat| writes(&seat.entry) && !seat.is_over(now));
        match rival {
            None => Ok(()),
            Some(seat) => Err(Refusal::Conflict {
                resource: attach.resource.clone(),
                node: seat.entry.node.clone(),
                namesake: seat.entry.node == *asks,
                access: seat.entry.access,
                since: seat.since,
                reserved: (seat.holder == Holder::Lost).then(|| seat.until()),
            }),
        }
    }

    /// Whether a client without an agent may use a resource now [SAFE-9].
    ///
    /// # Errors
    /// Who is in the way.
    pub fn admits_agentless(
        &self,
        now: MonoTime,
        place: ResourceIndex,
        read_only: bool,
    ) -> Result<(), Refusal> {
        if self.phase.is_leaving() {
            return Err(Refusal::Pausing);
        }
        self.check_known(place)?;
        self.check_life(now, place)?;
        if read_only {
            return self.check_replayed(now, place, None);
        }
        let resource = &self.resources[place.0];
        let writes = |entry: &Entry| entry.resource == place && entry.access.writes();
        let closing = self.sessions.values().find_map(|one| {
            let writes = one.state.still_writes().filter(|writes| writes.resource == place)?;
            Some((one.node.clone(), writes.access))
        });
        if let Some((node, access)) = closing {
            return Err(Refusal::Conflict {
                resource: resource.name.clone(),
                node,
                namesake: false,
                access,
                since: now,
                reserved: None,
            });
        }
        let pending = self
            .claims()
            .map(|claim| &claim.entry)
            .find(|entry| writes(entry))
            .map(|entry| (entry, now, None));
        let rival =
            self.roster.values().find(|seat| writes(&seat.entry) && !seat.is_over(now)).map(
                |seat| {
                    (&seat.entry, seat.since, (seat.holder == Holder::Lost).then(|| seat.until()))
                },
            );
        match rival.or(pending) {
            None => Ok(()),
            Some((entry, since, reserved)) => Err(Refusal::Conflict {
                resource: resource.name.clone(),
                node: entry.node.clone(),
                namesake: false,
                access: entry.access,
                since,
                reserved,
            }),
        }
    }

    /// Whether a resource has as many places, taken and claimed, as are kept.
    fn is_full(&self, now: MonoTime, place: ResourceIndex) -> bool {
        let kept = |seat: &&Seat| seat.entry.resource == place && !seat.is_over(now);
        let new = |claim: &&Claim| {
            claim.entry.resource == place && !self.roster.contains_key(&claim.entry.attachment)
        };
        self.roster.values().filter(kept).count() + self.claims().filter(new).count() >= SEATS_LIMIT
    }

    /// When the next place is kept no longer. [SAFE-7] In a pause the roster stays: who is on it may still come in.
    pub(super) fn next_over(&self) -> Option<MonoTime> {
        if !self.is_serving() {
            return None;
        }
        let ends = |seat: &Seat| Some((seat.until()?, seat.entry.attachment));
        let mut ends = self.roster.values().filter_map(ends).peekable();
        // Looked at for every deadline: who is lost is many after a start, and who is coming back may be as many.
        ends.peek()?;
        let claims = self.claims().map(|claim| claim.entry.attachment);
        let claimed: BTreeSet<AttachmentId> = claims.collect();
        ends.filter(|(_, attachment)| !claimed.contains(attachment)).map(|(until, _)| until).min()
    }

    /// [SAFE-7] The places of those who were lost for longer than their hold span.
    pub(super) fn give_up_places(&mut self, now: MonoTime, actions: &mut Actions) {
        if self.next_over().is_none_or(|at| at > now) {
            return;
        }
        let over = self.roster.values().filter(|seat| seat.is_over(now));
        let over = over.filter(|seat| !self.is_claimed(seat.entry.attachment));
        let over: Vec<Entry> = over.map(|seat| seat.entry.clone()).collect();
        for entry in over {
            self.roster.remove(&entry.attachment);
            if entry.access == Access::Shared {
                self.give_up(entry.resource, alloc::vec![entry.attachment], actions);
            } else {
                self.end_place(entry.resource, entry.attachment, actions);
            }
            actions.push(Action::Report(Report::Over { entry }));
        }
        self.open(now, actions);
    }

    /// Whether its owner is coming back at this moment: its place is about to be taken.
    pub(super) fn is_claimed(&self, attachment: AttachmentId) -> bool {
        self.claims().any(|claim| claim.entry.attachment == attachment)
    }

    /// The resources that somebody has a place at, or is being given one.
    pub fn wanted(&self) -> impl Iterator<Item = ResourceIndex> {
        let seats = self.roster.values().map(|seat| seat.entry.resource);
        seats.chain(self.claims().map(|claim| claim.entry.resource))
    }

    /// What is asked for and not granted yet.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Claim> {
        let sessions = self.sessions.values().filter_map(|session| session.state.claim());
        sessions.chain(self.orphans.values())
    }

    /// Reservations on this resource that are over, other than this attachment's: they end when somebody else
    /// is let in.
    pub(super) fn over(&self, now: MonoTime, entry: &Entry) -> Vec<AttachmentId> {
        let rivals = self.roster.values().filter(|seat| {
            !entry.access.goes_beside(seat.entry.access)
                && seat.entry.resource == entry.resource
                && seat.entry.attachment != entry.attachment
                && seat.is_over(now)
        });
        rivals.map(|seat| seat.entry.attachment).collect()
    }
}

/// Whether this is the owner, or the one that found the owner's state.
fn is_heir(seat: &Seat, instance: InstanceId, attach: &Attach) -> bool {
    seat.entry.instance == instance || seat.entry.instance == attach.predecessor
}

/// [SAFE-7] Another writer has a new tenure; a writer that comes back with an older one is refused.
fn next_tenure(
    resource: &Resource,
    known: Option<&Seat>,
    instance: InstanceId,
    attach: &Attach,
) -> Result<Tenure, Refusal> {
    let writes = attach.access.writes();
    let wrote =
        known.is_some_and(|seat| seat.entry.access.writes() && is_heir(seat, instance, attach));
    if !writes || wrote {
        return Ok(resource.tenure);
    }
    if attach.tenure != Tenure(0) && attach.tenure < resource.tenure {
        // [RESUME-2] Who shares has no log: it lets go of what is unanswered, and comes as a new one.
        if attach.access == Access::Shared {
            return Err(Refusal::Missed { current: resource.tenure });
        }
        return Err(Refusal::StaleTenure { current: resource.tenure });
    }
    Ok(resource.tenure.next())
}
