//! What consumers asked for and was not answered yet: held, or sent and outstanding; and what was answered and is
//! retained.

use super::ask::{Again, Ask, Slot};
use super::legacy::Heritage;
use super::log::Log;
use super::{Action, Actions, Report, Retain};
use crate::violation::Violation;
use crate::{ConnId, MonoTime};
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;
use lull_wire::messages::{Reply, Request};
use lull_wire::{Features, Incarnation, OpCode, RequestFlags, RequestNumber, StatusCode};

/// The most numbers between the lowest unanswered request and the newest, both included [SAFE-11]. Beyond it new
/// requests are held.
pub const WINDOW: usize = 4096;

/// What a request that is transmitted carries, and whose its answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A consumer's, with the payload in its slot.
    Consumer(Slot),
    /// A retained change, with the payload that was kept under this place.
    Retained(u64),
    /// Nobody's: a flush of our own, or a request whose consumer was given an error.
    Nobody,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) slot: Slot,
    pub(super) ask: Ask,
    /// Bytes behind it that are asked for next.
    pub(super) rest: u64,
    pub(super) since: MonoTime,
}

/// One request that was sent at least once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) origin: Origin,
    pub(super) ask: Ask,
    /// Bytes behind it that are asked for next.
    pub(super) rest: u64,
    pub(super) since: MonoTime,
    /// Sent on the present connection and outstanding there.
    pub(super) live: bool,
    /// For a flush: the place in the log up to which it covers, which is all that was answered before it was sent.
    pub(super) covers: u64,
}

impl Sent {
    /// Its answer, where a consumer waits for one.
    fn answer(&self, status: StatusCode) -> Option<Action> {
        match self.origin {
            Origin::Consumer(slot) => Some(Action::Answer { slot, status }),
            Origin::Retained(_) | Origin::Nobody => None,
        }
    }

    /// [CONN-5] What a piece that is done leaves of its request, which was accepted with it: held like any other, and
    /// answered in the end. All are as long as the first.
    fn next_piece(&self, slot: Slot) -> Option<Held> {
        let length = self.rest.min(self.ask.length.into()) as u32;
        let ask = Ask { offset: self.ask.end(), length, ..self.ask };
        let rest = self.rest - u64::from(length);
        (length > 0).then_some(Held { slot, ask, rest, since: self.since })
    }

    /// What it counts in the log once it is answered.
    fn cost(&self) -> u64 {
        match self.origin {
            Origin::Consumer(_) if self.ask.changes() && !self.ask.is_durable() => {
                Log::cost_of(&self.ask)
            }
            Origin::Consumer(_) | Origin::Retained(_) | Origin::Nobody => 0,
        }
    }
}

/// What came of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Reply,
    /// A retained change was not executed again.
    NotReplayed(StatusCode),
    /// The same, and nothing is wrong with it: the target could not pass it on [CHAIN-1].
    NotPassedOn,
}

/// All requests of one attachment that are not answered, and the log of those that are answered and not flushed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    /// Not sent yet, in the order in which they came.
    pub(super) held: VecDeque<Held>,
    /// By number, from `lowest` on; answered ones are `None` until they are the first.
    pub(super) window: VecDeque<Option<Sent>>,
    pub(super) lowest: u64,
    /// Unanswered in an incarnation that is over: they are sent again under new numbers, behind what is retained.
    pub(super) unsent: VecDeque<Sent>,
    pub(super) live: u32,
    /// First byte → end of each change in the window. They never overlap [SAFE-3].
    pub(super) changing: BTreeMap<u64, u64>,
    /// What the changes in the window will count in the log.
    pub(super) coming: u64,
    pub(super) log: Log,
    /// In which everything in the log was executed.
    pub(super) settled: Incarnation,
    /// Requests that were given back and may be executed still, on the present connection.
    pub(super) late: u32,
    /// The number of a flush of our own that is outstanding.
    pub(super) own_flush: Option<u64>,
    /// A flush failed: the next of our own waits for the next round of keep-alive.
    pub(super) flush_failed: bool,
    /// What the target of the present connection can do: it may be older than the one before it.
    pub(super) offer: Offer,
    /// What the life before left is not known to be on stable storage.
    pub(super) heritage: Heritage,
    /// [SAFE-11] What is sent again has its number in every incarnation: others write as well, and the target knows
    /// by it what it came to.
    pub(super) shares: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Offer {
    pub(super) version: u16,
    pub(super) extents: bool,
    /// HOLD came: nothing new is sent until RESUME.
    held: bool,
}

