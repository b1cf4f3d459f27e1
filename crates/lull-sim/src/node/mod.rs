//! An attachment of an initiator's daemon: the real machine, and around it what `lull-initiator` does with it.

pub mod client;
mod lives;
pub mod load;
mod perform;
pub mod slots;
mod successor;

use crate::canary::Canary;
use crate::middle::Serves;
use crate::target::MOST_SECTORS;
use crate::world::World;
use crate::world::queue::Happening;
use crate::world::wire::Payload;
use load::Load;
use lull_history::Op;
use lull_proto::initiator::{Ask, Config, Event, Initiator, Memory, Phase, Slot, Succession};
use lull_proto::{ConnId, Geometry, MonoTime, Upstream};
use lull_wire::messages::{PauseComplete, Reply};
use lull_wire::{Incarnation, InstanceId, Message, OpCode, RequestFlags, RestartId, StatusCode};
use slots::{Slots, Wanted};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What an attachment's state file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The lives that may be the owner, the oldest first.
    pub owners: Vec<InstanceId>,
    /// What it knew.
    pub memory: Memory,
    /// It kept a log, settled in this incarnation.
    pub log: Option<Incarnation>,
}

/// One change of the log: models a record of `journal/`.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// What it puts where.
    pub payload: Payload,
    /// How many sectors it carries.
    pub sectors: u64,
    /// What was asked.
    pub ask: Ask,
}

/// The log of an attachment, which its daemon may find again.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// What was acknowledged and is not flushed, by its place.
    pub records: BTreeMap<u64, Record>,
    /// In which incarnation all of it was executed.
    pub settled: Incarnation,
    /// The lives before the present one whose changes may be in it.
    pub lives: Vec<u64>,
    /// Somebody keeps it over the end of its daemon's process.
    pub is_kept: bool,
    /// The daemon has ended and nobody has found it since.
    pub waits: bool,
    /// The log before it was lost, and all of this one was executed nowhere yet.
    pub misses: bool,
    /// It was lost with changes in it that were executed in this incarnation, and nobody was told yet.
    pub lost_in: Option<Incarnation>,
}

/// The connection that a machine stands on.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its number here.
    pub conn: ConnId,
    /// Its number in the world.
    pub wire: usize,
    /// The slot and its tenant of what was sent and not replied to; `None`: nobody waits any more.
    pub outstanding: BTreeMap<u64, Option<(Slot, u64)>>,
}

/// What somebody outside knows of an attachment.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// PAUSE came for this restart, and neither RESUME nor the end of its connection.
    pub pausing: Option<RestartId>,
    /// PAUSE COMPLETE was said since.
    pub quiet: bool,
    /// When it shared no more.
    pub gone: Option<MonoTime>,
    /// When CONNECT came last.
    pub connected: Option<MonoTime>,
    /// Its policy gives errors.
    pub failing: bool,
    /// Other sharers were let go on without it: what it has unanswered is given up.
    pub missed: bool,
    /// An operator did something after which it may end or fail.
    pub excused: bool,
    /// It shared at least once.
    pub shared: bool,
    /// What consumers had asked for when it was told to end, and was not answered.
    pub accepted: Vec<u64>,
    /// How it ended.
    pub ended: bool,
    /// Changes that may still happen although nobody waits for them.
    pub orphans: Vec<u64>,
}

