//! The target's machine: all sessions, the roster and the restart of one daemon.
//!
//! It decides; requests do not pass it. Each session's requests run in a *lane* that the daemon keeps: the machine
//! opens a lane, closes it, and is told when a closed one has nothing left under way ([`Event::Drained`]).
//!
//! ```text
//! session:  Accepted ─ HELLO ─▶ Greeted ─ ATTACH ─▶ Fencing ─ lanes drained ─▶ Recording ─ durable ─▶ Arriving
//!                                                                                 │ in a pause   PAUSE │    │ READY, (Ready)
//!                                                                                 ▼                    │    ▼
//!                                                    Complete ◀─ PAUSE COMPLETE ─Asked ◀───────────────┴── Sharing
//!                                                       └─────────────────────────┴─── RESUME: aborted────────┘
//!  (Ready): other sharers of the resource are waited for.
//!  Arriving to Complete: DETACH, gone, fenced, evicted, restart, new life ─▶ Closing ─ drained ─▶ (Detaching)
//!
//! life:     Lasts ─ write-back failed ─▶ Draining ─ nothing under way ─▶ Recording ─ recorded ─▶ Lasts
//!                                          └◀─ could not be, or failed again ─────────┘
//!
//! restart:  Serving ─▶ Intending ─▶ Pausing ─ complete ─▶ Settling ─ durable ─▶ Sealing ─ recorded ─▶ Leaving ─▶ Down
//!                                     ▲ somebody is back    │  │ kept up          │ abort, failure
//!                                     ├─────────────────────┘  ▼                  ▼
//!                                     └── told to end ─────── Quiet             Revoking ─▶ Serving
//!           from Intending to Quiet: abort, or what cannot be written ─▶ Serving
//! ```
//!
//! Every way out of every state of a session; *gone* is a loss, silence, or what an initiator must not say:
//!
//! | state | what ends it | next |
//! | --- | --- | --- |
//! | `Accepted` | HELLO | `Greeted`, or REFUSED |
//! | `Greeted` | ATTACH | `Fencing`, or REFUSED |
//! | `Fencing` | no older request can reach the medium any more, and the target above it stands | `Recording` |
//! | `Recording` | the owner is written | `Arriving`; `Asked` in a pause; `Fencing` where the target above went away |
//! | | it is not, the point of no return is past, or the resource begins a new life | REFUSED |
//! | these four | gone; too late with HELLO or ATTACH; a newer ATTACH; eviction | forgotten |
//! | `Accepted` to `Fencing` | the point of no return | forgotten |
//! | `Arriving` | READY | `Sharing`; `Ready` where other sharers are waited for |
//! | `Ready` | all of them are ready, or have lost their places | `Sharing` |
//! | `Arriving`, `Ready`, `Sharing` | PAUSE is sent | `Asked` |
//! | `Asked` | PAUSE COMPLETE | `Complete` |
//! | `Asked`, `Complete` | RESUME is sent: the restart was aborted | `Sharing` |
//! | `Arriving` to `Complete` | DETACH, gone, a newer ATTACH, eviction, a failed write-back, the point of no return | `Closing` |
//! | `Closing` | its lane is drained | DISCONNECT where one is due; after DETACH `Detaching` |
//! | `Detaching` | the roster is written, or cannot be | forgotten, after DETACHED or without |
//! | `Recording`, `Detaching` | 5 s after the point of no return | forgotten |
//!
//! And of a restart; *told to end* is an order that nothing may abort:
//!
//! | phase | what ends it | next |
//! | --- | --- | --- |
//! | `Serving` | an order | `Intending` |
//! | `Intending` | the intent is written | `Pausing` |
//! | | its span is over | `Serving`; `Pausing` where it was told to end |
//! | | told to end twice | `Pausing` |
//! | `Pausing` | all are complete, or it proceeds without some | `Settling` |
//! | | its span is over and the choice is to abort, or nobody answers the question | `Serving` |
//! | `Settling` | the backends are durable | `Sealing`; `Quiet` where the pause is to be kept up |
//! | | the same, and somebody came back meanwhile | `Pausing` |
//! | `Quiet` | told to end | `Pausing` |
//! | | its span is over, the flush is not, and the choice is as above | `Serving`; `Leaving` where it proceeds |
//! | `Sealing` | the clean record is written | `Leaving` |
//! | | its span is over, and it proceeds without the record | `Leaving` |
//! | | an operator or the end of its span aborts it, the record cannot be written | `Revoking` |
//! | `Revoking` | the record is revoked | `Serving` |
//! | | it cannot be | `Revoking`, tried again every 5 s; PAUSE is renewed for 5 min |
//! | | told to end | `Settling` |
//! | `Intending` to `Quiet` | an operator aborts it, or what is to be written cannot be | `Serving` |
//! | `Settling`, `Sealing` | told to end twice, or once and what is to be written cannot be, or not in time | `Leaving` |
//! | `Leaving` | the last session is closed, the last client without an agent gone | `Down` |
//!
//! Told to end, it goes on from `Intending` although the intent could not be written, or not in time.

