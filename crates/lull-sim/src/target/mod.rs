//! A target's host and its daemon: the real machine, and around it what `lull-target` does with it.

mod gate;
mod lane;
mod life;
mod perform;
mod sharers;

use crate::disk::Disk;
use crate::state_dir::StateDir;
use crate::world::World;
use crate::world::queue::Happening;
use gate::Gate;
use lane::Lane;
use lull_proto::ledger::{Ledger, Which};
use lull_proto::target::{self, Event, Phase, SessionState, Target};
use lull_proto::{ConnId, Geometry, MonoTime};
use lull_wire::messages::Name;
use lull_wire::{Epoch, Features, InstanceId, Message, ResourceId, RestartId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use lane::{Owner, Running};
pub use life::After;
pub(crate) use perform::refused;
pub use perform::words;

/// Sectors of the longest request.
pub const MOST_SECTORS: u64 = 16;

/// A host with disks, whether or not its daemon runs.
pub struct TargetHost {
    /// Which host.
    pub host: usize,
    /// Its name.
    pub name: String,
    /// A disk for each resource.
    pub disks: Vec<Disk>,
    /// Of each, the attachment on which the resource lies instead; its disk is nothing then.
    pub uppers: Vec<Option<usize>>,
    /// What the daemon keeps.
    pub state: StateDir,
    /// The daemon, while it runs.
    pub daemon: Option<Daemon>,
    /// How often it was started.
    pub life: u64,
    /// When last.
    pub since: MonoTime,
    /// It gets no time from its system.
    pub frozen: bool,
    /// When it got time again, the last time that it had none.
    pub thawed: Option<MonoTime>,
    /// What it was told meanwhile.
    pub(crate) backlog: VecDeque<Happening>,
    /// Connections that the system accepted and the daemon has not.
    pub(crate) dials: Vec<usize>,
    /// Whether the listening socket is open.
    pub(crate) listens: bool,
    /// What follows when it has gone down by itself.
    pub after: After,
    /// What I/O of a dead process still does to the disks, with the resource: nothing, as long as [SAFE-6] is kept.
    pub(crate) stale: Vec<(usize, Running)>,
    /// The longest that a request takes on the medium.
    pub service: Duration,
    /// The longest that a sync takes.
    pub sync: Duration,
    /// The longest that a commit takes.
    pub commit: Duration,
    /// How often initiators say that they are there.
    pub keep_alive: Duration,
    /// How long sharers that are back wait for the others.
    pub barrier: Duration,
}

/// A running daemon.
pub struct Daemon {
    /// The real machine.
    pub machine: Target,
    pub(crate) lanes: BTreeMap<ConnId, Lane>,
    pub(crate) running: BTreeMap<u64, Running>,
    pub(crate) gates: Vec<Gate>,
    /// What changes of sharers came to, for each resource.
    pub(crate) ledgers: Vec<Ledger>,
    /// Changes that wait for those of others.
    pub(crate) parked: BTreeMap<Which, Running>,
    /// Resources whose life has ended and whose next one has not begun.
    pub(crate) ended: BTreeSet<usize>,
    /// Who asked for what on which connection.
    pub(crate) claims: BTreeMap<ConnId, Claim>,
    /// Connections that gave a sign of life since the last tick.
    pub(crate) pulses: BTreeSet<ConnId>,
    pub(crate) accepts: bool,
    /// The flush of all backends: how many are left, and whether all were good.
    pub(crate) durable: BTreeMap<RestartId, (usize, bool)>,
    inputs: VecDeque<Event>,
    in_turn: bool,
    ops: u64,
    armed: Option<MonoTime>,
}

/// An ATTACH as it came.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Whose.
    pub attachment: usize,
    /// Its epoch.
    pub epoch: Epoch,
    /// And instance.
    pub instance: InstanceId,
}

impl TargetHost {
    /// A host with so many disks of so many sectors.
    pub fn new(host: usize, name: String, disks: usize, sectors: usize) -> Self {
        Self {
            host,
            name,
            disks: vec![Disk::new(sectors); disks],
            uppers: vec![None; disks],
            state: StateDir::new(disks),
            daemon: None,
            life: 0,
            since: MonoTime(0),
            frozen: false,
            thawed: None,
            backlog: VecDeque::new(),
            dials: Vec::new(),
            listens: false,
            after: After::default(),
            stale: Vec::new(),
            service: Duration::from_millis(2),
            sync: Duration::from_millis(4),
            commit: Duration::from_millis(1),
            keep_alive: Duration::from_millis(1250),
            barrier: Duration::from_secs(60),
        }
    }

    /// Whether this life still runs.
    pub fn lives(&self, life: u64) -> bool {
        self.daemon.is_some() && self.life == life
    }

    pub(crate) fn takes_dials(&self) -> bool {
        self.listens
    }

    pub(crate) fn accepts(&self) -> bool {
        !self.frozen && self.daemon.as_ref().is_some_and(|daemon| daemon.accepts)
    }