/// An attachment.
pub struct Attachment {
    /// The host of its daemon.
    pub host: usize,
    /// The target.
    pub target: usize,
    /// The resource there.
    pub resource: usize,
    /// What its machine is made from.
    pub config: Config,
    /// The machine, while the daemon runs.
    pub machine: Option<Initiator>,
    /// How often it was started.
    pub life: u64,
    /// The state file.
    pub kept: Option<Kept>,
    /// The system keeps the state file from being written.
    pub state_fails: bool,
    /// What it is to hold.
    wish: Option<Memory>,
    /// What this life wants it to hold, once it was let in.
    remembered: Option<Memory>,
    writing: bool,
    told: bool,
    /// Its connection.
    pub connection: Option<Connection>,
    /// Its consumers' requests.
    pub slots: Slots,
    /// What is retained.
    pub log: Log,
    /// Where it is the medium of a target's resource: which.
    pub serves: Option<Serves>,
    /// The requests of that target which the slots are for.
    pub(crate) passes: BTreeMap<Slot, u64>,
    /// What that target's machine was told last.
    pub(crate) told_upstream: Option<Upstream>,
    /// What they know of the resource.
    pub geometry: Option<Geometry>,
    /// It gets no time from its system.
    pub frozen: bool,
    pub(crate) backlog: VecDeque<Happening>,
    /// Until then the network between it and its target carries nothing.
    pub blackout_until: MonoTime,
    /// Its consumers.
    pub load: Load,
    /// What is known of it from outside.
    pub watch: Watch,
    /// The longest that its state file takes to be written.
    pub keeping: Duration,
    /// Whether it is to share again once faults are over.
    pub demanded: bool,
    /// Its daemon was told to stay away.
    pub stays_away: bool,
    /// Before that it hears no knock.
    pub(crate) deaf_until: MonoTime,
    /// Nothing is taken from its consumers: its daemon is to be replaced.
    rests: bool,
    /// What the daemon that was killed has noted of consumers who outlive it.
    awaited: Option<Succession>,
    armed: Option<MonoTime>,
}

/// After a failed write the state file is tried again so much later, and after a failed start the daemon.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// A phase in a word.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Away => "away",
        Phase::Dialling => "dialling",
        Phase::Attaching => "attaching",
        Phase::Replaying => "replaying",
        Phase::Ready => "ready",
        Phase::Sharing => "sharing",
        Phase::Draining => "draining",
        Phase::Flushing => "flushing",
        Phase::Paused => "paused",
        Phase::Detaching => "detaching",
        Phase::Ended(_) => "ended",
    }
}

impl Attachment {
    /// One that was never started.
    pub fn new(host: usize, target: usize, resource: usize, config: Config) -> Self {
        Self {
            host,
            target,
            resource,
            config,
            machine: None,
            life: 0,
            kept: None,
            state_fails: false,
            wish: None,
            remembered: None,
            writing: false,
            told: false,
            connection: None,
            slots: Slots::default(),
            log: Log { is_kept: true, ..Log::default() },
            serves: None,
            passes: BTreeMap::new(),
            told_upstream: None,
            geometry: None,
            frozen: false,
            backlog: VecDeque::new(),
            blackout_until: MonoTime(0),
            load: Load::none(),
            watch: Watch::default(),
            keeping: Duration::from_millis(2),
            demanded: true,
            stays_away: false,
            deaf_until: MonoTime(0),
            rests: false,
            awaited: None,
            armed: None,
        }
    }

    /// Whether this life still runs.
    pub fn lives(&self, life: u64) -> bool {
        self.machine.is_some() && self.life == life
    }

    /// How far its machine is; `None` without one.
    pub fn phase(&self) -> Option<Phase> {
        self.machine.as_ref().map(Initiator::phase)
    }

    /// The same in a word.
    pub fn phase_word(&self) -> &'static str {
        self.phase().map_or("dead", phase_word)
    }
}

impl World {
    /// Gives an attachment's machine what happened and does at once what it wants done.
    pub fn tell_node(&mut self, at: usize, event: Event) {
        let mut actions = Vec::new();
        let Some(machine) = &mut self.attachments[at].machine else { return };
        let before = phase_word(machine.phase());
        let heard = matches!(event, Event::Received { .. });
        machine.handle(self.now, event, &mut actions);
        for action in actions {
            // What it answers may be what its own process waited for to end.
            if self.attachments[at].machine.is_some() {
                self.perform_node(at, action);
            }
        }
        let after = self.attachments[at].phase_word();
        if before != after {
            self.coverage.moved("initiator", before, after);
            self.note(|| format!("node-{at}: {before} → {after}"));
            self.ambush(crate::fault::Watch::Node(after), at);
        }
        self.tell_upstream(at, heard);
        self.arm_node(at);
    }

