//! Deadlines: when the machine wants to be woken, and what it does then.

use super::state::Probe;
use super::{
    Action, Actions, Course, Expiry, Held, Initiator, Outage, Policy, Report, Stage, State, Timer,
};
use crate::beat::Round;
use crate::time::earliest;
use crate::{ConnId, MonoTime};
use lull_wire::messages::Ping;

impl Initiator {
    /// When [`Event::Tick`](super::Event::Tick) is due.
    pub fn deadline(&self) -> Option<MonoTime> {
        match &self.state {
            State::Idle | State::Ended(_) => None,
            State::Away { outage, next } => earliest([Some(*next), running(outage)]),
            State::Dialling { dial, .. } => Some(dial.limit),
            State::Attaching { link, resume, .. }
            | State::Replaying { link, resume, pause: None, .. }
            | State::Ready { link, resume, .. } => {
                let runs = resume.probe == Probe::NotYet;
                earliest([Some(link.beat.deadline()), runs.then_some(resume.by)])
            }
            // [PAUSE-8] PAUSE stops the resume timer.
            State::Replaying { link, pause: Some(pause), .. }
            | State::Draining { link, pause }
            | State::Flushing { link, pause } => {
                earliest([Some(link.beat.deadline()), Some(pause.until), Some(pause.progress_at)])
            }
            State::Paused { link, pause } => {
                earliest([Some(link.beat.deadline()), Some(pause.until)])
            }
            State::Sharing { link } | State::Leaving { link, .. } => {
                let silence = link.held.as_ref().map(Held::silent_at);
                earliest([Some(link.beat.deadline()), silence])
            }
        }
    }

    pub(super) fn tick(&mut self, now: MonoTime, actions: &mut Actions) {
        match &mut self.state {
            State::Idle | State::Ended(_) => {}
            State::Away { outage, next } => {
                if running(outage).is_some_and(|deadline| deadline <= now) {
                    outage.expiry = Expiry::Due;
                    // [TIMER-6] Whether the target is really away is found out first.
                    *next = now;
                }
                if *next <= now {
                    let outage = outage.clone();
                    self.dial(now, outage, actions);
                }
            }
            // The restart timer looks on: a dial that was begun before its end says nothing about it [TIMER-6].
            State::Dialling { dial, .. } => {
                if dial.limit <= now {
                    let conn = dial.conn;
                    actions.push(Action::HangUp { conn });
                    self.refusal = None;
                    self.give_up_dial(now, None, actions);
                }
            }
            State::Attaching { .. }
            | State::Replaying { pause: None, .. }
            | State::Ready { .. } => self.tick_arriving(now, actions),
            State::Replaying { pause: Some(pause), .. }
            | State::Draining { pause, .. }
            | State::Flushing { pause, .. } => {
                let (over, due) = (pause.until <= now, pause.progress_at <= now);
                self.tick_pause(now, over, actions);
                if due {
                    self.progress(now, actions);
                }
            }
            State::Paused { pause, .. } => {
                let over = pause.until <= now;
                self.tick_pause(now, over, actions);
            }
            State::Sharing { link } | State::Leaving { link, .. } => {
                let silent = link.held.as_ref().is_some_and(|held| held.silent_at() <= now);
                if silent {
                    actions.push(Action::Report(Report::HoldSilent));
                }
                self.tick_pause(now, silent, actions);
            }
        }
    }

    /// Keep-alive of the present connection [CONN-2].
    fn tick_link(&mut self, now: MonoTime, actions: &mut Actions) {
        let token = self.pings + 1;
        let Some(link) = self.link_mut() else { return };
        let conn = link.conn;
        match link.beat.tick(now) {
            Round::NotYet => {}
            Round::Due => {
                self.ping(conn, token, actions);
                self.flush_once_more(now, actions);
            }
            Round::Silent => {
                actions.push(Action::HangUp { conn });
                self.lost(now, conn, actions);
            }
        }
    }

    fn ping(&mut self, conn: ConnId, token: u64, actions: &mut Actions) {
        self.pings = token;
        actions.push(Action::Send { conn, message: Ping { token }.into() });
    }

    /// [PAUSE-10] A pause that nobody renews or ends is a loss. [CHAIN-1] So is a HOLD.
    fn tick_pause(&mut self, now: MonoTime, over: bool, actions: &mut Actions) {
        match self.conn() {
            Some(conn) if over => {
                actions.push(Action::HangUp { conn });
                self.lost(now, conn, actions);
            }
            Some(_) | None => self.tick_link(now, actions),
        }
    }

    fn tick_arriving(&mut self, now: MonoTime, actions: &mut Actions) {
        let token = self.pings + 1;
        if let State::Attaching { link, resume, .. }
        | State::Replaying { link, resume, .. }
        | State::Ready { link, resume, .. } = &mut self.state
            && resume.probe == Probe::NotYet
            && resume.by <= now
        {
            let conn = link.conn;
            resume.probe = Probe::Sent(token);
            self.ping(conn, token, actions);
        }
        self.tick_link(now, actions);
    }

    /// A keep-alive round after the resume timer's end brought no RESUME [TIMER-6].
    pub(super) fn ponged(&mut self, token: u64, actions: &mut Actions) {
        let (State::Attaching { outage, resume, .. }
        | State::Replaying { outage, resume, .. }
        | State::Ready { outage, resume, .. }) = &mut self.state
        else {
            return;
        };
        if resume.probe == Probe::Sent(token) {
            resume.probe = Probe::Answered;
            match outage.expiry {
                Expiry::Running | Expiry::Due => self.run_policy(Timer::Resume, actions),
                Expiry::Ran(_) => self.shut_down_if_prepared(actions),
            }
        }
    }

    /// What was begun after the restart timer's end, a dial or all of the road up to RESUME, came to nothing.
    pub(super) fn expire(&mut self, actions: &mut Actions) {
        if self.outage().is_some_and(|outage| outage.expiry == Expiry::Due) {
            self.run_policy(Timer::Restart, actions);
        }
        self.shut_down_if_prepared(actions);
    }

    /// [TIMER-1]
    fn run_policy(&mut self, timer: Timer, actions: &mut Actions) {
        let policy = self.config.policy;
        let (State::Away { outage, .. }
        | State::Attaching { outage, .. }
        | State::Replaying { outage, .. }
        | State::Ready { outage, .. }) = &mut self.state
        else {
            return;
        };
        outage.expiry = Expiry::Ran(match policy {
            Policy::Wait | Policy::Hook => Course::Holding,
            Policy::Error => Course::Failing,
            Policy::Shutdown => Course::ShuttingDown(Stage::Preparing),
        });
        actions.push(Action::Report(Report::Expired { timer, policy }));
        match policy {
            Policy::Wait => {}
            Policy::Error => self.requests.fail_all(actions),
            Policy::Hook => actions.push(Action::RunHook(timer)),
            Policy::Shutdown => {
                // [TIMER-2] Whoever is to shut down must not wait for what is held here.
                self.requests.fail_all(actions);
                actions.push(Action::PrepareShutdown(timer));
            }
        }
    }
}

/// The restart timer's end, while it runs.
fn running(outage: &Outage) -> Option<MonoTime> {
    if outage.expiry == Expiry::Running { outage.deadline } else { None }
}