impl Requests {
    /// Nothing asked for yet. Who `shares` the resource with other writers retains nothing: each change is durable by
    /// itself.
    pub fn new(retain: Retain, shares: bool) -> Self {
        let retain = if shares { Retain::UpTo(0) } else { retain };
        Self {
            held: VecDeque::new(),
            window: VecDeque::new(),
            lowest: 1,
            unsent: VecDeque::new(),
            live: 0,
            changing: BTreeMap::new(),
            coming: 0,
            log: Log::new(retain),
            settled: Incarnation::NONE,
            late: 0,
            own_flush: None,
            flush_failed: false,
            offer: Offer::default(),
            heritage: Heritage::Settled,
            shares,
        }
    }

    /// What may be asked on the present connection.
    pub fn offered(&mut self, version: u16, features: Features) {
        self.offer = Offer { version, extents: features.has(Features::EXTENTS), held: false };
    }

    /// [CHAIN-1] What the target could only keep is kept here, where there is room for it.
    pub fn hold_back(&mut self, held: bool) {
        self.offer.held = held;
    }

    pub fn hold(&mut self, now: MonoTime, slot: Slot, ask: Ask, rest: u64) {
        self.held.push_back(Held { slot, ask, rest, since: now });
    }

    /// Sends what is held, in order, as far as it may go: a change that overlaps an outstanding one waits for it, a
    /// change that the log has no room for waits for a flush, and what came after waits behind it [SAFE-3].
    pub fn send_held(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        if self.offer.held {
            return;
        }
        while let Some(first) = self.held.front().map(|held| held.ask) {
            if !self.has_room() || self.overlaps(&first) || !self.may_be_kept(&first) {
                break;
            }
            let Some(Held { slot, mut ask, rest, since }) = self.held.pop_front() else { break };
            if ask.changes() && self.log.is_beyond(&ask) && ask.op != OpCode::Discard {
                ask.flags = ask.flags.with(RequestFlags::FUA);
            }
            match ask.answer_without(self.offer) {
                None => self.send_piece(conn, Origin::Consumer(slot), ask, rest, since, actions),
                Some(status) => actions.push(Action::Answer { slot, status }),
            }
        }
        self.flush_in_time(now, conn, actions);
    }

    /// [SAFE-3] Whether the log will have room for it, or it needs none. What is too large to be kept is durable by
    /// itself, and waits until nothing older is kept that could be replayed over it.
    fn may_be_kept(&mut self, ask: &Ask) -> bool {
        if !ask.changes() {
            return true;
        }
        if self.log.is_beyond(ask) {
            return self.log.is_empty();
        }
        // [SAFE-1] What is durable by itself must not come under a replay of what it overwrote.
        if ask.is_durable() {
            return !self.log.overlaps(ask);
        }
        self.has_place(ask)
    }

    /// [SAFE-3] Whether the log has room for a change that it is to keep, beside those that are outstanding.
    fn has_place(&self, ask: &Ask) -> bool {
        self.log.has_room(self.coming + Log::cost_of(ask))
    }

    /// [SAFE-3] Whether what is held stands behind a change for which the log has no room.
    pub fn waits_for_room(&self) -> bool {
        self.held.front().is_some_and(|held| {
            held.ask.changes()
                && !held.ask.is_durable()
                && !self.log.is_beyond(&held.ask)
                && !self.has_place(&held.ask)
        })
    }

    /// What is retained counts so much against the bound.
    pub fn counted(&self) -> u64 {
        self.log.cost()
    }

    /// [SAFE-3] A flush of our own near the bound, and where somebody waits for room that no reply will make.
    fn flush_in_time(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        let is_time = self.log.is_near_bound()
            || match self.held.front().filter(|_| self.coming == 0).map(|held| held.ask) {
                Some(first) => !self.may_be_kept(&first),
                None => false,
            };
        // [SAFE-11] Where one request takes so long that no number is left, its reply makes room for the next try.
        let has_number = self.window.len() < WINDOW;
        if is_time && has_number && !self.flush_failed && !self.log.is_empty() {
            self.send_own_flush(now, conn, actions);
        }
    }

