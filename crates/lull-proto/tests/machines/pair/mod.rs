//! One target machine and some initiator machines on a virtual clock, with connections that can be cut, delayed and
//! frozen, a store, media, and consumers that check what they are answered.

pub mod history;
pub mod lanes;
pub mod node;
mod perform_node;
mod perform_target;
pub mod store;
mod wire;

pub use history::History;
pub use lanes::{BLOCK, BLOCKS, Lanes};
pub use node::{Node, config};
pub use store::Store;
pub use wire::{Cut, Frame, Side, Wire};

use lull_proto::initiator::{self, Ask, Phase, Slot};
pub use lull_proto::target::Order;
use lull_proto::target::{self, Change, Resource, ResourceIndex, Target, Ticket};
use lull_proto::{ConnId, Geometry, MonoTime};
use lull_wire::messages::{Name, Prose};
use lull_wire::{
    Features, Incarnation, InstanceId, Kind, OpCode, RequestFlags, ResourceId, RestartId,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
pub const LATENCY: Duration = Duration::from_micros(50);

/// What is on its way.
#[derive(Clone, Debug)]
pub enum Later {
    Connect { wire: usize },
    ToTarget { wire: usize, frame: Frame },
    ToNode { wire: usize, frame: Frame },
    LostAtTarget { wire: usize },
    LostAtNode { wire: usize },
    Connected { wire: usize, ok: bool },
    Execute { life: u64, conn: ConnId, at: u64 },
    Drained { life: u64, conn: ConnId },
    Commit { life: u64, ticket: Ticket },
    Durable { life: u64, restart: RestartId, ok: bool },
    Start { from: RestartId },
}

/// What can be seen from outside, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The target sent this to this node.
    Down(usize, Kind),
    /// This node sent this.
    Up(usize, Kind),
    /// This node sent a request of a consumer.
    Asked(usize, Slot),
    /// This node sent a retained change again.
    Replayed(usize, u64),
    Committed(Change),
    StartWriteBack,
    Renewed(usize),
    MakeDurable,
    StopAccepting,
    Gone,
}

/// The world.
pub struct Pair {
    pub now: MonoTime,
    pub target: Option<Target>,
    pub accepting: bool,
    pub target_frozen: bool,
    pub backlog: VecDeque<Later>,
    pub nodes: Vec<Node>,
    pub wires: Vec<Wire>,
    pub store: Store,
    pub lanes: Lanes,
    pub histories: Vec<History>,
    pub trace: Vec<Seen>,
    pub reports: Vec<target::Report>,
    /// How long a target stays away by itself; `None`: until somebody starts it.
    pub downtime: Option<Duration>,
    /// The next connection that breaks.
    pub cut: Option<Cut>,
    /// How long a request takes on the medium, at most.
    pub service: Duration,
    /// And at least.
    pub lag: Duration,
    /// How long sharers wait for each other.
    pub barrier: Duration,
    later: BTreeMap<(MonoTime, u64), Later>,
    names: Vec<&'static str>,
    order: u64,
    pub life: u64,
    chance: u64,
}

impl Pair {
    /// Nodes on resources: node `i` uses the resource that `places[i]` names. The target runs.
    pub fn with(places: &[usize]) -> Self {
        let names = vec!["disk-a", "disk-b", "disk-c"];
        let node = |(at, &place): (usize, &usize)| Node::new(config(at, names[place]), place);
        let mut pair = Self {
            now: MonoTime(1_000_000_000),
            target: None,
            accepting: false,
            target_frozen: false,
            backlog: VecDeque::new(),
            nodes: places.iter().enumerate().map(node).collect(),
            wires: Vec::new(),
            store: Store::new(names.len()),
            lanes: Lanes::new(names.len()),
            histories: vec![History::default(); names.len()],
            trace: Vec::new(),
            reports: Vec::new(),
            downtime: Some(Duration::from_millis(40)),
            cut: None,
            service: Duration::from_millis(3),
            lag: Duration::ZERO,
            barrier: Duration::ZERO,
            later: BTreeMap::new(),
            names,
            order: 0,
            life: 0,
            chance: 0x9e37_79b9_7f4a_7c15,
        };
        pair.start(RestartId(0));
        pair
    }

    /// `count` nodes, each on a resource of its own.
    pub fn new(count: usize) -> Self {
        Self::with(&(0..count).collect::<Vec<_>>())
    }

    /// The same, with everybody sharing.
    pub fn sharing(count: usize) -> Self {
        let mut pair = Self::new(count);
        pair.begin_all();
        pair
    }

    pub fn begin_all(&mut self) {
        for at in 0..self.nodes.len() {
            self.tell(at, initiator::Event::Begin);
        }
        self.until_all_share();
    }

    /// A number below `bound`.
    pub fn chance(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }

    pub fn seed(&mut self, seed: u64) {
        self.chance = seed | 1;
    }

