//! From ATTACHED to READY: in an incarnation that is not the one it knew, an initiator sends again whatever may be
//! missing there [SAFE-2] [RESUME-3].

use super::legacy::Heritage;
use super::requests::{Origin, Requests, Sent, Took, WINDOW};
use super::{
    Action, Actions, Again, Initiator, Link, Outage, Pause, REFUSED_WAIT, Report, Resume, State,
    Why,
};
use crate::{ConnId, MonoTime};
use core::time::Duration;
use lull_wire::messages::Ready;
use lull_wire::{Incarnation, OpCode, StatusCode};

/// The most requests of a replay that are outstanding together, and the most of their bytes: their payloads are copies.
const OUTSTANDING: u32 = 256;
const OUTSTANDING_BYTES: u64 = 4 << 20;

/// How far a replay is. Each stage begins when nothing of the one before is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Retained changes, in the order of their acknowledgement, from this place on.
    Retained(u64),
    /// Unanswered changes.
    Changes,
    /// Unanswered flushes.
    Flushes,
    /// What is left, reads, is sent after RESUME.
    Done,
    /// Something retained was not executed: all of it goes once more, from the beginning [CHAIN-1].
    Broken,
}

/// A replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replay {
    pub(super) stage: Stage,
    /// What was sent so far.
    pub(super) again: Again,
    /// Bytes of retained changes that are outstanding.
    outstanding: u64,
}

impl Requests {
    /// Whether everything that was acknowledged was executed in this incarnation, and what an earlier life left is flushed.
    pub(super) fn is_settled(&self, incarnation: Incarnation) -> bool {
        self.settled == incarnation && self.heritage == Heritage::Settled
    }

    /// What has to be sent before READY in this incarnation; `None`: nothing, it is the one in which everything was
    /// executed.
    pub(super) fn begin_replay(
        &mut self,
        incarnation: Incarnation,
        actions: &mut Actions,
    ) -> Option<Replay> {
        // [RESUME-3] There nothing can be missing.
        if self.is_settled(incarnation) {
            return None;
        }
        // [CHAIN-4] Whoever asked retains it, and replays when he has heard of it.
        if !self.log.keeps() {
            let first = core::mem::replace(&mut self.settled, incarnation).is_none();
            if !first {
                actions.push(Action::LifeLost);
                actions.push(Action::Report(Report::GivenBack));
                self.give_back(true, actions);
                self.log.forget();
            }
            return None;
        }
        // [SAFE-10] What a life before this one was answered needs a flush in the same incarnation, and no more.
        if self.settled == incarnation {
            let (stage, again) = (Stage::Changes, Again::default());
            return Some(Replay { stage, again, outstanding: 0 });
        }
        // What is retained goes first, under numbers above all others. [SAFE-11] Who shares retains nothing.
        if !self.shares {
            self.lowest = self.next();
            let unanswered = self.window.drain(..).flatten().chain(self.unsent.drain(..)).collect();
            self.unsent = unanswered;
            self.changing.clear();
            self.coming = 0;
        }
        let stage = Stage::Retained(self.log.first());
        Some(Replay { stage, again: Again::default(), outstanding: 0 })
    }

    /// Sends what may be sent now; whether nothing is left to be waited for.
    pub(super) fn replay(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        incarnation: Incarnation,
        replay: &mut Replay,
        actions: &mut Actions,
    ) -> bool {
        loop {
            replay.stage = match replay.stage {
                Stage::Retained(place) => {
                    let place = self.send_retained(now, conn, place, replay, actions);
                    if place < self.log.end() || self.in_flight() > 0 {
                        replay.stage = Stage::Retained(place);
                        return false;
                    }
                    self.send_unsent(conn, replay, actions, |sent| sent.ask.changes());
                    Stage::Changes
                }
                Stage::Changes if self.in_flight() == 0 => {
                    self.send_unsent(conn, replay, actions, |sent| sent.ask.op == OpCode::Flush);
                    if self.heritage != Heritage::Settled {
                        self.send_own_flush(now, conn, actions);
                    }
                    Stage::Flushes
                }
                Stage::Flushes if self.in_flight() == 0 => {
                    // [SAFE-10] Not before all of it is there: a life that ends earlier leaves all of it.
                    self.settled = incarnation;
                    actions.push(Action::Settle(incarnation));
                    Stage::Done
                }
                Stage::Changes | Stage::Flushes | Stage::Broken => return false,
                Stage::Done => return true,
            };
        }
    }

    /// Overlapping ones are never outstanding together [SAFE-3].
    fn send_retained(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        mut place: u64,
        replay: &mut Replay,
        actions: &mut Actions,
    ) -> u64 {
        if self.in_flight() == 0 {
            replay.outstanding = 0;
        }
        while let Some(ask) = self.log.get(place) {
            let busy = self.in_flight() >= OUTSTANDING || replay.outstanding >= OUTSTANDING_BYTES;
            // [SAFE-11] Thousands of small ones may be answered while the first of them is not.
            if busy || self.window.len() >= WINDOW || self.overlaps(&ask) {
                break;
            }
            replay.outstanding += u64::from(ask.length);
            replay.again.count(&ask);
            self.send(conn, Origin::Retained(place), ask, now, actions);
            place += 1;
        }
        place
    }