    /// A round of keep-alive, or RESUME after a hold: what failed may be tried again.
    pub fn flush_may_be_tried(&mut self) {
        self.flush_failed = false;
    }

    /// Whether one more number may be given. One is left for a flush of our own.
    fn has_room(&self) -> bool {
        self.window.len() + self.unsent.len() + 1 < WINDOW
    }

    /// Sends a flush that no consumer asked for, unless one is outstanding.
    pub fn send_own_flush(&mut self, now: MonoTime, conn: ConnId, actions: &mut Actions) {
        if self.own_flush.is_none() {
            self.own_flush = Some(self.next());
            self.send(conn, Origin::Nobody, Ask::FLUSH, now, actions);
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.lowest + self.window.len() as u64
    }

    pub(super) fn send(
        &mut self,
        conn: ConnId,
        origin: Origin,
        ask: Ask,
        since: MonoTime,
        actions: &mut Actions,
    ) {
        self.send_piece(conn, origin, ask, 0, since, actions);
    }

    pub(super) fn send_piece(
        &mut self,
        conn: ConnId,
        origin: Origin,
        ask: Ask,
        rest: u64,
        since: MonoTime,
        actions: &mut Actions,
    ) {
        if ask.changes() {
            self.changing.insert(ask.offset, ask.end());
        }
        let number = self.next();
        let sent = Sent { origin, ask, rest, since, live: true, covers: self.log.end() };
        self.coming += sent.cost();
        self.window.push_back(Some(sent));
        self.live += 1;
        actions.push(self.transmit(conn, number, origin, ask));
    }

    /// Sends every unanswered request again that is not outstanding on this connection, in the order of their numbers.
    pub fn send_again(&mut self, conn: ConnId, actions: &mut Actions) -> Again {
        let mut again = Again::default();
        for at in 0..self.window.len() {
            let Some(sent) = self.window[at].as_mut().filter(|sent| !sent.live) else { continue };
            if let Some(status) = sent.ask.answer_without(self.offer) {
                actions.extend(sent.answer(status));
                self.window[at] = None;
                continue;
            }
            sent.live = true;
            sent.covers = self.log.end();
            let (origin, ask) = (sent.origin, sent.ask);
            self.live += 1;
            again.count(&ask);
            actions.push(self.transmit(conn, self.lowest + at as u64, origin, ask));
        }
        while let Some(sent) = self.unsent.pop_front() {
            if let Some(status) = sent.ask.answer_without(self.offer) {
                actions.extend(sent.answer(status));
                continue;
            }
            again.count(&sent.ask);
            self.send_piece(conn, sent.origin, sent.ask, sent.rest, sent.since, actions);
        }
        self.forget_answered();
        again
    }

    pub(super) fn transmit(&self, conn: ConnId, number: u64, origin: Origin, ask: Ask) -> Action {
        let Ask { op, flags, offset, length } = ask;
        // Zeroes that a target cannot be told to be quick about are written all the same.
        let flags = flags.within(self.offer.version);
        let (number, lowest) = (RequestNumber(number), RequestNumber(self.lowest));
        let request = Request { number, lowest, offset, length, op, flags };
        Action::Transmit { conn, origin, request }
    }

    /// Takes a reply: answers its consumer, or keeps the request where it was not executed.
    pub fn replied(&mut self, reply: &Reply, actions: &mut Actions) -> Result<Took, Violation> {
        let unknown = Violation::UnknownRequest(reply.number);
        let at = reply.number.0.checked_sub(self.lowest).ok_or(unknown)?;
        let place =
            usize::try_from(at).ok().and_then(|at| self.window.get_mut(at)).ok_or(unknown)?;
        let sent = place.as_mut().filter(|sent| sent.live).ok_or(unknown)?;
        self.live -= 1;
        if reply.status == StatusCode::NotExecuted && matches!(sent.origin, Origin::Consumer(_)) {
            sent.live = false;
            return Ok(Took::Reply);
        }
        // [CONN-3] Once.
        let Some(sent) = place.take() else { return Err(unknown) };
        self.forget_answered();
        self.coming -= sent.cost();
        let done = reply.status == StatusCode::Done;
        let is_own_flush = self.own_flush == Some(reply.number.0);
        forget_change(&mut self.changing, &sent.ask);
        if sent.ask.op == OpCode::Flush {
            self.flushed(&sent, reply, done, actions);
        }
        match sent.origin {
            Origin::Consumer(slot) => {
                if done && sent.ask.changes() && self.is_to_be_kept(&sent.ask) {
                    // What was quick here is to be repeated anywhere.
                    let flags = sent.ask.flags.without(RequestFlags::FAST);
                    if self.log.keeps() {
                        let ask = Ask { flags, ..sent.ask };
                        let place = self.log.push(ask);
                        actions.push(Action::Retain { slot, place, ask });
                    } else {
                        self.log.count(&sent.ask);
                    }
                }
                match sent.next_piece(slot).filter(|_| done) {
                    // It came before all that is held.
                    Some(piece) => self.held.push_front(piece),
                    None => actions.push(Action::Answer { slot, status: reply.status }),
                }
            }
            // It stays retained, and is sent once more with all that is.
            Origin::Retained(_) if reply.status == StatusCode::NotExecuted => {
                return Ok(Took::NotPassedOn);
            }
            // Of a flush that an earlier life left to be done the same is true.
            Origin::Nobody
                if reply.status == StatusCode::NotExecuted
                    && self.heritage != Heritage::Settled =>
            {
                return Ok(Took::NotPassedOn);
            }
            Origin::Retained(_) if !done => return Ok(Took::NotReplayed(reply.status)),
            Origin::Nobody if !is_own_flush && self.late > 0 => {
                self.late -= 1;
                if self.late == 0 {
                    actions.push(Action::Report(Report::LateAnswered));
                }
            }
            Origin::Retained(_) | Origin::Nobody => {}
        }
        Ok(Took::Reply)
    }

    /// [SAFE-1] A durable change needs no place: when it was sent nothing was kept that it overwrote.
    fn is_to_be_kept(&self, ask: &Ask) -> bool {
        !self.log.is_beyond(ask) && !ask.is_durable()
    }

    fn flushed(&mut self, sent: &Sent, reply: &Reply, done: bool, actions: &mut Actions) {
        self.own_flush.take_if(|number| *number == reply.number.0);
        self.flush_failed = !done;
        if done && self.heritage == Heritage::ToFlush {
            self.heritage = Heritage::Settled;
        }
        if done && self.log.release(sent.covers) {
            actions.push(Action::Release { before: self.log.first() });
        }
    }

    /// [RESUME-2] Answers unanswered changes with an error: others went on without them, so that nobody knows what
    /// became of them, and they are never sent again. Nothing is outstanding.
    pub fn give_up_changes(&mut self, actions: &mut Actions) -> Again {
        let mut lost = Again::default();
        for place in &mut self.window {
            let Some(sent) = place.take_if(|sent| sent.ask.changes()) else { continue };
            forget_change(&mut self.changing, &sent.ask);
            self.coming -= sent.cost();
            if let Some(answer) = sent.answer(StatusCode::Io) {
                lost.count(&sent.ask);
                actions.push(answer);
            }
        }
        self.forget_answered();
        lost
    }

    fn forget_answered(&mut self) {
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.lowest += 1;
        }
    }