    /// What its machine does, in a word.
    pub fn phase(&self) -> &'static str {
        self.daemon.as_ref().map_or("dead", |daemon| phase_word(daemon.machine.phase()))
    }

    pub(crate) fn geometry(&self, resource: usize) -> Geometry {
        let sector = crate::disk::SECTOR;
        Geometry {
            size: self.disks[resource].sectors() * u64::from(sector),
            block: sector,
            preferred: 4096,
            max_length: MOST_SECTORS as u32 * sector,
            features: Features::DISCARD.with(Features::WRITE_ZEROES),
        }
    }

    pub(crate) fn resource_name(resource: usize) -> Name {
        Name::clipped(&format!("disk-{resource}"))
    }

    pub(crate) fn identity(&self, resource: usize) -> ResourceId {
        let mut id = [7; 16];
        id[0] = self.host as u8 + 1;
        id[1] = resource as u8 + 1;
        ResourceId(id)
    }
}

/// The connection that an event is about.
fn conn_of(event: &Event) -> Option<ConnId> {
    match *event {
        Event::Received { conn, .. } | Event::Lost { conn } | Event::Drained { conn } => Some(conn),
        Event::Accepted { .. }
        | Event::Recorded { .. }
        | Event::LifeEnded { .. }
        | Event::Upstream { .. }
        | Event::Durable { .. }
        | Event::Agentless { .. }
        | Event::Order(_)
        | Event::Decide(_)
        | Event::Evict { .. }
        | Event::Tick => None,
    }
}

/// A phase in a word.
pub fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Intending { .. } => "intending",
        phase if matches!(phase.question(), Some(target::Question::Open(_))) => "asking",
        Phase::Pausing { .. } => "pausing",
        Phase::Settling { .. } => "settling",
        Phase::Quiet { .. } => "quiet",
        Phase::Sealing { .. } => "sealing",
        Phase::Revoking { .. } => "revoking",
        Phase::Leaving { .. } => "leaving",
        Phase::Down { .. } => "down",
    }
}

/// A session's state in a word.
pub fn session_word(state: &SessionState) -> &'static str {
    match state {
        SessionState::Accepted { .. } => "accepted",
        SessionState::Greeted { .. } => "greeted",
        SessionState::Fencing { .. } => "fencing",
        SessionState::Recording { .. } => "recording",
        SessionState::Arriving { .. } => "arriving",
        SessionState::Ready { .. } => "ready",
        SessionState::Sharing { .. } => "sharing",
        SessionState::Asked { .. } => "asked",
        SessionState::Complete { .. } => "complete",
        SessionState::Closing { .. } => "closing",
        SessionState::Detaching { .. } => "detaching",
    }
}

impl World {
    /// Gives a target's machine what happened and does at once what it wants done, as its daemon's turn does.
    pub fn tell_target(&mut self, at: usize, event: Event) {
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        daemon.inputs.push_back(event);
        // What happens within a turn is taken by the next one.
        if std::mem::replace(&mut daemon.in_turn, true) {
            return;
        }
        let mut actions = Vec::new();
        while let Some(daemon) = &mut self.targets[at].daemon
            && let Some(event) = daemon.inputs.pop_front()
        {
            let conn = conn_of(&event);
            let before = phase_word(daemon.machine.phase());
            if let Event::Received { conn, .. } = event {
                daemon.machine.heard(conn);
            }
            daemon.machine.handle(self.now, event, &mut actions);
            let after = phase_word(daemon.machine.phase());
            for action in actions.drain(..) {
                self.perform_target(at, action);
            }
            self.judge_phase(at);
            if before != after {
                self.coverage.moved("target", before, after);
                self.note(|| format!("target-{at}: {before} → {after}"));
                self.ambush(crate::fault::Watch::Target(after), at);
            }
            if let Some(conn) = conn {
                let wire = conn.0 as usize;
                let session = self.session_word(wire);
                self.ambush(crate::fault::Watch::Session(session), self.wires[wire].attachment);
            }
        }
        if let Some(daemon) = &mut self.targets[at].daemon {
            daemon.in_turn = false;
        }
        self.arm_target(at);
    }

    pub(crate) fn arm_target(&mut self, at: usize) {
        let now = self.now;
        let host = &mut self.targets[at];
        let life = host.life;
        let Some(daemon) = &mut host.daemon else { return };
        let Some(deadline) = daemon.machine.deadline() else { return };
        // A tick that comes too early looks again.
        if daemon.armed.is_none_or(|armed| deadline < armed) {
            daemon.armed = Some(deadline);
            self.queue.push(deadline.max(now), Happening::TickTarget { target: at, life });
        }
    }

    pub(crate) fn tick_target(&mut self, at: usize) {
        let now = self.now;
        let Some(daemon) = &mut self.targets[at].daemon else { return };
        daemon.armed = None;
        if daemon.machine.deadline().is_some_and(|deadline| deadline <= now) {
            for conn in std::mem::take(&mut daemon.pulses) {
                daemon.machine.heard(conn);
            }
            self.tell_target(at, Event::Tick);
            let deadline =
                self.targets[at].daemon.as_ref().and_then(|daemon| daemon.machine.deadline());
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.found("progress", || format!("target-{at} wants to be woken at once, again"));
            }
        }
        self.arm_target(at);
    }

    /// A message reached a target.
    pub(crate) fn target_receives(&mut self, at: usize, wire: usize, message: Message) {
        let conn = ConnId(wire as u64);
        let attachment = self.wires[wire].attachment;
        if let (Message::Attach(attach), Some(daemon)) = (&message, &mut self.targets[at].daemon) {
            let instance = self.wires[wire].instance;
            daemon.claims.insert(conn, Claim { attachment, epoch: attach.epoch, instance });
        }
        self.tell_target(at, Event::Received { conn, message });
    }
}
