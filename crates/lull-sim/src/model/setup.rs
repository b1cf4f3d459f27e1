//! The worlds that are explored: how many there are of each, what their consumers ask for, and what may go wrong.

use crate::canary::Canary;
use lull_proto::target::OnTimeout;
use std::time::Duration;

/// What a consumer asks for. Sectors count from the first one of its node's resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// A write to a sector.
    Write(u8),
    /// One that is durable when it is answered.
    Durable(u8),
    /// A flush.
    Flush,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A connection ends, with what is on its way.
    Cut,
    /// A connection carries nothing any more, and nobody is told.
    Silence,
    /// The target's process is killed.
    Kill,
    /// Its operating system dies, with the medium's cache.
    Power,
    /// An initiator's process is killed.
    KillNode,
    /// A sync fails and drops what it should have kept.
    Sync,
    /// A commit of the target's state fails.
    Commit,
}

/// A world that is explored.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// For each initiator: the resource that it uses, and what its consumers ask for, in their order.
    pub nodes: Vec<(u8, Vec<Wish>)>,
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// How often something goes wrong, at the most.
    pub count: u8,
    /// How many restarts are ordered.
    pub restarts: u8,
    /// What happens when the pause's span is over.
    pub on_timeout: OnTimeout,
    /// How many of them an operator gives up.
    pub aborts: u8,
    /// How often time passes although something is under way.
    pub delays: u8,
    /// Everybody shares when it begins.
    pub shared: bool,
    /// How often initiators say that they are there; zero: hardly ever.
    pub keep_alive: Duration,
    /// What an initiator may retain, in bytes.
    pub retain: u64,
    /// How long a lost writer's place is kept; `MAX`: without limit.
    pub hold: Duration,
    /// What is left out on purpose.
    pub canary: Option<Canary>,
}

impl Setup {
    /// One initiator, from its first dial on, and nothing that goes wrong.
    pub fn plain() -> Self {
        Self {
            name: "plain",
            about: "one initiator and its first way in, without a fault",
            nodes: vec![(0, vec![Wish::Write(0), Wish::Flush])],
            faults: Vec::new(),
            count: 0,
            restarts: 0,
            on_timeout: OnTimeout::Abort,
            aborts: 0,
            delays: 0,
            shared: false,
            keep_alive: Duration::ZERO,
            retain: 1 << 20,
            hold: Duration::MAX,
            canary: None,
        }
    }

    /// How many resources there are.
    pub fn resources(&self) -> u8 {
        self.nodes.iter().map(|(resource, _)| resource + 1).max().unwrap_or(0)
    }
}