    /// The connection is gone: nothing is outstanding on it any more. A flush of our own dies with it, and so does what
    /// was replayed: it is still in the log.
    pub fn lost(&mut self) {
        for place in &mut self.window {
            match place {
                // [CONN-3] Its consumer waits on.
                Some(Sent { origin: Origin::Consumer(_), live, .. }) => *live = false,
                Some(sent) => {
                    forget_change(&mut self.changing, &sent.ask);
                    *place = None;
                }
                None => {}
            }
        }
        self.live = 0;
        self.late = 0;
        self.own_flush = None;
        self.flush_failed = false;
        self.forget_answered();
    }

    /// Gives back whatever is not outstanding on the present connection: who asked keeps it, and asks again [CHAIN-1].
    /// With `all` what is outstanding too: [CONN-3] its late reply goes nowhere, and what overlaps it waits for that.
    pub fn give_back(&mut self, all: bool, actions: &mut Actions) {
        let not_executed = |slot| Action::Answer { slot, status: StatusCode::NotExecuted };
        for place in &mut self.window {
            let Some(sent) = place else { continue };
            let Origin::Consumer(slot) = sent.origin else { continue };
            if sent.live && !all {
                continue;
            }
            actions.push(not_executed(slot));
            self.coming -= sent.cost();
            sent.origin = Origin::Nobody;
            self.late += u32::from(sent.live);
            if !sent.live {
                forget_change(&mut self.changing, &sent.ask);
                *place = None;
            }
        }
        self.forget_answered();
        let unsent = self.unsent.drain(..);
        actions.extend(unsent.filter_map(|sent| sent.answer(StatusCode::NotExecuted)));
        actions.extend(self.held.drain(..).map(|held| not_executed(held.slot)));
    }