    fn send_unsent(
        &mut self,
        conn: ConnId,
        replay: &mut Replay,
        actions: &mut Actions,
        which: impl Fn(&Sent) -> bool,
    ) {
        for at in 0..self.window.len() {
            let Some(sent) = self.window[at].as_mut().filter(|sent| !sent.live && which(sent))
            else {
                continue;
            };
            sent.live = true;
            let (origin, ask) = (sent.origin, sent.ask);
            self.live += 1;
            replay.again.count(&ask);
            actions.push(self.transmit(conn, self.lowest + at as u64, origin, ask));
        }
        for sent in core::mem::take(&mut self.unsent) {
            if which(&sent) {
                replay.again.count(&sent.ask);
                self.send_piece(conn, sent.origin, sent.ask, sent.rest, sent.since, actions);
            } else {
                self.unsent.push_back(sent);
            }
        }
    }
}

impl Initiator {
    /// ATTACHED came, on a session that may be told of it.
    pub(super) fn bring_up(
        &mut self,
        now: MonoTime,
        outage: Outage,
        link: Link,
        resume: Resume,
        actions: &mut Actions,
    ) {
        match self.requests.begin_replay(link.incarnation, actions) {
            None => self.be_ready(outage, link, resume, Again::default(), actions),
            Some(replay) => {
                self.state = State::Replaying { outage, link, resume, replay, pause: None };
                self.replay(now, actions);
            }
        }
    }

    /// Goes on with the replay, where one is under way.
    pub(super) fn replay(&mut self, now: MonoTime, actions: &mut Actions) {
        let State::Replaying { link, replay, pause, .. } = &mut self.state else { return };
        if replay.stage == Stage::Broken {
            if self.requests.in_flight() == 0 && pause.is_some() {
                self.replayed(now, actions);
            }
            return;
        }
        let (conn, incarnation) = (link.conn, link.incarnation);
        let begun = replay.again.requests > 0;
        let done = self.requests.replay(now, conn, incarnation, replay, actions);
        if !begun && replay.again.requests > 0 {
            let (changes, bytes) = self.requests.retained();
            actions.push(Action::Report(Report::Replaying { changes, bytes }));
        }
        if done {
            self.replayed(now, actions);
        }
    }

    fn replayed(&mut self, now: MonoTime, actions: &mut Actions) {
        match self.take() {
            State::Replaying { outage, link, resume, replay, pause: None } => {
                self.be_ready(outage, link, resume, replay.again, actions);
            }
            State::Replaying { outage, link, replay, pause: Some(pause), .. }
                if replay.stage == Stage::Broken =>
            {
                let pause = Pause { before: Some(outage), ..pause };
                self.complete_unreplayed(now, link, pause, actions);
            }
            // [PAUSE-8] During a pause no RESUME comes first: what is left is finished at once.
            State::Replaying { outage, link, pause: Some(pause), .. } => {
                self.drain(now, link, Pause { before: Some(outage), ..pause }, actions);
            }
            other => self.state = other,
        }
    }

    /// [SAFE-2] What is replayed and answered with an error stays retained, and everybody waits: the whole of it is
    /// tried again while the restart timer runs.
    pub(super) fn took(&mut self, now: MonoTime, took: Took, actions: &mut Actions) {
        match took {
            Took::Reply => self.advance(now, actions),
            Took::NotReplayed(status) => self.not_replayed(now, status, actions),
            Took::NotPassedOn => {
                if let State::Replaying { replay, .. } = &mut self.state {
                    replay.stage = Stage::Broken;
                }
                self.advance(now, actions);
            }
        }
    }

    /// A round of keep-alive after a replay was cut short, and nobody asked for a pause: it is tried again.
    pub(super) fn replay_again(&mut self, now: MonoTime, actions: &mut Actions) {
        let quiet = self.requests.in_flight() == 0;
        match self.take() {
            State::Replaying { outage, link, resume, replay, pause: None }
                if replay.stage == Stage::Broken && quiet =>
            {
                self.bring_up(now, outage, link, resume, actions);
            }
            other => self.state = other,
        }
    }

    fn not_replayed(&mut self, now: MonoTime, status: StatusCode, actions: &mut Actions) {
        let Some(conn) = self.conn() else { return };
        let (changes, bytes) = self.requests.retained();
        actions.push(Action::Report(Report::Faulted { status, changes, bytes }));
        actions.push(Action::HangUp { conn });
        self.go_away(now, Why::Faulted, Duration::ZERO, actions);
        if let State::Away { next, .. } = &mut self.state {
            *next = (*next).max(now + REFUSED_WAIT);
        }
    }

    fn be_ready(
        &mut self,
        outage: Outage,
        link: Link,
        resume: Resume,
        again: Again,
        actions: &mut Actions,
    ) {
        // [SAFE-7] [SAFE-8] Nothing flows before the next life of this daemon would know to which resource, and in which
        // tenure.
        if self.is_noted {
            say_ready(link.conn, again, actions);
        }
        self.state = State::Ready { outage, link, resume, again };
    }

    pub(super) fn remembered(&mut self, actions: &mut Actions) {
        if !core::mem::replace(&mut self.is_noted, true)
            && let State::Ready { link, again, .. } = &self.state
        {
            say_ready(link.conn, *again, actions);
        }
    }
}

pub(super) fn say_ready(conn: ConnId, again: Again, actions: &mut Actions) {
    let message = Ready { replayed: again.requests, replayed_bytes: again.bytes }.into();
    actions.push(Action::Send { conn, message });
}
