//! Worlds to begin with: which faults belong together, and how large a world is.

mod chains;

use crate::chance::Chance;
use crate::fault::{Kind, Plan, moment_of};
use crate::judge::Judge;
use crate::knocks;
use crate::node::Attachment;
use crate::node::load::Load;
use crate::target::TargetHost;
use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::MonoTime;
use lull_proto::initiator::{Config, Memory, Policy, Retain};
use lull_wire::messages::{Address, Name};
use lull_wire::{Access, AttachmentId, InstanceId};
use std::time::Duration;

/// A sort of world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preset {
    /// Nothing goes wrong.
    Calm,
    /// Connections break, stall and go silent.
    Network,
    /// Targets' processes die.
    Crash,
    /// Targets' operating systems die, and their caches with them.
    Power,
    /// Operators restart targets, in every way and out of turn.
    Planned,
    /// Disks and state directories fail.
    Storage,
    /// Daemons of initiators die.
    Nodes,
    /// Daemons stand still.
    Frozen,
    /// Operators evict, take over, detach.
    Operators,
    /// Clients without an agent come and go.
    Agentless,
    /// All of it.
    All,
    /// As `Power`, with readers who are to see nothing of a replay.
    Readers,
    /// As `Storage`, where a write-back that fails is to be replayed at once.
    WriteBack,
    /// As `Nodes`, where daemons take long to note that they were let in, and die before that.
    Heirs,
    /// Daemons of initiators and their targets' systems die, together too, and every log outlives its daemon.
    Logs,
    /// As `Nodes`, where a replay that ends in its middle with its initiator takes back nothing that was durable.
    Torn,
    /// Resources that lie on other targets', in a line: all of them restart, die and lose their connections.
    Chain,
    /// The same with hosts that lie on each other's disks, and storage that fails.
    Rings,
    /// One fault at one moment that hardly ever comes, again and again.
    Moments,
    /// Several initiators write to each disk, at the same places, while everything dies.
    Shared,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Calm,
        Self::Network,
        Self::Crash,
        Self::Power,
        Self::Planned,
        Self::Storage,
        Self::Nodes,
        Self::Frozen,
        Self::Operators,
        Self::Agentless,
        Self::All,
        Self::Readers,
        Self::WriteBack,
        Self::Heirs,
        Self::Logs,
        Self::Torn,
        Self::Chain,
        Self::Rings,
        Self::Moments,
        Self::Shared,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Network => "network",
            Self::Crash => "crash",
            Self::Power => "power",
            Self::Planned => "planned",
            Self::Storage => "storage",
            Self::Nodes => "nodes",
            Self::Frozen => "frozen",
            Self::Operators => "operators",
            Self::Agentless => "agentless",
            Self::All => "all",
            Self::Readers => "readers",
            Self::WriteBack => "write-back",
            Self::Heirs => "heirs",
            Self::Logs => "logs",
            Self::Torn => "torn",
            Self::Chain => "chain",
            Self::Rings => "rings",
            Self::Moments => "moments",
            Self::Shared => "shared",
        }
    }

    /// The preset of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// The faults that belong to it.
    pub fn kinds(self) -> Vec<Kind> {
        use Kind as K;
        let network = [K::Cut, K::Silence, K::Stall, K::Blackout, K::Knocks];
        let planned = [K::Restart, K::RestartPower, K::Hold, K::Terminate, K::Decide];
        match self {
            Self::Calm => Vec::new(),
            Self::Network => network.to_vec(),
            Self::Crash => [&[K::KillTarget, K::KillTarget, K::Restart][..], &network].concat(),
            Self::Power | Self::Readers => [
                &[K::PowerTarget, K::PowerTarget, K::KillTarget, K::WriteBack, K::Restart][..],
                &network,
            ]
            .concat(),
            Self::Planned => {
                [&planned[..], &[K::KillTarget, K::PowerTarget, K::Cut, K::Silence]].concat()
            }
            Self::Storage | Self::WriteBack => {
                let storage = [K::SyncFails, K::SyncHangs, K::DiskFails, K::WriteBack];
                let state = [K::StateFails, K::StateFailsLate];
                [&storage[..], &state, &planned, &[K::KillTarget, K::PowerTarget, K::Cut]].concat()
            }
            Self::Shared => [
                &[K::KillTarget, K::KillTarget, K::PowerTarget, K::Restart, K::SyncFails][..],
                &[K::KillTarget, K::KillTarget, K::KillNode, K::WriteBack, K::Evict, K::Hold],
                &[K::ReplaceNode, K::Decide, K::Cut, K::Cut, K::Blackout],
                &network,
            ]
            .concat(),
            Self::Torn => vec![K::KillTarget, K::KillTarget, K::KillNode],
            Self::Logs => [
                &[K::KillNode, K::KillNode, K::PowerTarget, K::PowerTarget, K::KillTarget][..],
                &[K::ReplaceNode, K::Restart, K::WriteBack, K::Cut],
            ]
            .concat(),
            Self::Nodes => [
                &[K::KillNode, K::KillNode, K::NodeStateFails, K::KillTarget, K::Restart][..],
                &[K::ReplaceNode, K::ReplaceNode, K::PowerTarget],
                &network,
            ]
            .concat(),
            Self::Heirs => vec![
                K::KillNode,
                K::KillNode,
                K::ReplaceNode,
                K::NodeStateFails,
                K::KillTarget,
                K::Cut,
            ],
            Self::Frozen => {
                [&[K::FreezeTarget, K::FreezeNode, K::KillTarget][..], &planned, &network].concat()
            }
            Self::Operators => [
                &[K::Evict, K::TakeOver, K::Detach, K::KillNode, K::KillTarget, K::Cut][..],
                &[K::ReplaceNode],
                &planned,
            ]
            .concat(),
            Self::Agentless => {
                [&[K::Client, K::Client, K::Client, K::KillTarget, K::PowerTarget][..], &planned]
                    .concat()
            }
            Self::Chain => [
                &[K::PowerTarget, K::KillTarget, K::KillTarget, K::KillNode, K::WriteBack][..],
                &[K::ReplaceNode],
                &planned,
                &network,
            ]
            .concat(),
            Self::Rings => [
                &[K::PowerTarget, K::KillTarget, K::KillNode, K::FreezeTarget, K::SyncFails][..],
                &[K::StateFails, K::StateFailsLate, K::NodeStateFails, K::DiskFails],
                &planned,
                &network,
            ]
            .concat(),
            Self::All | Self::Moments => K::ALL.to_vec(),
        }
    }

    /// The world of a seed.
    pub fn world(self, seed: u64) -> World {
        let mut chance = Chance::new(seed ^ (self as u64) << 56);
        let mut plan = Plan::calm(chance.fork());
        // A swarm: each run has a part of the faults only, so that some states last that others would end.
        let all = self.kinds();
        plan.kinds = all.iter().copied().filter(|_| chance.percent(60)).collect();
        if plan.kinds.is_empty() {
            plan.kinds = all;
        }
        let span = *chance.pick(&[2, 5, 15, 40]);
        let strikes = *chance.pick(&[3, 6, 12, 25]);
        plan.every = Duration::from_millis(span * 2000 / strikes);
        plan.downtime = Duration::from_secs(*chance.pick(&[1, 3, 10]));
        if self == Self::Moments {
            plan.moment = Some(moment_of(seed));
            plan.every = Duration::from_millis(400);
        }
        let mut world = World::new(chance.fork(), plan, Judge::default());
        world.plan.until = world.now + Duration::from_secs(span);
        world.net.jitter = Duration::from_micros(*chance.pick(&[50, 500, 5_000, 50_000]));
        match self {
            Self::Chain => chains::line(&mut world, &mut chance, span),
            Self::Rings => chains::rings(&mut world, &mut chance, span),
            _ => build(&mut world, &mut chance, span, self),
        }
        for node in &mut world.attachments {
            node.log.is_kept = self == Self::Logs || chance.percent(70);
        }
        world.after(Duration::from_secs(span), Happening::Heal);
        let first = chance.span(Duration::from_millis(1), world.plan.every);
        world.after(first, Happening::Draw);
        world
    }
}

