//! A state of the world: all of it, with the real machines inside.

use super::medium::Medium;
use super::setup::{Setup, Wish};
use crate::state_dir::StateDir;
use lull_proto::initiator::{self, Ask, Initiator, Memory, Policy, Retain};
use lull_proto::target::{self, Resource, Target};
use lull_proto::{ConnId, Geometry, MonoTime};
use lull_wire::messages::{Address, Name, Path, Reply, Request};
use lull_wire::{
    Access, AttachmentId, Epoch, Features, Incarnation, InstanceId, Message, RequestNumber,
    ResourceId, RestartId,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Where all clocks stand between two steps.
pub const NOW: MonoTime = MonoTime(3_600_000_000_000);
/// Nobody looks at the clock more often.
pub const TICK: Duration = Duration::from_secs(1);
/// What is further away never comes.
pub const HORIZON: Duration = Duration::from_secs(1000);
/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// A state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The owner's side.
    pub owner: Owner,
    /// The users' sides.
    pub nodes: Vec<Node>,
    /// Connections.
    pub wires: Vec<Wire>,
    /// What may still happen to it.
    pub left: Left,
    /// The first thing that a judge did not like.
    pub wrong: Option<Wrong>,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    /// Faults.
    pub faults: u8,
    /// Orders to restart.
    pub restarts: u8,
    /// Restarts given up.
    pub aborts: u8,
    /// Times that time passes although something is under way.
    pub delays: u8,
}

/// A rule, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wrong {
    /// Which rule.
    pub rule: &'static str,
    /// How it was broken.
    pub how: &'static str,
}

/// A target's host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Its daemon, while it runs.
    pub daemon: Option<Daemon>,
    /// How often it was started.
    pub life: u64,
    /// Its state directory.
    pub store: StateDir,
    /// What lies under each resource.
    pub media: Vec<Medium>,
}

/// A target's daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Daemon {
    /// The real machine.
    pub machine: Target,
    /// Where requests are executed.
    pub lanes: BTreeMap<ConnId, Lane>,
    /// It takes connections.
    pub accepts: bool,
    /// All backends are being flushed.
    pub settling: Option<RestartId>,
    /// Resources whose life has ended and whose next one has not begun.
    pub ended: BTreeSet<usize>,
}

/// One connection's lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Of which resource.
    pub resource: usize,
    /// Nothing new is taken.
    pub closing: bool,
    /// Nothing is answered.
    pub muted: bool,
    /// Somebody was let in since.
    pub stale: bool,
    /// Requests under way.
    pub running: Vec<Running>,
}

/// A request under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// Its number.
    pub number: RequestNumber,
    /// What it does.
    pub wish: Wish,
    /// What a write puts there.
    pub content: u8,
}

/// An initiator's daemon with one attachment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The real machine, while the daemon runs.
    pub machine: Option<Initiator>,
    /// How often it was started.
    pub life: u64,
    /// What its state file holds.
    pub kept: Option<Kept>,
    /// What it is to hold.
    pub wish: Option<Memory>,
    /// Whether the machine was told that it holds something.
    pub told: bool,
    /// A connection that is asked for.
    pub dialling: Option<ConnId>,
    /// Consumers' requests that are not answered.
    pub slots: BTreeMap<u32, Asked>,
    /// What was acknowledged and is not flushed, by its place in the log, with its content.
    pub retained: BTreeMap<u64, (Ask, u8)>,
    /// In which incarnation all of that was executed.
    pub settled: Incarnation,
    /// The daemon has ended, and its log waits for the next life.
    pub waits: bool,
    /// The log before it was lost, and all of this one was executed nowhere yet.
    pub misses: bool,
    /// How much of what its consumers want was asked for.
    pub asked: usize,
    /// PAUSE came on the present connection, and no RESUME.
    pub pausing: Option<RestartId>,
}

/// What an initiator's state file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The lives that may be the owner, the oldest first.
    pub owners: Vec<InstanceId>,
    /// What the last one knew.
    pub memory: Memory,
    /// It kept a log, settled in this incarnation.
    pub log: Option<Incarnation>,
}

/// A consumer's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What it is.
    pub wish: Wish,
    /// What a write puts there, once it was sent; 0 before.
    pub content: u8,
    /// It was sent.
    pub sent: bool,
    /// For a flush: what its consumer had been told of in each sector.
    pub covers: Vec<u8>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    /// Whose.
    pub node: usize,
    /// Its number there.
    pub at_node: ConnId,
    /// Its number at the target.
    pub at_target: ConnId,
    /// The node's end is open.
    pub node_open: bool,
    /// The target's end is open.
    pub target_open: bool,
    /// It carries nothing any more.
    pub dead: bool,
    /// What is on its way to the target.
    pub up: VecDeque<Frame>,
    /// What is on its way to the node.
    pub down: VecDeque<Frame>,
    /// The epoch that was asked for on it.
    pub claim: Option<Epoch>,
}

