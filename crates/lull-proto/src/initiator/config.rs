//! What an attachment is: whose, of what, and what it does when its timers end.

use alloc::vec::Vec;
use core::time::Duration;
use lull_wire::messages::{Address, Name};
use lull_wire::{Access, AttachmentId, Epoch, Incarnation, InstanceId, ResourceId, Tenure};

/// What an attachment does when the restart timer or the resume timer ends [TIMER-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Hold on and alert.
    Wait,
    /// Answer what is held, and what comes, with errors, until the target is back.
    Error,
    /// Run a command and hold on.
    Hook,
    /// Answer with errors, run a command, and shut the host down [TIMER-2].
    Shutdown,
}

/// Where acknowledged changes are kept until they are flushed [SAFE-1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retain {
    /// Here; they may count so many bytes before they must be flushed. 0: each is durable before it is acknowledged
    /// [SAFE-3].
    UpTo(u64),
    /// With whoever asked: the attachment is the medium of a target, whose initiators keep what they wrote until a
    /// flush of theirs went all the way. In a new incarnation nothing is replayed from here: [`Action::LifeLost`] is
    /// told, and what is unanswered is given back [CHAIN-4]. No refusal ends such an attachment but one that fences it.
    Elsewhere,
}

/// What an attachment is and was when its daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node's name.
    pub node: Name,
    /// This life of the daemon.
    pub instance: InstanceId,
    /// The instances that the target may have recorded as the owner, the oldest first: the one whose state was found,
    /// and those that were noted there since and may have been granted without learning so.
    pub predecessors: Vec<InstanceId>,
    /// Program and release.
    pub software: Name,
    /// Where to be knocked; empty for nowhere.
    pub callback: Address,
    /// Which attachment.
    pub attachment: AttachmentId,
    /// The resource's name at the target.
    pub resource: Name,
    /// What to do with it.
    pub access: Access,
    /// Let in although another instance owns the attachment.
    pub take_over: bool,
    /// When a timer ends.
    pub policy: Policy,
    /// The restart timer without announcement.
    pub restart_timeout: Duration,
    /// The resume timer, beyond the target's barrier.
    pub resume_timeout: Duration,
    /// How long a lost session reserves the resource; [`Duration::MAX`] for without limit.
    pub hold: Duration,
    /// Where acknowledged changes are kept until they are flushed.
    pub retain: Retain,
    /// What was remembered.
    pub memory: Memory,
    /// Spreads retries.
    pub seed: u64,
}

/// What an initiator's daemon should keep over its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Memory {
    /// The last epoch used.
    pub epoch: Epoch,
    /// What the resource is.
    pub identity: ResourceId,
    /// The last incarnation seen.
    pub incarnation: Incarnation,
    /// The tenure held.
    pub tenure: Tenure,
}
