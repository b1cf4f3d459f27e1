//! The initiator's machine: one attachment to one resource.
//!
//! ```text
//!              the wait is over, KNOCK, the restart timer's end
//!            ┌────────────────── Away ◀── gone or refused before RESUME; a dial or a replay that failed
//!            ▼
//!  Idle ─▶ Dialling ─ CONNECT ─▶ Attaching ─ ATTACHED ─▶ (Replaying) ─▶ Ready ─ RESUME ─▶ Sharing ─ detach ─▶ Leaving
//!            ▲                                                │ PAUSE     │ PAUSE           │   ▲          DETACHED │
//!            │                                                ▼           ▼           PAUSE │   │                   ▼
//!            │                                Paused ◀─ Flushing ◀─ Draining ◀──────────────┘   │                 Ended
//!            │                                  └───────────┴──────────┴── RESUME: aborted ─────┘
//!            └── gone after RESUME
//! ```
//!
//! [`State`] lists every way out of every state.
//!
//! Requests are accepted in every state but `Ended`, until the attachment is to leave or its policy fails them; only
//! `Sharing` sends new ones, and `Leaving` those that were accepted before.

mod arrive;
mod ask;
mod config;
mod cover;
mod hold;
mod leave;
mod legacy;
mod log;
mod outage;
mod pause;
mod refusing;
#[cfg(feature = "renaming")]
mod renaming;
mod replay;
mod report;
mod requests;
mod shutdown;
mod state;
mod succession;
mod tick;

pub use ask::{Again, Ask, Slot};
pub use config::{Config, Memory, Policy, Retain};
pub use hold::Held;
pub use legacy::Legacy;
pub use outage::{Course, Expiry, Marks, Outage, Stage, Why};
pub use replay::Replay;
pub use report::{End, Interruption, Phase, Report, Timer, View};
pub use requests::{Origin, WINDOW};
pub use state::{Dial, Leaving, Link, Pause, Resume, State};
pub use succession::{Succession, Waiting};

use crate::geometry::Geometry;
use crate::{ConnId, MonoTime, Violation};
use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::{Path, Pong, Reply, Request};
use lull_wire::{Incarnation, Message, StatusCode, VERSION};
use refusing::Refusing;
use requests::Requests;
use state::{Intent, Probe, Step};