/// What is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// A request; for a write what it puts there.
    Request(Request, u8),
    /// A reply.
    Reply(Reply),
    /// The other end was closed.
    End,
}

impl State {
    /// The world before anything happened.
    pub fn new(setup: &Setup) -> Self {
        let count = usize::from(setup.resources());
        let media = (0..count).map(|resource| {
            let users = setup.nodes.iter().filter(|(one, _)| usize::from(*one) == resource);
            let needed = users.map(|(_, wishes)| Medium::needed(wishes)).max().unwrap_or(1);
            Medium::new(needed, setup.nodes.len())
        });
        let owner =
            Owner { daemon: None, life: 0, store: StateDir::new(count), media: media.collect() };
        let Setup { count, restarts, aborts, delays, .. } = *setup;
        Self {
            owner,
            nodes: setup.nodes.iter().map(|_| Node::new()).collect(),
            wires: Vec::new(),
            left: Left { faults: count, restarts, aborts, delays },
            wrong: None,
        }
    }

    /// A judge speaks; the first word counts.
    pub fn found(&mut self, rule: &'static str, how: &'static str) {
        self.wrong.get_or_insert(Wrong { rule, how });
    }
}

impl Node {
    fn new() -> Self {
        Self {
            machine: None,
            life: 0,
            kept: None,
            wish: None,
            told: false,
            dialling: None,
            slots: BTreeMap::new(),
            retained: BTreeMap::new(),
            settled: Incarnation::NONE,
            waits: false,
            misses: false,
            asked: 0,
            pausing: None,
        }
    }
}

impl Wire {
    /// The node closes its end, or it is closed for it.
    pub fn close_at_node(&mut self) {
        if std::mem::replace(&mut self.node_open, false) {
            self.down.clear();
            self.send_up(Frame::End);
        }
    }

    /// The target closes its end.
    pub fn close_at_target(&mut self) {
        if std::mem::replace(&mut self.target_open, false) {
            self.up.clear();
            self.send_down(Frame::End);
        }
    }

    /// Something sets out for the target.
    pub fn send_up(&mut self, frame: Frame) {
        if self.target_open && !self.dead {
            self.up.push_back(frame);
        }
    }

    /// Something sets out for the node.
    pub fn send_down(&mut self, frame: Frame) {
        if self.node_open && !self.dead {
            self.down.push_back(frame);
        }
    }
}

fn id(kind: u8, which: u64, life: u64) -> [u8; 16] {
    let mut id = [0; 16];
    (id[0], id[1], id[2]) = (kind, which as u8 + 1, life as u8);
    id
}

/// A node's attachment.
pub fn attachment(node: usize) -> AttachmentId {
    AttachmentId(id(1, node as u64, 0))
}

/// The node of an attachment.
pub fn node_of(attachment: AttachmentId) -> usize {
    usize::from(attachment.0[1]) - 1
}

fn name(kind: &str, which: usize) -> Name {
    Name::clipped(&format!("{kind}{which}"))
}

/// What a node's machine is made from in its next life.
pub fn node_config(setup: &Setup, at: usize, node: &Node) -> initiator::Config {
    initiator::Config {
        node: name("n", at),
        instance: InstanceId(id(2, at as u64, node.life)),
        predecessors: node.kept.as_ref().map(|kept| kept.owners.clone()).unwrap_or_default(),
        software: Name::default(),
        callback: Address::default(),
        attachment: attachment(at),
        resource: name("r", setup.nodes[at].0.into()),
        access: Access::ReadWrite,
        take_over: false,
        policy: Policy::Wait,
        restart_timeout: Duration::MAX,
        resume_timeout: Duration::MAX,
        hold: setup.hold,
        retain: Retain::UpTo(setup.retain),
        memory: node.kept.as_ref().map(|kept| kept.memory).unwrap_or_default(),
        seed: 0,
    }
}

/// What a target's machine is made from in its present life, but its roster.
pub fn target_parts(setup: &Setup, owner: &Owner) -> (target::Config, Vec<Resource>) {
    let config = target::Config {
        node: name("t", 0),
        instance: InstanceId(id(3, 0, owner.life)),
        software: Name::default(),
        keep_alive: if setup.keep_alive.is_zero() { HORIZON * 2 } else { setup.keep_alive },
        barrier: Duration::ZERO,
        from: owner.store.unfinished.unwrap_or(RestartId(0)),
    };
    let resource = |(at, medium): (usize, &Medium)| Resource {
        name: name("r", at),
        identity: ResourceId(id(4, at as u64, 0)),
        incarnation: Incarnation(id(5, at as u64, owner.life)),
        tenure: owner.store.tenures[at],
        geometry: Geometry {
            size: medium.sectors.len() as u64 * SECTOR,
            block: SECTOR as u32,
            preferred: SECTOR as u32,
            max_length: SECTOR as u32,
            features: Features::none(),
        },
        path: Path::default(),
        chained: false,
        agentless: Default::default(),
    };
    (config, owner.media.iter().enumerate().map(resource).collect())
}