/// Targets with disks, and initiators on the same hosts or on others.
fn build(world: &mut World, chance: &mut Chance, seconds: u64, preset: Preset) {
    // Those who never meet have nothing to wait for.
    let sharers = world.plan.moment.is_some_and(|(moment, _)| moment.needs_sharers());
    let crowd = preset == Preset::Shared || sharers;
    let targets = if crowd { 1 } else { *chance.pick(&[1, 1, 1, 2, 3]) };
    for _ in 0..targets {
        let disks = if crowd { 1 } else { *chance.pick(&[1, 1, 2, 3]) };
        let sectors = *chance.pick(&[32, 64, 128]);
        add_target(world, chance, disks, sectors);
        let target = world.targets.last_mut();
        if let Some(target) = target {
            match preset {
                // What ends at once is no moment to strike at.
                Preset::Moments => {
                    target.service = Duration::from_millis(200);
                    target.barrier = Duration::from_secs(5);
                }
                Preset::Shared => {
                    target.barrier = Duration::from_secs(*chance.pick(&[1, 5, 60]));
                }
                _ => {}
            }
        }
    }
    let rings = chance.one_in(3);
    let nodes = chance.between(1, 3);
    let hosts: Vec<usize> = (0..nodes)
        .map(|_| if rings { chance.below(targets) as usize } else { world.add_host() })
        .collect();
    let requests = *chance.pick(if crowd { &[400, 800, 1600] } else { &[40, 120, 400] });
    for target in 0..world.targets.len() {
        for resource in 0..world.targets[target].disks.len() {
            let place = (target, resource);
            add_attachments(world, chance, &hosts, place, requests, seconds, (preset, crowd));
        }
        world.start_target(target);
    }
    for at in 0..world.attachments.len() {
        world.start_node(at);
    }
}

