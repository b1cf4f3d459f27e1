//! Faults and orders: which there are, when they strike, and how everything is made well again.

mod draw;
mod heal;
mod strike;

pub use draw::{Moment, moment_of};

use crate::chance::Chance;
use lull_proto::MonoTime;
use lull_wire::Kind as Message;
use std::time::Duration;

/// What can befall somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A connection breaks with all that is on it.
    Cut,
    /// One direction of a connection carries nothing any more, and nobody is told.
    Silence,
    /// One direction of a connection carries nothing for a while.
    Stall,
    /// The network between an initiator and its target does, for new connections too.
    Blackout,
    /// A target's process dies.
    KillTarget,
    /// A target's operating system dies.
    PowerTarget,
    /// An initiator's process dies.
    KillNode,
    /// An operator replaces an initiator's process.
    ReplaceNode,
    /// Strangers knock at an initiator, again and again.
    Knocks,
    /// A target gets no time from its system.
    FreezeTarget,
    /// An initiator gets none.
    FreezeNode,
    /// An operator restarts a target.
    Restart,
    /// The same, and its operating system dies after its clean end.
    RestartPower,
    /// An operator pauses everybody, and says later what next.
    Hold,
    /// A target is told to end, whatever anybody says.
    Terminate,
    /// An operator decides about a pause that runs.
    Decide,
    /// An operator evicts an initiator.
    Evict,
    /// Another daemon comes under an attachment's name, on an operator's word.
    TakeOver,
    /// An operator ends an attachment.
    Detach,
    /// A client without an agent comes.
    Client,
    /// The next write-back of a disk fails.
    SyncFails,
    /// The write-backs of a disk do not end for a while.
    SyncHangs,
    /// A disk fails for a while.
    DiskFails,
    /// A target's state directory cannot be written for a while.
    StateFails,
    /// Writes to it fail for a while, and are there all the same.
    StateFailsLate,
    /// An initiator's cannot.
    NodeStateFails,
    /// The system writes back, and forgets clean pages.
    WriteBack,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Cut,
        Self::Silence,
        Self::Stall,
        Self::Blackout,
        Self::KillTarget,
        Self::PowerTarget,
        Self::KillNode,
        Self::ReplaceNode,
        Self::Knocks,
        Self::FreezeTarget,
        Self::FreezeNode,
        Self::Restart,
        Self::RestartPower,
        Self::Hold,
        Self::Terminate,
        Self::Decide,
        Self::Evict,
        Self::TakeOver,
        Self::Detach,
        Self::Client,
        Self::SyncFails,
        Self::SyncHangs,
        Self::DiskFails,
        Self::StateFails,
        Self::StateFailsLate,
        Self::NodeStateFails,
        Self::WriteBack,
    ];

    /// A word for tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::Stall => "stall",
            Self::Blackout => "blackout",
            Self::KillTarget => "kill target",
            Self::PowerTarget => "power target",
            Self::KillNode => "kill node",
            Self::ReplaceNode => "replace node",
            Self::Knocks => "knocks",
            Self::FreezeTarget => "freeze target",
            Self::FreezeNode => "freeze node",
            Self::Restart => "restart",
            Self::RestartPower => "restart, power",
            Self::Hold => "hold",
            Self::Terminate => "terminate",
            Self::Decide => "decide",
            Self::Evict => "evict",
            Self::TakeOver => "take over",
            Self::Detach => "detach",
            Self::Client => "agentless",
            Self::SyncFails => "sync fails",
            Self::SyncHangs => "sync hangs",
            Self::DiskFails => "disk fails",
            Self::StateFails => "state fails",
            Self::StateFailsLate => "state, late",
            Self::NodeStateFails => "node state",
            Self::WriteBack => "write-back",
        }
    }
}

/// A fault with whom it befalls: a target, and an attachment of it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// The target.
    pub target: usize,
    /// The attachment.
    pub attachment: usize,
}

/// A moment at which a fault may lie in wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// A target came into this state.
    Target(&'static str),
    /// An initiator did.
    Node(&'static str),
    /// A session did.
    Session(&'static str),
    /// A target has sent this.
    Down(Message),
    /// An initiator has.
    Up(Message),
}

/// Which faults strike, and how often.
#[derive(Clone)]
pub struct Plan {
    /// The chance of faults alone.
    pub chance: Chance,
    /// Those that may.
    pub kinds: Vec<Kind>,
    /// The longest span between two of them.
    pub every: Duration,
    /// Chaos ends then.
    pub until: MonoTime,
    /// Those that lie in wait.
    pub ambushes: Vec<(Watch, Kind)>,
    /// The only one that strikes, and its moment.
    pub moment: Option<(&'static Moment, Kind)>,
    /// The longest time that anybody stays away.
    pub downtime: Duration,
    /// Faults are over.
    pub healed: bool,
}

impl Plan {
    /// No faults at all.
    pub fn calm(chance: Chance) -> Self {
        Self {
            chance,
            kinds: Vec::new(),
            every: Duration::from_secs(1),
            until: MonoTime(0),
            ambushes: Vec::new(),
            moment: None,
            downtime: Duration::from_secs(2),
            healed: false,
        }
    }
}