    pub(super) fn at(&mut self, when: MonoTime, later: Later) {
        self.order += 1;
        self.later.insert((when, self.order), later);
    }

    pub(super) fn after(&mut self, span: Duration, later: Later) {
        self.at(self.now + span, later);
    }

    /// A new life of the target, with what is committed.
    pub fn start(&mut self, from: RestartId) {
        assert!(self.target.is_none());
        self.life += 1;
        let life = self.life as u8;
        let resource = |(at, name): (usize, &&str)| Resource {
            name: Name::new(name).unwrap(),
            identity: ResourceId([at as u8 + 1; 16]),
            incarnation: Incarnation([life; 16]),
            tenure: self.store.tenures[at],
            geometry: Geometry {
                size: BLOCKS as u64 * BLOCK,
                block: BLOCK as u32,
                preferred: 65_536,
                max_length: 1 << 20,
                // [CONN-8] Each second life is one that does not know of extents.
                features: Features::DISCARD
                    .with(Features::WRITE_ZEROES)
                    .with_if(life % 2 == 1, Features::EXTENTS),
            },
            path: Default::default(),
            chained: false,
            agentless: Default::default(),
        };
        let resources = self.names.iter().enumerate().map(resource).collect();
        let config = target::Config {
            node: Name::new("target").unwrap(),
            instance: InstanceId([100 + life; 16]),
            software: Name::default(),
            keep_alive: KEEP_ALIVE,
            barrier: self.barrier,
            from,
        };
        let roster = self.store.roster.values().cloned().collect();
        self.target = Some(Target::new(self.now, config, resources, roster));
        self.accepting = true;
        self.target_frozen = false;
        self.backlog.clear();
    }

    /// The target's operating system dies: what was not committed, and what of the media was not flushed, is gone or
    /// not.
    pub fn crash(&mut self) {
        self.store.pending.clear();
        self.vanish();
        if let Some(downtime) = self.downtime {
            self.after(downtime, Later::Start { from: RestartId(0) });
        }
    }