/// The longest that a dial may take, from connecting to CONNECT [CONN-6].
pub const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// How long after a pause's span its silence is taken for a loss [PAUSE-10].
pub const PAUSE_MARGIN: Duration = Duration::from_secs(10);
/// The wait after a replay that failed, and the first after a final refusal of an attachment that consumers use: an
/// operator may mend the cause, and "gone" can be left at any time [TIMER-3].
const REFUSED_WAIT: Duration = Duration::from_secs(2);
/// How often PAUSE PROGRESS is sent at least [PAUSE-4].
pub const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Event {
    /// The daemon is ready to dial.
    Begin,
    /// A consumer asks. It is answered exactly once [CONN-3]. `rest`: bytes behind `ask` that belong to the same request,
    /// of which the target takes no more at once; they are asked for in further pieces, each as long as `ask` or shorter.
    Submit { slot: Slot, ask: Ask, rest: u64 },
    /// The connection stands.
    Dialled { conn: ConnId },
    /// It could not be had.
    DialFailed { conn: ConnId },
    /// A message came.
    Received { conn: ConnId, message: Message },
    /// A reply came.
    Replied { conn: ConnId, reply: Reply },
    /// The connection ended, or what came was no message.
    Lost { conn: ConnId },
    /// The attachment is to end; `at_once`: even if the target is away.
    Detach { at_once: bool },
    /// Whether front ends have taken what they are to ask more of: in several steps, or once there is memory. While `on` that
    /// is taken although the attachment is to end, which it does not before [CONN-5].
    Halfway { on: bool },
    /// What was to be remembered of the first ATTACHED of this life is on stable storage, and with it the instance.
    Remembered,
    /// A target hints that it is back.
    Knocked,
    /// What [`Action::PrepareShutdown`] began has ended, or its time is up.
    Prepared,
    /// From here on, whatever cannot be sent at once, or sent again, is answered NOT EXECUTED, and while the target holds
    /// what is outstanding there, too; with `on` false it is held again. Only with [`Retain::Elsewhere`] [CHAIN-1].
    GiveBack { on: bool },
    /// A deadline has come. Input that is there is to be handled first [TIMER-6].
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Action {
    /// Connect to the target.
    Dial { conn: ConnId },
    /// Send a message.
    Send { conn: ConnId, message: Message },
    /// Send a request, with the payload that its origin names where it is a write.
    Transmit { conn: ConnId, origin: Origin, request: Request },
    /// Close the connection once what was sent is written; nothing of it is wanted any more.
    HangUp { conn: ConnId },
    /// Answer the slot's consumer and free the slot. NOT EXECUTED only where [`Retain::Elsewhere`] is. For a read that is done its reply's payload is the answer.
    Answer { slot: Slot, status: StatusCode },
    /// Keep a change of the slot's, all of it or a piece, under the next place of the log, over its answer, which
    /// follows, or comes after the pieces that follow [SAFE-1].
    Retain { slot: Slot, place: u64, ask: Ask },
    /// Let go of everything that is kept under lower places.
    Release { before: u64 },
    /// The resource has a new incarnation, or the attachment has ended: what was changed since the last flush may be lost.
    /// Nothing of the old one may be answered any more but NOT EXECUTED. Only with [`Retain::Elsewhere`] [CHAIN-4].
    LifeLost,
    /// Note beside the log that all of it was executed in this incarnation, for the next life.
    Settle(Incarnation),
    /// Show the front end: the resource is known now.
    Open(Geometry),
    /// The resource has grown to this many bytes.
    Resize(u64),
    /// Keep over the daemon's end; [`Event::Remembered`] follows the first of them at least.
    Remember(Memory),
    /// A timer ended: run the attachment's command.
    RunHook(Timer),
    /// A timer ended: say why the host is to go down, and run what is to run before; [`Event::Prepared`] follows.
    PrepareShutdown(Timer),
    /// The target is back in time: what was begun by [`Action::PrepareShutdown`] leads to nothing.
    CancelShutdown,
    /// Shut the host down. Nothing takes this back.
    ShutDown,
    /// Tell people.
    Report(Report),
}

/// Where a machine puts what is to be done, in order.
pub type Actions = Vec<Action>;

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Initiator {
    config: Config,
    state: State,
    requests: Requests,
    memory: Memory,
    intent: Intent,
    /// Front ends have more to ask of what was accepted.
    halfway: bool,
    /// Whether the next life will find which resource this one was attached to, and in which tenure.
    is_noted: bool,
    /// What the consumers were told, from the first ATTACHED on.
    promised: Option<Geometry>,
    /// The nodes that the resource leads through, as far as they are known.
    path: Path,
    /// Why the target refuses, until it grants, or cannot be reached.
    refusal: Option<Refusing>,
    /// What cannot be passed on is not kept.
    gives_back: bool,
    /// Until it begins: the outage of the consumers of a life before this one.
    before: Option<Outage>,
    conns: u64,
    pings: u64,
    chance: u64,
}

impl Initiator {
    /// An attachment that has not begun.
    pub fn new(config: Config) -> Self {
        Self {
            state: State::Idle,
            requests: Requests::new(config.retain, config.access == lull_wire::Access::Shared),
            memory: config.memory,
            intent: Intent::Stay,
            halfway: false,
            is_noted: false,
            promised: None,
            path: Path::default(),
            refusal: None,
            gives_back: false,
            before: None,
            conns: 0,
            pings: 0,
            chance: config.seed | 1,
            config,
        }
    }

    /// Takes what happened; appends what is to be done.
    pub fn handle(&mut self, now: MonoTime, event: Event, actions: &mut Actions) {
        match event {
            Event::Begin => self.begin(now, actions),
            Event::Submit { slot, ask, rest } => self.submit(now, slot, ask, rest, actions),
            Event::Dialled { conn } => self.dialled(conn, actions),
            Event::DialFailed { conn } => self.dial_failed(now, conn, actions),
            Event::Received { conn, message } => self.received(now, conn, message, actions),
            Event::Replied { conn, reply } => self.replied(now, conn, &reply, actions),
            Event::Lost { conn } => self.lost(now, conn, actions),
            Event::Detach { at_once } => self.detach(now, at_once, actions),
            Event::Halfway { on } => {
                self.halfway = on;
                self.leave(now, actions);
            }
            Event::Remembered => self.remembered(actions),
            Event::Knocked => self.knocked(now, actions),
            Event::Prepared => self.prepared(actions),
            Event::GiveBack { on } => {
                self.gives_back = on && self.config.retain == Retain::Elsewhere
            }
            Event::Tick => self.tick(now, actions),
        }
        if self.gives_back && !self.passes_on() {
            // [CHAIN-2] Whoever is held up there may wait for this very node.
            let held = self.link().is_some_and(|link| link.held.is_some());
            self.requests.give_back(held, actions);
        }
        self.leave_unheard(actions);
    }

    /// Bytes came from the target: it lives, whatever they are.
    pub fn heard(&mut self, conn: ConnId) {
        if let Some(link) = self.link_mut().filter(|link| link.conn == conn) {
            link.beat.heard();
        }
    }

    fn submit(&mut self, now: MonoTime, slot: Slot, ask: Ask, rest: u64, actions: &mut Actions) {
        // [TIMER-1] Until RESUME, a pause in between included. [CONN-5] Who leaves takes nothing more.
        let failing = self.outage().is_some_and(Outage::is_failing);
        if failing || (self.intent != Intent::Stay && !self.halfway) {
            actions.push(Action::Answer { slot, status: StatusCode::Io });
            return;
        }
        match &self.state {
            State::Sharing { link } => {
                self.requests.hold(now, slot, ask, rest);
                self.requests.send_held(now, link.conn, actions);
            }
            State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            // [PAUSE-7]
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. } => self.requests.hold(now, slot, ask, rest),
            State::Leaving { step: Leaving::Finishing, .. } => {
                self.requests.hold(now, slot, ask, rest);
                self.leave(now, actions);
            }
            State::Leaving { .. } | State::Ended(_) => {
                // [CHAIN-1] Whoever asks this of a medium keeps it.
                let status = match self.config.retain {
                    Retain::Elsewhere => StatusCode::NotExecuted,
                    Retain::UpTo(_) => StatusCode::Io,
                };
                actions.push(Action::Answer { slot, status });
            }
        }
    }

    fn received(&mut self, now: MonoTime, conn: ConnId, message: Message, actions: &mut Actions) {
        // [SEC-3] What comes late on an older connection is nobody's order.
        if self.conn() != Some(conn) {
            return;
        }
        self.heard(conn);
        // [CONN-8] What only a later version has is as wrong as what no version has.
        let version = self.version();
        let done = if message.since() > version {
            Err(Violation::Newer(message.kind(), version))
        } else {
            self.told(now, conn, message, actions)
        };
        if let Err(violation) = done {
            self.violated(now, violation, actions);
        }
    }

    fn told(
        &mut self,
        now: MonoTime,
        conn: ConnId,
        message: Message,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        match message {
            Message::Welcome(welcome) => self.welcomed(&welcome),
            Message::Connect(connect) => self.connected(now, &connect, actions),
            Message::Refused(refused) => self.refused(now, *refused, actions),
            Message::Attached(attached) => self.attached(now, &attached, actions),
            Message::Resume(resume) => self.resumed(now, resume.restart, actions),
            Message::Pause(pause) => self.paused(now, *pause, actions),
            Message::Disconnect(disconnect) => {
                self.disconnected(now, &disconnect, actions);
                Ok(())
            }
            Message::Detached(_) => self.detached(conn, actions),
            Message::Hold(hold) => {
                self.told_to_hold(now, *hold, actions);
                Ok(())
            }
            Message::Ping(ping) => {
                let message = Pong { token: ping.token }.into();
                actions.push(Action::Send { conn, message });
                Ok(())
            }
            Message::Pong(pong) => {
                self.ponged(pong.token, actions);
                Ok(())
            }
            Message::Resized(resized) => self.resized(resized.size, actions),
            Message::Hello(_)
            | Message::Attach(_)
            | Message::Ready(_)
            | Message::PauseProgress(_)
            | Message::PauseComplete(_)
            | Message::Detach(_)
            | Message::Stall(_)
            | Message::Knock(_)
            | Message::Request(_)
            | Message::Reply(_) => Err(Violation::OutOfPlace(message.kind())),
        }
    }

    fn replied(&mut self, now: MonoTime, conn: ConnId, reply: &Reply, actions: &mut Actions) {
        let Some(link) = self.link_mut().filter(|link| link.conn == conn) else { return };
        link.beat.heard();
        let incarnation = link.incarnation;
        let asked = self.requests.asked(reply.number);
        let taken = if incarnation == reply.incarnation {
            self.requests.replied(reply, actions)
        } else {
            Err(Violation::Incarnation)
        };
        if let State::Replaying { outage, .. } = &mut self.state
            && let Some(asked) = asked
        {
            outage.waited = outage.waited.max(now.since(asked));
        }
        match taken {
            Ok(took) => self.took(now, took, actions),
            Err(violation) => self.violated(now, violation, actions),
        }
    }

    /// After a reply: what waited for it goes on.
    fn advance(&mut self, now: MonoTime, actions: &mut Actions) {
        let quiet = self.requests.in_flight() == 0;
        match &mut self.state {
            State::Sharing { link } => self.requests.send_held(now, link.conn, actions),
            State::Replaying { resume, .. } => {
                // Replay that makes progress extends the resume timer.
                resume.by = resume.by.max(now + self.config.resume_timeout);
                resume.probe = Probe::NotYet;
                self.replay(now, actions);
            }
            State::Draining { .. } if quiet => self.drained(now, actions),
            State::Flushing { .. } if quiet => self.complete(now, actions),
            State::Leaving { .. } => self.leave(now, actions),
            State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Ready { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Ended(_) => {}
        }
    }

    /// The connection that the present state stands on.
    fn conn(&self) -> Option<ConnId> {
        match &self.state {
            State::Idle | State::Away { .. } | State::Ended(_) => None,
            State::Dialling { dial, .. } => Some(dial.conn),
            State::Attaching { link, .. }
            | State::Replaying { link, .. }
            | State::Ready { link, .. }
            | State::Sharing { link }
            | State::Draining { link, .. }
            | State::Flushing { link, .. }
            | State::Paused { link, .. }
            | State::Leaving { link, .. } => Some(link.conn),
        }
    }

    /// The version of the present connection; before WELCOME the highest.
    fn version(&self) -> u16 {
        match &self.state {
            State::Dialling { dial, .. } => match dial.step {
                Step::Welcomed { version, .. } => version,
                Step::Connecting | Step::Greeted => VERSION,
            },
            State::Attaching { link, .. }
            | State::Replaying { link, .. }
            | State::Ready { link, .. }
            | State::Sharing { link }
            | State::Draining { link, .. }
            | State::Flushing { link, .. }
            | State::Paused { link, .. }
            | State::Leaving { link, .. } => link.version,
            State::Idle | State::Away { .. } | State::Ended(_) => VERSION,
        }
    }

    fn link(&self) -> Option<&Link> {
        match &self.state {
            State::Idle | State::Away { .. } | State::Dialling { .. } | State::Ended(_) => None,
            State::Attaching { link, .. }
            | State::Replaying { link, .. }
            | State::Ready { link, .. }
            | State::Sharing { link }
            | State::Draining { link, .. }
            | State::Flushing { link, .. }
            | State::Paused { link, .. }
            | State::Leaving { link, .. } => Some(link),
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Idle | State::Away { .. } | State::Dialling { .. } | State::Ended(_) => None,
            State::Attaching { link, .. }
            | State::Replaying { link, .. }
            | State::Ready { link, .. }
            | State::Sharing { link }
            | State::Draining { link, .. }
            | State::Flushing { link, .. }
            | State::Paused { link, .. }
            | State::Leaving { link, .. } => Some(link),
        }
    }

    /// Takes the state out, to build the next one from its parts; every caller puts one back.
    fn take(&mut self) -> State {
        core::mem::replace(&mut self.state, State::Idle)
    }

    fn end(&mut self, end: End, actions: &mut Actions) {
        if let Some(conn) = self.conn() {
            actions.push(Action::HangUp { conn });
        }
        if self.outage().is_some_and(Outage::may_be_cancelled) {
            actions.push(Action::CancelShutdown);
        }
        self.requests.lost();
        if self.config.retain == Retain::Elsewhere {
            // [CHAIN-4] Nothing more is flushed through here. What is not answered its initiators keep.
            actions.push(Action::LifeLost);
            self.requests.give_back(true, actions);
        } else {
            self.requests.fail_all(actions);
        }
        // [SAFE-7] Nobody will replay it any more. [SAFE-10] But where the place stays reserved the next life does.
        let (changes, bytes) = self.requests.retained();
        if changes > 0 && self.config.retain != Retain::Elsewhere {
            let heir = end == End::Left;
            let left = Report::LogLeft { changes, bytes };
            let report = if heir { left } else { Report::LogLost { changes, bytes } };
            actions.push(Action::Report(report));
        }
        self.state = State::Ended(end);
        actions.push(Action::Report(Report::Ended(end)));
    }

    fn violated(&mut self, now: MonoTime, violation: Violation, actions: &mut Actions) {
        actions.push(Action::Report(Report::Violation(violation)));
        let Some(conn) = self.conn() else { return };
        actions.push(Action::HangUp { conn });
        self.lost(now, conn, actions);
    }

    /// The next number of a chance that a seed repeats (xorshift64).
    fn roll(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    /// Whether new changes wait because what is retained has reached its bound [SAFE-3].
    pub fn waits_for_room(&self) -> bool {
        matches!(self.state, State::Sharing { .. }) && self.requests.waits_for_room()
    }

    /// How it stands.
    pub fn view(&self, now: MonoTime) -> View {
        View {
            phase: self.phase(),
            outage: self.outage().cloned(),
            pause: self.pause().map(|pause| (pause.restart, pause.until)),
            resume_by: match &self.state {
                State::Attaching { resume, .. }
                | State::Replaying { resume, pause: None, .. }
                | State::Ready { resume, .. } => Some(resume.by),
                State::Replaying { pause: Some(_), .. }
                | State::Idle
                | State::Away { .. }
                | State::Dialling { .. }
                | State::Sharing { .. }
                | State::Draining { .. }
                | State::Flushing { .. }
                | State::Paused { .. }
                | State::Leaving { .. }
                | State::Ended(_) => None,
            },
            held_by: self.link().and_then(|link| link.held.clone()),
            in_flight: self.requests.in_flight(),
            oldest: self.requests.oldest(now),
            held: self.requests.held() + self.requests.kept(),
            retained: self.requests.retained(),
            counted: self.requests.counted(),
            epoch: self.memory.epoch,
            incarnation: self.memory.incarnation,
        }
    }

    fn outage(&self) -> Option<&Outage> {
        match &self.state {
            State::Away { outage, .. }
            | State::Dialling { outage, .. }
            | State::Attaching { outage, .. }
            | State::Replaying { outage, .. }
            | State::Ready { outage, .. } => Some(outage),
            State::Draining { pause, .. }
            | State::Flushing { pause, .. }
            | State::Paused { pause, .. } => pause.before.as_ref(),
            State::Idle | State::Sharing { .. } | State::Leaving { .. } | State::Ended(_) => None,
        }
    }

    fn pause(&self) -> Option<&Pause> {
        match &self.state {
            State::Draining { pause, .. }
            | State::Flushing { pause, .. }
            | State::Paused { pause, .. } => Some(pause),
            State::Replaying { pause, .. } => pause.as_ref(),
            State::Idle
            | State::Away { .. }
            | State::Dialling { .. }
            | State::Attaching { .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Leaving { .. }
            | State::Ended(_) => None,
        }
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Idle => Phase::Idle,
            State::Away { .. } => Phase::Away,
            State::Dialling { .. } => Phase::Dialling,
            State::Attaching { .. } => Phase::Attaching,
            State::Replaying { .. } => Phase::Replaying,
            State::Ready { .. } => Phase::Ready,
            State::Sharing { .. } => Phase::Sharing,
            State::Draining { .. } => Phase::Draining,
            State::Flushing { .. } => Phase::Flushing,
            State::Paused { .. } => Phase::Paused,
            State::Leaving { .. } => Phase::Detaching,
            State::Ended(end) => Phase::Ended(*end),
        }
    }
}
