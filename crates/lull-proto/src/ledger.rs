//! What the changes of those who share a resource came to [SAFE-11]: one ledger for each resource with several writers.
//!
//! An initiator that lost its connection does not know which of its changes were executed, and sends all of them again.
//! Here is written what each came to, until the initiator has said by its `lowest` that it knows, so that a repeat is
//! answered and not executed: another sharer's change may lie over the first execution by then.
//!
//! A crash of the target takes along what is written here and not stored. Therefore a change waits
//! * while one that it overlaps is under way, whoever's it is, or waits before it;
//! * while one of another sharer that it overlaps was executed and its initiator may not know: until that outcome is
//!   on stable storage, or confirmed.
//!
//! A medium that gives a change back does not say whether it was executed, or may be executed still. Until its initiator
//! has sent it again, nothing of another sharer is executed that it overlaps; that is given back too, and comes again.
//!
//! What nobody else has changed since may be executed twice. Reads and flushes are not here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use lull_wire::{AttachmentId, InstanceId, RequestNumber, StatusCode};

/// A change, by whose it is and its number.
pub type Which = (AttachmentId, RequestNumber);

/// What is to be done with a change that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Execute it.
    Run,
    /// Keep it until [`Ledger::take_ready`] names it.
    Wait,
    /// It was executed before, and came to this; or NOT EXECUTED: it lies over what somebody else must send again first.
    Repeat(StatusCode),
}

/// Outcomes of one sharer that are to be on stable storage: all of them, since they replace what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcomes {
    /// The life of the initiator whose numbers these are.
    pub instance: InstanceId,
    /// Number and outcome of each.
    pub all: Vec<(RequestNumber, StatusCode)>,
}

/// How safe an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Safety {
    /// It dies with the target.
    Here,
    /// It is being stored.
    Asked,
    /// It is on stable storage.
    Stored,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    status: StatusCode,
    safety: Safety,
    offset: u64,
}

#[derive(Clone, Debug, Default)]
struct Sharer {
    instance: InstanceId,
    lowest: u64,
    kept: BTreeMap<u64, Kept>,
    /// What was given back: number → first byte.
    doubtful: BTreeMap<u64, u64>,
}

/// First byte, whose and number: what overlaps a range begins at most the longest length before it.
type Place = (u64, AttachmentId, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// So many came to wait before it.
    Waits(u64),
    UnderWay,
    /// Executed, and neither confirmed nor stored.
    Executed,
    /// Given back: executed, or not, or still to be.
    Doubtful,
}

/// What stands in the way of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bar {
    Nothing,
    /// Something that passes here.
    Waits,
    /// Something that another sharer has to send again.
    Doubt,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    end: u64,
    step: Step,
}

/// The ledger of one resource.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sharers: BTreeMap<AttachmentId, Sharer>,
    spans: BTreeMap<Place, Span>,
    /// Of all lengths that ever came.
    longest: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Place>,
    came: u64,
    ready: Vec<Which>,
    back: Vec<Which>,
    to_store: BTreeSet<AttachmentId>,
}

impl Ledger {
    /// What was on stable storage when this life of the target began.
    pub fn load(&mut self, attachment: AttachmentId, outcomes: &Outcomes) {
        let keep = |&(number, status): &(RequestNumber, StatusCode)| {
            (number.0, Kept { status, safety: Safety::Stored, offset: 0 })
        };
        let kept = outcomes.all.iter().map(keep).collect();
        let sharer = Sharer { instance: outcomes.instance, kept, ..Sharer::default() };
        self.sharers.insert(attachment, sharer);
    }

    /// A sharer is let in. Another life of it has numbers of its own and sends nothing of an older one again.
    pub fn open(&mut self, attachment: AttachmentId, instance: InstanceId, lowest: RequestNumber) {
        if self.sharers.get(&attachment).is_some_and(|sharer| sharer.instance != instance) {
            self.leave(attachment);
        }
        self.sharers.entry(attachment).or_default().instance = instance;
        self.confirm(attachment, lowest);
    }

    /// Nothing of a sharer is sent again any more: it left, or another one has its place.
    pub fn leave(&mut self, attachment: AttachmentId) {
        let Some(sharer) = self.sharers.remove(&attachment) else { return };
        self.to_store.remove(&attachment);
        self.strike(attachment, sharer.kept, sharer.doubtful);
    }