mod abort;
mod attach;
mod barrier;
mod knock;
mod life;
#[cfg(feature = "renaming")]
mod renaming;
mod report;
mod restart;
mod roster;
mod session;
mod settle;
mod tick;
mod upstream;

pub use barrier::Closed;
pub use life::Ended;
pub use report::{Refusal, Report, Row, RowState, Why};
pub use restart::{Decision, OnTimeout, Order, Phase, Purpose, QUESTION_SPAN, Question, Restart};
pub use roster::{Entry, Holder, SEATS_LIMIT, Seat};
pub use session::{Progress, Proof, SessionState};
pub use upstream::Hold;

use crate::geometry::Geometry;
use crate::{ConnId, MonoTime, Upstream, Violation};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use barrier::Barrier;
use core::time::Duration;
use life::Life;
use lull_wire::messages::{Name, Path, Pong};
use lull_wire::{
    AttachmentId, Incarnation, InstanceId, Message, RequestNumber, ResourceId, RestartId, Tenure,
};
use session::{Claim, Session};
use upstream::Upper;

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node's name.
    pub node: Name,
    /// This life of the daemon.
    pub instance: InstanceId,
    /// Program and release.
    pub software: Name,
    /// How often an initiator says that it is there.
    pub keep_alive: Duration,
    /// The longest that a sharer waits for the others, from when the first is back [RESUME-2].
    pub barrier: Duration,
    /// The restart that this life came from; 0 for none.
    pub from: RestartId,
}

/// A resource by its place in the list given at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceIndex(pub usize);

/// What the machine knows of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub identity: ResourceId,
    /// The life of its promise about unflushed data.
    pub incarnation: Incarnation,
    /// Its writer's hold.
    pub tenure: Tenure,
    /// What it measures.
    pub geometry: Geometry,
    /// The nodes that it leads through, this one first; where it lies on another target's, as far as that is known.
    pub path: Path,
    /// Whether it lies on another target's resource. Nobody is let in then before [`Event::Upstream`] says that the
    /// attachment to that stands [CHAIN-4]; identity and geometry are what it says.
    pub chained: bool,
    /// Agentless clients that use it, writers and readers.
    pub agentless: Agentless,
}

/// How many clients without an agent use a resource [SAFE-9].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Agentless {
    /// Those that may write.
    pub writers: u32,
    /// Those that only read.
    pub readers: u32,
}