/// One more target, on a host of its own.
fn add_target(world: &mut World, chance: &mut Chance, disks: usize, sectors: usize) {
    let (host, at) = (world.add_host(), world.targets.len());
    let mut target = TargetHost::new(host, format!("target-{at}"), disks, sectors);
    target.service = Duration::from_micros(*chance.pick(&[200, 2_000, 20_000, 200_000]));
    target.sync = Duration::from_micros(*chance.pick(&[500, 5_000, 50_000, 500_000]));
    target.commit = Duration::from_micros(*chance.pick(&[300, 3_000, 100_000]));
    target.keep_alive = Duration::from_millis(*chance.pick(&[250, 1_250, 2_500]));
    world.targets.push(target);
    world.judge.add_target(disks);
}

fn add_attachments(
    world: &mut World,
    chance: &mut Chance,
    hosts: &[usize],
    (target, resource): (usize, usize),
    requests: u64,
    seconds: u64,
    (preset, shares): (Preset, bool),
) {
    let some = preset == Preset::Readers || chance.one_in(4);
    let readers = if some { chance.between(1, 2) } else { 0 };
    let writers = if shares { chance.between(2, 3) } else { 1 };
    for nth in 0..writers + readers {
        let host = *chance.pick(hosts);
        let access = match nth < writers {
            true if shares => Access::Shared,
            true => Access::ReadWrite,
            false => Access::ReadOnly,
        };
        let config = config(chance, host, resource, access);
        let mut node = Attachment::new(host, target, resource, config);
        let think = Duration::from_millis((seconds * 8_000 / requests).max(1));
        node.load = Load::any(chance, requests, think);
        node.load.reads_only = nth >= writers;
        if shares {
            node.load.hot = *chance.pick(&[0, 1, 8]);
        }
        node.keeping = Duration::from_micros(*chance.pick(&[300, 3_000, 100_000]));
        if preset == Preset::Heirs {
            node.keeping = Duration::from_millis(*chance.pick(&[1, 100, 3_000]));
        }
        world.attachments.push(node);
    }
}

fn config(chance: &mut Chance, host: usize, resource: usize, access: Access) -> Config {
    Config {
        node: Name::clipped(&format!("node-{host}")),
        instance: InstanceId::NONE,
        predecessors: Vec::new(),
        software: Name::default(),
        callback: if chance.percent(70) { knocks::address(host) } else { Address::default() },
        attachment: AttachmentId(chance.id()),
        resource: TargetHost::resource_name(resource),
        access,
        take_over: false,
        policy: *chance.pick(&[
            Policy::Wait,
            Policy::Wait,
            Policy::Error,
            Policy::Hook,
            Policy::Shutdown,
        ]),
        restart_timeout: Duration::from_secs(*chance.pick(&[2, 30, 600])),
        resume_timeout: Duration::from_secs(*chance.pick(&[1, 60])),
        hold: Duration::MAX,
        retain: Retain::UpTo(*chance.pick(&[0, 4_096, 16_384, 65_536, 64 << 20])),
        memory: Memory::default(),
        seed: 0,
    }
}

/// An attachment with nothing by chance in it: for scenarios.
pub fn plain(host: usize, resource: usize, id: u8) -> Config {
    let mut chance = Chance::new(id.into());
    Config {
        callback: Address::default(),
        policy: Policy::Wait,
        restart_timeout: Duration::from_secs(600),
        resume_timeout: Duration::from_secs(60),
        retain: Retain::UpTo(64 << 20),
        ..config(&mut chance, host, resource, Access::ReadWrite)
    }
}

pub use chains::lie;

/// The instant at which every world begins.
pub const BEGIN: MonoTime = MonoTime(1_000_000_000);
