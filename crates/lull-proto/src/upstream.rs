//! What one target says of another on which it lies [CHAIN-1].

use crate::geometry::Geometry;
use core::time::Duration;
use lull_wire::ResourceId;
use lull_wire::messages::{Path, Prose};

/// Why no time that passes brings the target above back: somebody has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Never {
    /// The path leads back to a node that is on it, or is longer than one may be. Whoever mends that is noticed.
    Circle,
    /// It has fenced this node, or evicted it. What this node has is over; only an operator of this one begins anew.
    Fenced,
}

/// How the target stands on which a resource lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Upstream {
    /// It takes no request, though answers to earlier ones may still come. `reason`: what it does, for people, as in
    /// "waits for NODE, which …"; `span`: how long that may last, zero where nobody knows; `path`: the nodes from it
    /// to the one that is waited for, as far as they are known; `never`: why waiting ends nothing, where it does not.
    Away { reason: Prose, span: Duration, path: Path, never: Option<Never> },
    /// It takes requests. `path`: the nodes that its resource leads through, itself first; what the resource is.
    Standing { path: Path, identity: ResourceId, geometry: Geometry },
}
