//! What is going to happen, in the order of time; at the same instant input comes before deadlines [TIMER-6].

use crate::fault::Fault;
use crate::world::wire::Frame;
use lull_proto::MonoTime;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Something that is going to happen.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the names of the fields say what they are: indices of the world's lists"
)]
pub enum Happening {
    /// A dial reaches the target's host.
    Arrive { wire: usize },
    /// What became of a dial.
    Dialled { wire: usize, ok: bool },
    /// Something reaches the target's end of a connection.
    Up { wire: usize, frame: Frame },
    /// Something reaches the initiator's end.
    Down { wire: usize, frame: Frame },
    /// The target's end of a connection is found broken.
    BrokenUp { wire: usize },
    /// The initiator's end is.
    BrokenDown { wire: usize },
    /// A request has reached the medium.
    Execute { target: usize, life: u64, op: u64 },
    /// A sync has ended.
    Synced { target: usize, life: u64, resource: usize },
    /// A commit has ended.
    Committed { target: usize, life: u64 },
    /// An attachment's state file was written, or could not be.
    Kept { attachment: usize, life: u64 },
    /// A target that has started knocks those who are away.
    Knock { target: usize, life: u64 },
    /// Somebody knocks at an attachment's daemon.
    Knocked { attachment: usize },
    /// Somebody starts a target, if it is not there.
    StartTarget { target: usize },
    /// Somebody starts an initiator's daemon, if it is not there.
    StartNode { attachment: usize },
    /// An initiator's daemon leaves its consumers to the next one.
    Part { attachment: usize, life: u64 },
    /// What an initiator runs before it shuts its host down has ended.
    Prepared { attachment: usize, life: u64 },
    /// An initiator's host goes down because its policy says so.
    ShutDown { attachment: usize, life: u64 },
    /// Consumers of an attachment ask for something; `again`: and will once more.
    Consume { attachment: usize, life: u64, again: bool },
    /// A client without an agent does.
    ConsumeClient { client: usize },
    /// A frozen target runs again.
    ThawTarget { target: usize },
    /// A frozen initiator does.
    ThawNode { attachment: usize },
    /// The next fault is drawn.
    Draw,
    /// A fault.
    Strike(Fault),
    /// Chaos is over.
    Heal,
    /// A target stores once more what could not be written.
    StoreAgain { target: usize, life: u64 },
    /// A target's deadline.
    TickTarget { target: usize, life: u64 },
    /// An initiator's.
    TickNode { attachment: usize, life: u64 },
}

#[derive(Debug)]
struct Scheduled {
    at: MonoTime,
    class: u8,
    order: u64,
    happening: Happening,
}

impl Scheduled {
    fn key(&self) -> (MonoTime, u8, u64) {
        (self.at, self.class, self.order)
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
}

impl Queue {
    /// Notes what happens at an instant.
    pub fn push(&mut self, at: MonoTime, happening: Happening) {
        self.order += 1;
        let class = match happening {
            Happening::TickTarget { .. } | Happening::TickNode { .. } => 1,
            _ => 0,
        };
        self.heap.push(Reverse(Scheduled { at, class, order: self.order, happening }));
    }

    /// When the next thing happens.
    pub fn next(&self) -> Option<MonoTime> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// The next thing.
    pub fn pop(&mut self) -> Option<(MonoTime, Happening)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.happening))
    }
}