    /// No target: its connections end.
    pub(super) fn vanish(&mut self) {
        self.target = None;
        self.accepting = false;
        let mut chance = self.chance | 1;
        self.lanes.crash(|| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            chance >> 62 & 1 == 0
        });
        for wire in 0..self.wires.len() {
            if core::mem::take(&mut self.wires[wire].at_target) {
                let when = self.wires[wire].down_due.max(self.now + LATENCY);
                self.at(when, Later::LostAtNode { wire });
            }
        }
        self.trace.push(Seen::Gone);
    }

    /// A consumer of this node asks.
    pub fn submit(&mut self, at: usize, ask: Ask) -> Slot {
        let place = self.nodes[at].place;
        let slot = self.nodes[at].ask(&mut self.histories[place], ask);
        self.tell(at, initiator::Event::Submit { slot, ask, rest: 0 });
        slot
    }

    pub fn write(&mut self, at: usize, block: u64) -> Slot {
        self.submit(at, ask(OpCode::Write, block))
    }

    pub fn read(&mut self, at: usize, block: u64) -> Slot {
        self.submit(at, ask(OpCode::Read, block))
    }

    /// The events of one machine or the other.
    pub fn order(&mut self, order: Order) {
        self.tell_target(target::Event::Order(order));
    }

    pub fn decide(&mut self, decision: target::Decision) {
        self.tell_target(target::Event::Decide(decision));
    }

    pub fn evict(&mut self, at: usize) {
        let node = self.nodes[at].config.node.clone();
        self.tell_target(target::Event::Evict { node, resource: None });
    }

    pub fn detach(&mut self, at: usize) {
        self.tell(at, initiator::Event::Detach { at_once: false });
    }

    /// Freezes a target, as SIGSTOP does: its connections stand and nothing is read.
    pub fn freeze_target(&mut self, frozen: bool) {
        self.target_frozen = frozen;
        if !frozen {
            for later in core::mem::take(&mut self.backlog) {
                self.happen(later);
            }
        }
    }

    pub fn freeze(&mut self, at: usize, frozen: bool) {
        self.nodes[at].frozen = frozen;
        if !frozen {
            for later in core::mem::take(&mut self.nodes[at].backlog) {
                self.happen(later);
            }
        }
    }

    /// Ends the connection of this node, at both ends, with all that is under way on it.
    pub fn cut_now(&mut self, at: usize) {
        let open = |wire: &Wire| wire.node == at && wire.at_node && !wire.severed;
        if let Some(wire) = self.wires.iter().rposition(open) {
            self.sever(wire);
        }
    }

    pub fn phase(&self, at: usize) -> Phase {
        self.nodes[at].machine.phase()
    }

    pub fn all_share(&self) -> bool {
        self.nodes.iter().all(|node| node.machine.phase() == Phase::Sharing)
    }

    /// What happens next, and when.
    fn next(&self) -> Option<MonoTime> {
        let later = self.later.keys().next().map(|(at, _)| *at);
        let target = self.target.as_ref().filter(|_| !self.target_frozen);
        let nodes = self.nodes.iter().filter(|node| !node.frozen);
        let nodes = nodes.filter_map(|node| node.machine.deadline()).min();
        [later, target.and_then(Target::deadline), nodes].into_iter().flatten().min()
    }

    /// Goes on to the next instant: input first, then deadlines [TIMER-6].
    fn step(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = self.now.max(next);
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let later = entry.remove();
            self.happen(later);
        }
        self.tick();
        for at in 0..self.nodes.len() {
            self.keep_loaded(at);
        }
    }

    fn tick(&mut self) {
        let due = |deadline: Option<MonoTime>, now| deadline.is_some_and(|at| at <= now);
        if !self.target_frozen
            && let Some(target) = &self.target
            && due(target.deadline(), self.now)
        {
            self.tell_target(target::Event::Tick);
            let deadline = self.target.as_ref().and_then(Target::deadline);
            assert!(!due(deadline, self.now), "the target spins: {:?}", self.target);
        }
        for at in 0..self.nodes.len() {
            // One turn may end a dial and the next begin another: input is read in between.
            let mut turns = 0;
            while !self.nodes[at].frozen && due(self.nodes[at].machine.deadline(), self.now) {
                self.tell(at, initiator::Event::Tick);
                turns += 1;
                assert!(turns < 3, "an initiator spins: {:?}", self.nodes[at].machine);
            }
        }
    }

    fn keep_loaded(&mut self, at: usize) {
        let over = matches!(self.phase(at), Phase::Ended(_));
        // Not without end, where everything is answered at once.
        for _ in 0..self.nodes[at].load {
            let node = &self.nodes[at];
            if over || node.geometry.is_none() || node.waiting.len() >= node.load {
                break;
            }
            let ask = Node::any_ask(|bound| self.chance(bound));
            self.submit(at, ask);
        }
    }

    pub fn load_all(&mut self, depth: usize) {
        for at in 0..self.nodes.len() {
            self.nodes[at].load = depth;
            self.keep_loaded(at);
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.next().is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = until;
    }

    /// Goes on until something is so; fails where it is not within `limit`.
    pub fn until_within(&mut self, limit: Duration, mut is_so: impl FnMut(&Self) -> bool) {
        let until = self.now + limit;
        while !is_so(self) {
            let next = self.next().filter(|next| *next <= until);
            assert!(next.is_some(), "it did not come to pass:\n{}", self.picture());
            self.step();
        }
    }

    pub fn until(&mut self, is_so: impl FnMut(&Self) -> bool) {
        self.until_within(Duration::from_secs(120), is_so);
    }

    pub fn until_all_share(&mut self) {
        self.until(Self::all_share);
    }

    pub fn until_phase(&mut self, at: usize, phase: Phase) {
        self.until(|pair| pair.phase(at) == phase);
    }

    /// The load ends; everybody is answered.
    pub fn finish(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.load = 0);
        self.until(|pair| pair.nodes.iter().all(|node| node.waiting.is_empty()));
    }

    /// For a failed test: how things stand.
    pub fn picture(&self) -> String {
        let tail = self.trace.iter().rev().take(40).rev();
        let tail: Vec<String> = tail.map(|seen| format!("  {seen:?}")).collect();
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("{:?} waiting {:?}", node.machine, node.waiting.keys()))
            .collect();
        format!("{:?}\n{}\n{:?}\n{}", self.now, tail.join("\n"), self.target, nodes.join("\n"))
    }

    /// How often this was seen.
    pub fn count(&self, seen: &Seen) -> usize {
        self.trace.iter().filter(|one| *one == seen).count()
    }

    /// Where in the trace this was first.
    pub fn first(&self, is: impl Fn(&Seen) -> bool) -> usize {
        self.trace.iter().position(is).unwrap_or_else(|| panic!("never seen:\n{}", self.picture()))
    }

    pub fn committed(&self, change: &Change) -> bool {
        self.store.log.contains(change)
    }

    pub fn agentless(&mut self, place: usize, writers: u32, readers: u32) {
        self.tell_target(target::Event::Agentless {
            resource: ResourceIndex(place),
            now: target::Agentless { writers, readers },
        });
    }
}

/// One block.
pub fn ask(op: OpCode, block: u64) -> Ask {
    let flags = RequestFlags::none();
    Ask { op, flags, offset: block * BLOCK, length: BLOCK as u32 }
}

/// An ordinary order: 30 s, then abort.
pub fn restart(id: u64) -> Order {
    Order {
        id: RestartId(id),
        purpose: target::Purpose::Restart,
        reason: Prose::clipped("a test"),
        downtime: Duration::from_secs(1),
        span: Duration::from_secs(30),
        on_timeout: target::OnTimeout::Abort,
        unstoppable: false,
    }
}