    fn arm_node(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.attachments[at];
        let life = node.life;
        let Some(deadline) = node.machine.as_ref().and_then(Initiator::deadline) else { return };
        if node.armed.is_none_or(|armed| deadline < armed) {
            node.armed = Some(deadline);
            self.queue.push(deadline.max(now), Happening::TickNode { attachment: at, life });
        }
    }

    pub(crate) fn tick_node(&mut self, at: usize) {
        self.attachments[at].armed = None;
        let due = |world: &Self| {
            let machine = world.attachments[at].machine.as_ref();
            machine.and_then(Initiator::deadline).is_some_and(|deadline| deadline <= world.now)
        };
        // One turn may end a dial and the next begin another.
        for _ in 0..3 {
            if due(self) {
                self.tell_node(at, Event::Tick);
            }
        }
        if due(self) {
            self.found("progress", || format!("node-{at} wants to be woken at once, again"));
        }
        self.arm_node(at);
    }

    /// A message reached an initiator.
    pub(crate) fn node_receives(&mut self, at: usize, conn: ConnId, message: Message) {
        if self.attachments[at].connection.as_ref().is_none_or(|present| present.conn != conn) {
            return;
        }
        self.judge_node_receives(at, &message);
        if let Message::Pause(pause) = &message
            && self.sings(Canary::IgnoresPause)
        {
            let complete = PauseComplete {
                restart: pause.restart,
                in_flight_at_pause: 0,
                not_executed: 0,
                retained: 0,
                retained_bytes: 0,
                drain_us: 0,
                flush_us: 0,
            };
            self.send_from_node(at, conn, complete.into());
            return;
        }
        self.tell_node(at, Event::Received { conn, message });
    }

    /// A reply reached an initiator: its data goes where the request's memory is, as `receive.rs` does.
    pub(crate) fn node_hears_reply(
        &mut self,
        at: usize,
        conn: ConnId,
        reply: Reply,
        data: Vec<u64>,
    ) {
        let node = &mut self.attachments[at];
        let Some(present) = node.connection.as_mut().filter(|present| present.conn == conn) else {
            return;
        };
        if let Some(Some((slot, tenant))) = present.outstanding.remove(&reply.number.0)
            && let Some(entry) = node.slots.get_mut(slot).filter(|entry| entry.tenant == tenant)
        {
            entry.failed_there = reply.status != StatusCode::Done;
            if reply.status == StatusCode::Done {
                entry.go_on(data, MOST_SECTORS);
            }
        }
        self.tell_node(at, Event::Replied { conn, reply });
    }

    /// A consumer asks.
    pub fn submit(&mut self, at: usize, mut wanted: Wanted) -> u64 {
        self.requests += 1;
        wanted.request = self.requests;
        if wanted.op == OpCode::Write {
            wanted.content = self.fresh_content(wanted.count);
        }
        let node = &mut self.attachments[at];
        let (target, resource) = (node.target, node.resource);
        let slot = node.slots.insert(wanted, MOST_SECTORS);
        let (mut ask, rest) = node.slots.asked(slot);
        self.judge_begins(
            target,
            resource,
            wanted.request,
            writer(at, self.attachments[at].life),
            history_op(&wanted),
        );
        self.note(|| format!("node-{at}: a consumer asks {wanted:?}"));
        if self.sings(Canary::NoOverlapWait) {
            // The machine believes that no two requests touch.
            ask.offset += wanted.request << 32;
        }
        self.tell_node(at, Event::Submit { slot, ask, rest });
        wanted.request
    }