    /// Answers everything with an error. What is outstanding may still be executed: [CONN-3] its answer goes nowhere.
    pub fn fail_all(&mut self, actions: &mut Actions) {
        let fail = |slot| Action::Answer { slot, status: StatusCode::Io };
        for place in &mut self.window {
            let Some(sent) = place else { continue };
            let Origin::Consumer(slot) = sent.origin else { continue };
            actions.push(fail(slot));
            self.coming -= sent.cost();
            sent.origin = Origin::Nobody;
            if !sent.live {
                forget_change(&mut self.changing, &sent.ask);
                *place = None;
            }
        }
        self.forget_answered();
        for sent in self.unsent.drain(..) {
            if let Origin::Consumer(slot) = sent.origin {
                actions.push(fail(slot));
            }
        }
        for held in self.held.drain(..) {
            actions.push(fail(held.slot));
        }
    }

    pub(super) fn overlaps(&self, ask: &Ask) -> bool {
        ask.changes()
            && self
                .changing
                .range(..ask.end())
                .next_back()
                .is_some_and(|(_, end)| *end > ask.offset)
    }

    /// Whether changes were answered, or may have been executed, that are not known to be on stable storage.
    pub fn is_dirty(&self) -> bool {
        !self.log.is_empty() || self.unanswered().any(|sent| sent.ask.changes())
    }

    /// Whether a flush has something to do.
    pub fn is_unflushed(&self) -> bool {
        !self.log.is_empty()
    }

    fn unanswered(&self) -> impl Iterator<Item = &Sent> {
        self.window.iter().flatten().chain(&self.unsent)
    }

    /// Whether something that was given back may be executed still.
    pub fn are_late(&self) -> bool {
        self.late > 0
    }

    /// Requests outstanding on the present connection.
    pub fn in_flight(&self) -> u32 {
        self.live
    }

    /// Requests that were sent and are not outstanding: they are sent again.
    pub fn kept(&self) -> u32 {
        self.unanswered().filter(|sent| !sent.live).count() as u32
    }

    pub fn held(&self) -> u32 {
        self.held.len() as u32
    }

    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.window.is_empty() && self.unsent.is_empty()
    }

    pub fn lowest(&self) -> RequestNumber {
        RequestNumber(self.lowest)
    }

    /// Changes that were answered and that no flush covers: how many, and their bytes.
    pub fn retained(&self) -> (u64, u64) {
        (self.log.len(), self.log.bytes())
    }

    /// The age of the oldest request that is unanswered and was sent.
    pub fn oldest(&self, now: MonoTime) -> Duration {
        let sent = self.unanswered().map(|sent| sent.since);
        sent.min().map_or(Duration::ZERO, |since| now.since(since))
    }

    /// When the consumer of an outstanding request asked for it; `None` where none waits.
    pub fn asked(&self, number: RequestNumber) -> Option<MonoTime> {
        let at = usize::try_from(number.0.checked_sub(self.lowest)?).ok()?;
        let sent = self.window.get(at)?.as_ref()?;
        matches!(sent.origin, Origin::Consumer(_)).then_some(sent.since)
    }

    /// The age of the oldest request of a consumer, held or sent: at RESUME, the longest stall.
    pub fn longest_wait(&self, now: MonoTime) -> Duration {
        let held = self.held.front().map_or(Duration::ZERO, |held| now.since(held.since));
        held.max(self.oldest(now))
    }
}

/// It is not outstanding any more. Only a change has an entry: a flush or a read may begin where a change does.
fn forget_change(changing: &mut BTreeMap<u64, u64>, ask: &Ask) {
    if ask.changes() {
        changing.remove(&ask.offset);
    }
}
