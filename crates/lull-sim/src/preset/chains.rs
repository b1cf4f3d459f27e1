//! Worlds in which resources lie on other targets': a line, and rings of hosts that lie on each other's disks.

use super::{Preset, add_attachments, add_target, config};
use crate::chance::Chance;
use crate::middle::{Serves, chained};
use crate::node::Attachment;
use crate::world::World;
use lull_proto::initiator::Config;
use lull_wire::Access;
use lull_wire::messages::Name;
use std::time::Duration;

/// Target-0 has the disk; each further one lies on the one before; consumers are at the last.
pub(super) fn line(world: &mut World, chance: &mut Chance, seconds: u64) {
    let middles = if chance.one_in(3) { 2 } else { 1 };
    let sectors = *chance.pick(&[32, 64, 128]);
    add_target(world, chance, 1, sectors);
    for at in 1..=middles {
        add_target(world, chance, 0, sectors);
        lies(world, chance, at, (at - 1, 0), sectors);
    }
    begin(world, chance, seconds, &[(middles, 0)]);
}

/// Hosts with a disk each, some of which lie on each other's: no resource on itself, but hosts in circles.
pub(super) fn rings(world: &mut World, chance: &mut Chance, seconds: u64) {
    let targets = chance.between(2, 3) as usize;
    let sectors = *chance.pick(&[32, 64]);
    let mut free = Vec::new();
    for at in 0..targets {
        add_target(world, chance, 1, sectors);
        free.push((at, 0));
    }
    for _ in 0..chance.between(1, 4) {
        let above = *chance.pick(&free);
        let others: Vec<usize> = (0..targets).filter(|at| *at != above.0).collect();
        let at = *chance.pick(&others);
        let resource = lies(world, chance, at, above, sectors);
        // Whatever lies on it is its only writer.
        free.retain(|one| *one != above);
        free.push((at, resource));
    }
    begin(world, chance, seconds, &free);
}

fn lies(
    world: &mut World,
    chance: &mut Chance,
    at: usize,
    above: (usize, usize),
    sectors: usize,
) -> usize {
    let config = config(chance, world.targets[at].host, above.1, Access::ReadWrite);
    let keeping = Duration::from_micros(*chance.pick(&[300, 3_000, 100_000]));
    let resource = lie(world, at, above, config, sectors);
    if let Some(upper) = world.upper(at, resource) {
        world.attachments[upper].keeping = keeping;
    }
    resource
}

/// One more resource of a target, which lies on this one of another, by an attachment of these habits; its number.
pub fn lie(
    world: &mut World,
    at: usize,
    above: (usize, usize),
    habits: Config,
    sectors: usize,
) -> usize {
    let host = world.targets[at].host;
    let config = chained(Config { node: Name::clipped(&world.targets[at].name), ..habits });
    let mut upper = Attachment::new(host, above.0, above.1, config);
    let resource = world.targets[at].disks.len();
    upper.serves = Some(Serves { target: at, resource });
    world.attachments.push(upper);
    world.targets[at].add_chained(world.attachments.len() - 1, sectors);
    let root = world.root(at, resource);
    world.judge.add_chained(at, root);
    resource
}

/// Consumers come to these resources, and all begins.
fn begin(world: &mut World, chance: &mut Chance, seconds: u64, used: &[(usize, usize)]) {
    let nodes = chance.between(1, 2);
    let mut hosts: Vec<usize> = (0..nodes).map(|_| world.add_host()).collect();
    if chance.one_in(3) {
        hosts.push(world.targets[0].host);
    }
    let requests = *chance.pick(&[40, 120, 400]);
    for &place in used {
        add_attachments(world, chance, &hosts, place, requests, seconds, (Preset::Chain, false));
    }
    for at in 0..world.targets.len() {
        world.start_target(at);
    }
    for at in 0..world.attachments.len() {
        world.start_node(at);
    }
}