    /// A consumer is answered.
    pub(super) fn answered(&mut self, at: usize, slot: Slot, status: StatusCode) {
        let node = &mut self.attachments[at];
        let Some(entry) = node.slots.remove(slot) else {
            self.found("CONN-3", || format!("node-{at} answers {slot:?}, where nobody waits"));
            return;
        };
        if let (Some(number), Some(connection)) = (entry.number, &mut node.connection)
            && let Some(waits) = connection.outstanding.get_mut(&number)
        {
            *waits = None;
        }
        let request = entry.wanted.request;
        self.note(|| format!("node-{at}: request {request} is answered {status}"));
        if self.attachments[at].serves.is_some() {
            self.passed(at, slot, entry, status);
            return;
        }
        self.judge_answered(at, &entry, status);
        if self.attachments[at].load.left > 0 && self.chance.one_in(2) {
            let span = self.chance.scattered(Duration::from_millis(5));
            let life = self.attachments[at].life;
            self.after(span, Happening::Consume { attachment: at, life, again: false });
        }
    }

    /// Consumers ask for some more, and come again.
    pub(crate) fn consume(&mut self, at: usize, life: u64, again: bool) {
        let node = &mut self.attachments[at];
        if !node.lives(life) {
            return;
        }
        let usable = node.geometry.is_some() && !node.watch.ended && !node.rests;
        let room = node.load.depth.saturating_sub(node.slots.taken());
        let burst = self.chance.below(room as u64 + 1).min(node.load.left);
        if usable {
            for _ in 0..burst {
                let node = &mut self.attachments[at];
                node.load.left = node.load.left.saturating_sub(1);
                let sectors = self.targets[node.target].disks[node.resource].sectors();
                let wanted = self.attachments[at].load.next(&mut self.chance, sectors);
                self.submit(at, wanted);
            }
        }
        if again {
            self.keep_consuming(at);
        }
    }

    /// The rhythm of an attachment's consumers.
    pub fn keep_consuming(&mut self, at: usize) {
        let node = &mut self.attachments[at];
        if node.load.left == 0 || node.machine.is_none() {
            return;
        }
        let (life, think) = (node.life, node.load.think);
        let span = self.chance.scattered(think).max(Duration::from_micros(100));
        self.after(span, Happening::Consume { attachment: at, life, again: true });
    }

    /// A frozen initiator runs again.
    pub fn thaw_node(&mut self, at: usize) {
        if std::mem::take(&mut self.attachments[at].frozen) {
            self.note(|| format!("node-{at} runs again"));
            for happening in std::mem::take(&mut self.attachments[at].backlog) {
                self.happen(happening);
            }
            self.tick_node(at);
        }
    }

    /// An operator ends an attachment.
    pub fn detach(&mut self, at: usize, at_once: bool) {
        self.note(|| format!("node-{at} is detached, at once: {at_once}"));
        let node = &mut self.attachments[at];
        node.watch.excused = true;
        node.watch.accepted = node.slots.iter().map(|entry| entry.wanted.request).collect();
        self.tell_node(at, Event::Detach { at_once });
    }

    /// Reads everything, in pieces of the longest request.
    pub fn read_all(&mut self, at: usize) {
        let node = &self.attachments[at];
        let sectors = self.targets[node.target].disks[node.resource].sectors();
        for first in (0..sectors).step_by(MOST_SECTORS as usize) {
            let count = MOST_SECTORS.min(sectors - first);
            let flags = RequestFlags::none();
            let wanted = Wanted { request: 0, op: OpCode::Read, flags, first, count, content: 0 };
            self.submit(at, wanted);
        }
    }
}

/// One life of an attachment, as the history knows it.
pub(crate) fn writer(attachment: usize, life: u64) -> u64 {
    (attachment as u64 + 1) * 1_000_000 + life
}

/// A request as the history has it.
pub(crate) fn history_op(wanted: &Wanted) -> Op {
    let Wanted { op, flags, first, count, content, .. } = *wanted;
    let durable = flags.has(RequestFlags::FUA);
    match op {
        OpCode::Write => Op::Write { first, count, content, durable },
        OpCode::WriteZeroes => Op::Zero { first, count, durable },
        OpCode::Discard => Op::Discard { first, count },
        OpCode::Flush => Op::Flush,
        OpCode::Read | OpCode::Extents | OpCode::ReadAhead | OpCode::Unknown(_) => {
            Op::Read { first, count }
        }
    }
}