/// A write to stable storage that the machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What is to be written to stable storage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// This attachment is on the roster, with this owner and epoch; the resource has this tenure.
    Owner(Entry, Tenure),
    /// This attachment is off the roster.
    Gone(AttachmentId),
    /// These writers lost their places, and with them the right to send again what is unanswered or unflushed [RESUME-2]
    /// [SAFE-7]; the resource has a new tenure.
    Missed(Vec<AttachmentId>, ResourceIndex, Tenure),
    /// This resource has a new incarnation: every writer on its roster may have to replay.
    Incarnation(ResourceIndex, Incarnation),
    /// A restart is intended: before PAUSE.
    Intent(RestartId),
    /// Every backend is durable, after all have completed or were given up ([`Target::rows`] tells whom): before
    /// the first DISCONNECT. Who has completed and retains nothing is not dirty from here on.
    Clean(RestartId),
    /// The restart was aborted: every writer is dirty again.
    Revoked(RestartId),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Event {
    /// A connection was accepted.
    Accepted { conn: ConnId },
    /// A message came.
    Received { conn: ConnId, message: Message },
    /// A connection ended, or what came was no message.
    Lost { conn: ConnId },
    /// A closed lane has nothing under way any more, and never will.
    Drained { conn: ConnId },
    /// A change is on stable storage; or it failed and is not.
    Recorded { ticket: Ticket, ok: bool },
    /// All backends have flushed; or one failed.
    Durable { restart: RestartId, ok: bool },
    /// What the medium of this resource was given since its last flush is lost, or may be. Nothing of that life is
    /// answered any more, by any lane.
    LifeEnded { resource: ResourceIndex, why: Ended },
    /// How the target stands on which this resource lies. Said again, it changes nothing.
    Upstream { resource: ResourceIndex, upstream: Upstream },
    /// Clients without an agent came or went.
    Agentless { resource: ResourceIndex, now: Agentless },
    /// An operator, or the end of the process, orders a restart. Taken only while [`Target::is_serving`]; in the
    /// middle of another, one that cannot be stopped makes that one unstoppable.
    Order(Order),
    /// An operator decides about the pause under way.
    Decide(Decision),
    /// An operator ends the reservations of a node.
    Evict { node: Name, resource: Option<ResourceIndex> },
    /// A deadline has come. Input that is there is to be handled first.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Action {
    /// Send a message.
    Send { conn: ConnId, message: Message },
    /// Send REFUSED with words for people, then hang up.
    Refuse { conn: ConnId, refusal: Refusal },
    /// Requests of this connection may be executed on this resource from now on, before what follows is sent.
    /// They are of this protocol version; `share`: other initiators write as well.
    Open {
        conn: ConnId,
        resource: ResourceIndex,
        read_only: bool,
        version: u16,
        share: Option<Share>,
    },
    /// No further request of this connection is executed; [`Event::Drained`] follows.
    Close { conn: ConnId },
    /// Close the connection once what was sent is written; nothing of it is wanted any more.
    HangUp { conn: ConnId },
    /// Write to stable storage; [`Event::Recorded`] follows. Changes are committed in their order.
    Record { ticket: Ticket, change: Change },
    /// Begin to write back what the backends have not.
    StartWriteBack,
    /// Flush all backends; [`Event::Durable`] follows. One that gives the flush back unexecuted is left out [CHAIN-1].
    MakeDurable { restart: RestartId },
    /// Accept nothing more: who dials waits for the successor. Clients without an agent are let go once what they
    /// asked is answered; [`Event::Agentless`] follows.
    StopAccepting,
    /// Nothing that initiators asked of this resource is under way: it begins a new life, in which a flush is worth
    /// something again. Clients without an agent are cut off: nothing else tells them that what they wrote is lost.
    Renew { resource: ResourceIndex },
    /// From here on, what cannot be passed on to the target on which this resource lies is answered NOT EXECUTED instead
    /// of being kept; with `on` false it is kept again [CHAIN-1].
    GiveBack { resource: ResourceIndex, on: bool },
    /// Every session is told and closed: the process may go.
    Down { restart: RestartId },
    /// Tell people.
    Report(Report),
}

/// Whose changes come on a connection beside those of others [SAFE-11].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// The sharer.
    pub attachment: AttachmentId,
    /// The life of it whose numbers its requests have.
    pub instance: InstanceId,
    /// The lowest of them that is unanswered.
    pub lowest: RequestNumber,
}

/// Where a machine puts what is to be done, in order.
pub type Actions = Vec<Action>;

/// One target daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    config: Config,
    resources: Vec<Resource>,
    sessions: BTreeMap<ConnId, Session>,
    roster: BTreeMap<AttachmentId, Seat>,
    lives: Vec<Life>,
    /// Of each resource that lies on another target's.
    uppers: Vec<Option<Upper>>,
    barriers: Vec<Barrier>,
    phase: Phase,
    /// Owners that are being written and whose connection ended meanwhile.
    orphans: BTreeMap<Ticket, Claim>,
    tickets: u64,
}