    /// A sharer knows the outcome of whatever is below `lowest`, or wants it no more.
    pub fn confirm(&mut self, attachment: AttachmentId, lowest: RequestNumber) {
        let Some(sharer) = self.sharers.get_mut(&attachment) else { return };
        sharer.lowest = sharer.lowest.max(lowest.0);
        let lowest = sharer.lowest;
        let is_below = |number: Option<&u64>| number.is_some_and(|number| *number < lowest);
        if is_below(sharer.kept.keys().next()) || is_below(sharer.doubtful.keys().next()) {
            let above = sharer.kept.split_off(&lowest);
            let known = core::mem::replace(&mut sharer.kept, above);
            let above = sharer.doubtful.split_off(&lowest);
            let given_up = core::mem::replace(&mut sharer.doubtful, above);
            self.strike(attachment, known, given_up);
        }
    }

    /// Who has something to send again over which nobody else may write before that.
    pub fn doubted(&self) -> impl Iterator<Item = AttachmentId> {
        let doubted = self.sharers.iter().filter(|(_, sharer)| !sharer.doubtful.is_empty());
        doubted.map(|(attachment, _)| *attachment)
    }

    /// These stand in nobody's way any more.
    fn strike(
        &mut self,
        attachment: AttachmentId,
        known: BTreeMap<u64, Kept>,
        given_up: BTreeMap<u64, u64>,
    ) {
        for (number, offset) in given_up {
            self.spans.remove(&(offset, attachment, number));
        }
        for (number, kept) in known {
            if kept.safety < Safety::Stored {
                self.spans.remove(&(kept.offset, attachment, number));
            }
        }
        self.look();
    }

    /// A change came. Its number is not outstanding, and not below the lowest that was said.
    pub fn admit(&mut self, (attachment, number): Which, offset: u64, length: u32) -> Verdict {
        let sharer = self.sharers.get_mut(&attachment);
        if let Some(kept) = sharer.as_ref().and_then(|sharer| sharer.kept.get(&number.0)) {
            return Verdict::Repeat(kept.status);
        }
        let doubtful = sharer.and_then(|sharer| sharer.doubtful.remove(&number.0));
        self.longest = self.longest.max(length.into());
        // [SEC-4] Nobody has looked yet whether there is such a place.
        let end = offset.saturating_add(length.into());
        let place = (offset, attachment, number.0);
        self.came += 1;
        // Whatever of others it overlaps has been kept from beginning since it was given back.
        let bar = match doubtful {
            Some(before) => {
                self.spans.remove(&(before, attachment, number.0));
                Bar::Nothing
            }
            None => self.bar(place, end, self.came),
        };
        let step = match bar {
            Bar::Nothing => Step::UnderWay,
            Bar::Waits => Step::Waits(self.came),
            Bar::Doubt => return Verdict::Repeat(StatusCode::NotExecuted),
        };
        self.spans.insert(place, Span { end, step });
        if bar == Bar::Nothing {
            return Verdict::Run;
        }
        self.waiting.insert(self.came, place);
        Verdict::Wait
    }

    /// A change was executed; or given back, of which nobody knows what came of it yet [CHAIN-1].
    pub fn done(&mut self, (attachment, number): Which, offset: u64, status: StatusCode) {
        let place = (offset, attachment, number.0);
        let wanted = self.sharers.get_mut(&attachment).filter(|sharer| number.0 >= sharer.lowest);
        match (wanted, self.spans.get_mut(&place)) {
            (Some(sharer), Some(span)) if status == StatusCode::NotExecuted => {
                span.step = Step::Doubtful;
                sharer.doubtful.insert(number.0, offset);
            }
            (Some(sharer), Some(span)) => {
                span.step = Step::Executed;
                let kept = Kept { status, safety: Safety::Here, offset };
                sharer.kept.insert(number.0, kept);
            }
            (None, Some(_)) => {
                self.spans.remove(&place);
            }
            (_, None) => {}
        }
        self.look();
    }

