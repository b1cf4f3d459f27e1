//! Parts of the events that do not come from a peer.

use crate::bytes::Bytes;
use lull_proto::target::{Agentless, Entry, OnTimeout, Order, Purpose, Resource, ResourceIndex};
use lull_proto::{Geometry, MonoTime, Never, Upstream};
use lull_wire::messages::{Name, Path};
use lull_wire::{
    Access, AttachmentId, Epoch, Features, Incarnation, InstanceId, ResourceId, RestartId, Tenure,
    Text,
};
use std::time::Duration;

/// Nobody lives to see a deadline that stands for none.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 86_400);

pub const GEOMETRY: Geometry = Geometry {
    size: 1 << 20,
    block: 4096,
    preferred: 4096,
    max_length: 1 << 20,
    features: Features::EXTENTS,
};

/// A later moment: a machine's deadline, or any.
pub fn later(now: MonoTime, deadline: Option<MonoTime>, from: &mut Bytes<'_>) -> MonoTime {
    let span = Duration::from_millis(from.number().min(1_000_000));
    let soon = now + LONGEST_WAIT;
    match (from.coin(), deadline) {
        (true, Some(deadline)) if deadline < soon => now.max(deadline),
        _ => now + span,
    }
}

/// Two resources; the second may lie on another target's.
pub fn resources(from: &mut Bytes<'_>) -> Vec<Resource> {
    let chained = from.coin();
    let resource = |name: &str, n: u8| Resource {
        name: Name::new(name).expect("a name"),
        identity: ResourceId([n; 16]),
        incarnation: Incarnation([n; 16]),
        tenure: Tenure(2),
        geometry: GEOMETRY,
        path: Path::default(),
        chained: chained && name == "disk-b",
        agentless: Agentless::default(),
    };
    vec![resource("disk-a", 1), resource("disk-b", 2)]
}

/// Whom it remembers: at most one writer of each resource, as it would have written it.
pub fn entries(from: &mut Bytes<'_>) -> Vec<Entry> {
    let count = from.below(4);
    let mut written = [false; 2];
    let entry = |n: usize| {
        let place = from.below(2);
        let reads = core::mem::replace(&mut written[place], true);
        Entry {
            callback: Default::default(),
            node: Name::new(["a", "b", "c"][n]).expect("a name"),
            attachment: AttachmentId([n as u8 + 1; 16]),
            resource: ResourceIndex(place),
            access: if reads { Access::ReadOnly } else { Access::ReadWrite },
            instance: InstanceId([n as u8 + 1; 16]),
            epoch: Epoch(from.number() % 9),
            hold: if from.coin() { Duration::MAX } else { Duration::from_secs(1) },
            dirty: !reads && from.coin(),
        }
    };
    (0..count).map(entry).collect()
}

/// What an operator orders, under a number that was never used.
pub fn order(number: u64, from: &mut Bytes<'_>) -> Order {
    use OnTimeout::{Abort, Ask, Proceed, Wait};
    Order {
        id: RestartId(number),
        purpose: if from.coin() { Purpose::Hold } else { Purpose::Restart },
        reason: Default::default(),
        downtime: Duration::from_millis(from.number().min(100_000)),
        span: Duration::from_millis(from.number().min(60_000)),
        on_timeout: [Ask, Abort, Proceed, Wait][from.below(4)],
        unstoppable: from.coin(),
    }
}

/// How the target above stands.
pub fn upstream(from: &mut Bytes<'_>) -> Upstream {
    let node = ["above/disk", "target/disk-b"][from.below(2)];
    let path = Path::new(vec![Text::clipped(node)]).expect("a short path");
    if from.coin() {
        let identity = ResourceId([from.byte() % 3; 16]);
        let size = GEOMETRY.size << (from.byte() % 2);
        return Upstream::Standing { path, identity, geometry: Geometry { size, ..GEOMETRY } };
    }
    let span = Duration::from_millis(from.number());
    let never = [None, None, Some(Never::Circle), Some(Never::Fenced)][from.below(4)];
    Upstream::Away { reason: Default::default(), span, path, never }
}