impl Target {
    /// A target that serves, with the roster that it remembers: [SAFE-7] everybody on it is lost since `now`.
    pub fn new(
        now: MonoTime,
        config: Config,
        resources: Vec<Resource>,
        roster: Vec<Entry>,
    ) -> Self {
        let lost = |entry: Entry| {
            let settled = !entry.dirty;
            (entry.attachment, Seat { entry, holder: Holder::Lost, since: now, settled })
        };
        Self {
            config,
            lives: resources.iter().map(|_| Life::default()).collect(),
            uppers: resources.iter().map(|resource| Upper::of(now, resource)).collect(),
            barriers: resources.iter().map(|_| Barrier::default()).collect(),
            resources,
            sessions: BTreeMap::new(),
            roster: roster.into_iter().map(lost).collect(),
            phase: Phase::Serving,
            orphans: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// Takes what happened; appends what is to be done.
    pub fn handle(&mut self, now: MonoTime, event: Event, actions: &mut Actions) {
        match event {
            Event::Accepted { conn } => self.accepted(now, conn, actions),
            Event::Received { conn, message } => self.received(now, conn, message, actions),
            Event::Lost { conn } => self.lost(now, conn, actions),
            Event::Drained { conn } => self.drained(now, conn, actions),
            Event::Recorded { ticket, ok } => self.recorded(now, ticket, ok, actions),
            Event::Durable { restart, ok } => self.durable(now, restart, ok, actions),
            Event::LifeEnded { resource, why } => self.life_ended(now, resource, why, actions),
            Event::Upstream { resource, upstream } => {
                self.upstream(now, resource, upstream, actions);
            }
            Event::Agentless { resource, now: count } => {
                self.agentless(now, resource, count, actions)
            }
            Event::Order(order) => self.order(now, order, actions),
            Event::Decide(decision) => self.decide(now, decision, actions),
            Event::Evict { node, resource } => self.evict(now, &node, resource, actions),
            Event::Tick => self.tick(now, actions),
        }
    }

    fn received(&mut self, now: MonoTime, conn: ConnId, message: Message, actions: &mut Actions) {
        let Some(session) = self.sessions.get(&conn) else { return };
        // [CONN-8] What only a later version has is as wrong as what no version has.
        let done = if message.since() > session.version {
            Err(Violation::Newer(message.kind(), session.version))
        } else {
            self.told(now, conn, message, actions)
        };
        if let Err(violation) = done {
            actions.push(Action::Report(Report::Violation { conn, violation }));
            actions.push(Action::HangUp { conn });
            self.lost(now, conn, actions);
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
            Message::Hello(hello) => self.hello(now, conn, *hello, actions),
            Message::Attach(attach) => self.attach(now, conn, *attach, actions),
            Message::Ready(ready) => self.ready(now, conn, &ready, actions),
            Message::PauseProgress(told) => {
                self.progress(conn, &told, actions);
                Ok(())
            }
            Message::PauseComplete(told) => {
                self.complete(now, conn, &told, actions);
                Ok(())
            }
            Message::Detach(_) => self.detach(conn, actions),
            Message::Stall(stall) => {
                self.stall(conn, *stall, actions);
                Ok(())
            }
            // [SEC-4] Nobody is answered who has not said who he is.
            Message::Ping(_) | Message::Pong(_)
                if matches!(self.session(conn), Some(SessionState::Accepted { .. })) =>
            {
                Err(Violation::OutOfPlace(message.kind()))
            }
            Message::Ping(ping) => {
                let message = Pong { token: ping.token }.into();
                actions.push(Action::Send { conn, message });
                Ok(())
            }
            Message::Pong(_) => Ok(()),
            Message::Welcome(_)
            | Message::Connect(_)
            | Message::Refused(_)
            | Message::Attached(_)
            | Message::Resume(_)
            | Message::Pause(_)
            | Message::Disconnect(_)
            | Message::Detached(_)
            | Message::Hold(_)
            | Message::Knock(_)
            | Message::Resized(_)
            | Message::Request(_)
            | Message::Reply(_) => Err(Violation::OutOfPlace(message.kind())),
        }
    }

    fn record(&mut self, change: Change, actions: &mut Actions) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        actions.push(Action::Record { ticket, change });
        ticket
    }

    /// A peer lives. [SEC-4] That is for the daemon to judge, which sees the bytes: no message says it by itself.
    pub fn heard(&mut self, conn: ConnId) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.beat.heard();
        }
    }

    /// Whether a restart may be ordered.
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// What the target does as a whole.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The resources, in the order given at the start.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// Everybody on the roster.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.roster.values()
    }

    /// The place of an attachment, if it has one.
    pub fn seat(&self, attachment: AttachmentId) -> Option<&Seat> {
        self.roster.get(&attachment)
    }

    /// This node's name.
    pub fn name(&self) -> &Name {
        &self.config.node
    }

    /// The name that the initiator on a connection gave, once it has.
    pub fn node(&self, conn: ConnId) -> Option<&Name> {
        self.sessions
            .get(&conn)
            .map(|session| &session.node)
            .filter(|node| !node.as_str().is_empty())
    }

    /// How far the session on a connection is.
    pub fn session(&self, conn: ConnId) -> Option<&SessionState> {
        self.sessions.get(&conn).map(|session| &session.state)
    }
}