    /// A change that was admitted is not executed, or its life is over: it may come again.
    pub fn abandon(&mut self, (attachment, number): Which, offset: u64) {
        let place = (offset, attachment, number.0);
        if let Some(Span { step: Step::Waits(at), .. }) = self.spans.remove(&place) {
            self.waiting.remove(&at);
        }
        self.ready.retain(|which| *which != (attachment, number));
        self.back.retain(|which| *which != (attachment, number));
        self.look();
    }

    /// What was asked for with [`Ledger::to_store`] is on stable storage; or it could not be written, and is asked for
    /// again by [`Ledger::store_again`].
    pub fn stored(&mut self, attachment: AttachmentId, outcomes: &Outcomes, ok: bool) {
        let Some(sharer) = self.sharers.get_mut(&attachment) else { return };
        if sharer.instance != outcomes.instance {
            return;
        }
        for (number, _) in &outcomes.all {
            let Some(kept) = sharer.kept.get_mut(&number.0) else { continue };
            if kept.safety == Safety::Asked {
                kept.safety = if ok { Safety::Stored } else { Safety::Here };
                if ok {
                    self.spans.remove(&(kept.offset, attachment, number.0));
                }
            }
        }
        if ok {
            self.look();
        }
    }

    /// Looks once more what has to be stored, after that failed.
    pub fn store_again(&mut self) {
        self.look();
    }

    /// Changes that waited and are to be executed now, in the order in which they came.
    pub fn take_ready(&mut self) -> Vec<Which> {
        core::mem::take(&mut self.ready)
    }

    /// Changes that waited and are to be answered NOT EXECUTED now.
    pub fn take_back(&mut self) -> Vec<Which> {
        core::mem::take(&mut self.back)
    }

    /// Whose outcomes are to be stored now, with all of them; [`Ledger::stored`] follows for each.
    pub fn to_store(&mut self) -> Vec<(AttachmentId, Outcomes)> {
        let whose = core::mem::take(&mut self.to_store);
        let sharers = &self.sharers;
        let of = |attachment: AttachmentId| {
            let sharer = sharers.get(&attachment)?;
            let safe = sharer.kept.iter().filter(|(_, kept)| kept.safety > Safety::Here);
            let all = safe.map(|(number, kept)| (RequestNumber(*number), kept.status)).collect();
            Some((attachment, Outcomes { instance: sharer.instance, all }))
        };
        whose.into_iter().filter_map(of).collect()
    }

    /// Changes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Lets those go on whom nothing bars any more.
    fn look(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for (at, place) in self.waiting.clone() {
            let Some(end) = self.spans.get(&place).map(|span| span.end) else { continue };
            let which = (place.1, RequestNumber(place.2));
            match self.bar(place, end, at) {
                Bar::Waits => {}
                Bar::Nothing => {
                    self.waiting.remove(&at);
                    self.spans.insert(place, Span { end, step: Step::UnderWay });
                    self.ready.push(which);
                }
                Bar::Doubt => {
                    self.waiting.remove(&at);
                    self.spans.remove(&place);
                    self.back.push(which);
                }
            }
        }
    }

    /// Whether something stands in the way of a change that came as the `at`th; what an outcome on stable storage would
    /// clear away is to be stored.
    fn bar(&mut self, place: Place, end: u64, at: u64) -> Bar {
        let (offset, attachment, _) = place;
        let from = (offset.saturating_sub(self.longest), AttachmentId::NONE, 0);
        let mut bar = Bar::Nothing;
        for (&(other, whose, number), span) in self.spans.range(from..(end, AttachmentId::NONE, 0))
        {
            if span.end <= offset || (other, whose, number) == place {
                continue;
            }
            match span.step {
                Step::UnderWay => bar = bar.max(Bar::Waits),
                Step::Waits(before) if before < at => bar = bar.max(Bar::Waits),
                Step::Waits(_) => {}
                Step::Executed | Step::Doubtful if whose == attachment => {}
                Step::Doubtful => bar = Bar::Doubt,
                Step::Executed => {
                    bar = bar.max(Bar::Waits);
                    let kept = self.sharers.get_mut(&whose);
                    let kept = kept.and_then(|sharer| sharer.kept.get_mut(&number));
                    if let Some(kept) = kept.filter(|kept| kept.safety == Safety::Here) {
                        kept.safety = Safety::Asked;
                        self.to_store.insert(whose);
                    }
                }
            }
        }
        bar
    }
}
