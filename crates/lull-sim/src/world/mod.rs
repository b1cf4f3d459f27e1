//! The world: hosts, what runs on them, and the one queue of what happens next.

pub mod queue;
pub mod wire;

use crate::canary::Canary;
use crate::chance::Chance;
use crate::coverage::Coverage;
use crate::fault::Plan;
use crate::judge::{Finding, Judge};
use crate::node::Attachment;
use crate::node::client::Client;
use crate::target::TargetHost;
use lull_proto::MonoTime;
use queue::{Happening, Queue};
use std::time::Duration;
use wire::{Net, Wire};

/// A machine with an operating system of its own.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether it runs.
    pub up: bool,
}

/// Everything.
pub struct World {
    /// The present instant.
    pub now: MonoTime,
    /// What is going to happen.
    pub(crate) queue: Queue,
    /// The chance of delays and media.
    pub(crate) chance: Chance,
    /// The network.
    pub net: Net,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// All targets.
    pub targets: Vec<TargetHost>,
    /// All attachments.
    pub attachments: Vec<Attachment>,
    /// Clients without an agent.
    pub clients: Vec<Client>,
    /// All connections that ever were.
    pub wires: Vec<Wire>,
    /// Who looks on.
    pub judge: Judge,
    /// What was seen to happen in which state.
    pub coverage: Coverage,
    /// What is left out on purpose.
    pub canary: Option<Canary>,
    /// Which faults strike.
    pub plan: Plan,
    /// The lines of a trace, where one is wanted.
    pub trace: Option<Vec<String>>,
    /// The first thing that is wrong.
    pub finding: Option<Finding>,
    /// How many things have happened.
    pub events: u64,
    /// How many requests consumers have made.
    pub requests: u64,
    /// The next number for content.
    pub(crate) contents: u64,
    /// The next number of a restart.
    pub(crate) restarts: u64,
}

/// More happenings than any run has that makes progress: beyond it the run itself is the finding.
const MOST_EVENTS: u64 = 3_000_000;

impl World {
    /// An empty world at its first instant.
    pub fn new(chance: Chance, plan: Plan, judge: Judge) -> Self {
        let latency = Duration::from_micros(50);
        Self {
            now: MonoTime(1_000_000_000),
            queue: Queue::default(),
            chance,
            net: Net { latency, jitter: Duration::from_micros(100) },
            hosts: Vec::new(),
            targets: Vec::new(),
            attachments: Vec::new(),
            clients: Vec::new(),
            wires: Vec::new(),
            judge,
            coverage: Coverage::default(),
            canary: None,
            plan,
            trace: None,
            finding: None,
            events: 0,
            requests: 0,
            contents: 1,
            restarts: 0,
        }
    }

    /// One more host.
    pub fn add_host(&mut self) -> usize {
        self.hosts.push(Host { up: true });
        self.hosts.len() - 1
    }

    /// Something happens after a span.
    pub fn after(&mut self, span: Duration, happening: Happening) {
        self.queue.push(self.now + span, happening);
    }

    /// Whether something is left out on purpose.
    pub(crate) fn sings(&self, canary: Canary) -> bool {
        self.canary == Some(canary)
    }

    /// Notes what is wrong, if it is the first thing.
    pub fn found(&mut self, rule: &'static str, text: impl FnOnce() -> String) {
        if self.finding.is_none() {
            let text = text();
            self.note(|| format!("!! {rule} {text}"));
            self.finding = Some(Finding { at: self.now, rule, text });
        }
    }

    /// A line of the trace, where one is wanted.
    #[inline]
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let text = text();
            trace.push(format!("{:?}  {text}", self.now));
        }
    }

    /// Takes the next thing that happens, if it is not later than `limit`; false where there is none.
    pub fn step(&mut self, limit: MonoTime) -> bool {
        if self.finding.is_some() || self.queue.next().is_none_or(|next| next > limit) {
            return false;
        }
        let Some((at, happening)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        self.events += 1;
        if self.events > MOST_EVENTS {
            self.found("progress", || format!("{MOST_EVENTS} happenings and no end"));
        }
        self.happen(happening);
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
        if self.finding.is_none() {
            self.now = until;
        }
    }

    /// Goes on until something is so; false where it is not within `limit`, or something was found.
    pub fn until(&mut self, limit: Duration, is_so: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !is_so(self) {
            if !self.step(until) {
                return false;
            }
        }
        self.finding.is_none()
    }

    /// What happens to somebody who is frozen waits for him.
    fn frozen(&mut self, happening: &Happening) -> bool {
        // The system keeps what comes on a connection that nobody has accepted yet.
        if let Happening::Up { wire, .. } | Happening::BrokenUp { wire } = *happening {
            let target = self.wires[wire].target;
            if self.targets[target].dials.contains(&wire) {
                self.targets[target].backlog.push_back(happening.clone());
                return true;
            }
        }
        let (target, attachment) = match *happening {
            Happening::Up { wire, .. } | Happening::BrokenUp { wire } => {
                (Some(self.wires[wire].target), None)
            }
            Happening::Down { wire, .. }
            | Happening::BrokenDown { wire }
            | Happening::Dialled { wire, .. } => (None, Some(self.wires[wire].attachment)),
            Happening::Execute { target, .. }
            | Happening::Synced { target, .. }
            | Happening::Committed { target, .. }
            | Happening::StoreAgain { target, .. }
            | Happening::Knock { target, .. }
            | Happening::TickTarget { target, .. } => (Some(target), None),
            Happening::Kept { attachment, .. }
            | Happening::TickNode { attachment, .. }
            | Happening::Part { attachment, .. }
            | Happening::Prepared { attachment, .. }
            | Happening::ShutDown { attachment, .. }
            | Happening::Knocked { attachment }
            | Happening::Consume { attachment, .. } => (None, Some(attachment)),
            Happening::Arrive { .. }
            | Happening::StartTarget { .. }
            | Happening::StartNode { .. }
            | Happening::ConsumeClient { .. }
            | Happening::ThawTarget { .. }
            | Happening::ThawNode { .. }
            | Happening::Draw
            | Happening::Strike(_)
            | Happening::Heal => (None, None),
        };
        let of = attachment.and_then(|attachment| self.attachments[attachment].serves);
        let (target, attachment) = match of {
            Some(serves) => (Some(serves.target), None),
            None => (target, attachment),
        };
        let backlog = match (target, attachment) {
            (Some(target), _) if self.targets[target].frozen => {
                Some(&mut self.targets[target].backlog)
            }
            (_, Some(attachment)) if self.attachments[attachment].frozen => {
                Some(&mut self.attachments[attachment].backlog)
            }
            _ => None,
        };
        match backlog {
            // Whoever thaws looks at his deadlines by himself.
            Some(_)
                if matches!(
                    happening,
                    Happening::TickTarget { .. } | Happening::TickNode { .. }
                ) =>
            {
                true
            }
            Some(backlog) => {
                backlog.push_back(happening.clone());
                true
            }
            None => false,
        }
    }

    pub(crate) fn happen(&mut self, happening: Happening) {
        if self.frozen(&happening) {
            return;
        }
        match happening {
            Happening::Arrive { wire } => self.arrive(wire),
            Happening::Dialled { wire, ok } => self.dialled(wire, ok),
            Happening::Up { wire, frame } => self.deliver_up(wire, frame),
            Happening::Down { wire, frame } => self.deliver_down(wire, frame),
            Happening::BrokenUp { wire } => self.broken_up(wire),
            Happening::BrokenDown { wire } => self.broken_down(wire),
            Happening::Execute { target, life, op } => {
                if self.targets[target].lives(life) {
                    self.execute(target, op);
                }
            }
            Happening::Synced { target, life, resource } => {
                if self.targets[target].lives(life) {
                    self.synced(target, resource);
                }
            }
            Happening::Committed { target, life } => {
                if self.targets[target].lives(life) {
                    self.committed(target);
                }
            }
            Happening::Kept { attachment, life } => self.kept(attachment, life),
            Happening::Prepared { attachment, life } => {
                if self.attachments[attachment].lives(life) {
                    self.tell_node(attachment, lull_proto::initiator::Event::Prepared);
                }
            }
            Happening::Part { attachment, life } => {
                if self.attachments[attachment].lives(life) {
                    self.part_node(attachment);
                }
            }
            Happening::ShutDown { attachment, life } => {
                if self.attachments[attachment].lives(life) {
                    self.kill_node(attachment, false);
                    self.after(Duration::from_secs(2), Happening::StartNode { attachment });
                }
            }
            Happening::Knock { target, life } => {
                if self.targets[target].lives(life) {
                    self.knock(target);
                }
            }
            Happening::Knocked { attachment } => self.knocked(attachment),
            Happening::StartTarget { target } => self.start_target(target),
            Happening::StartNode { attachment } => self.start_node(attachment),
            Happening::Consume { attachment, life, again } => self.consume(attachment, life, again),
            Happening::ConsumeClient { client } => self.consume_client(client),
            Happening::ThawTarget { target } => self.thaw_target(target),
            Happening::ThawNode { attachment } => self.thaw_node(attachment),
            Happening::Draw => self.draw(),
            Happening::Strike(fault) => self.strike(fault),
            Happening::Heal => self.heal(),
            Happening::StoreAgain { target, life } => {
                if self.targets[target].lives(life) {
                    self.store_again(target);
                }
            }
            Happening::TickTarget { target, life } => {
                if self.targets[target].lives(life) {
                    self.tick_target(target);
                }
            }
            Happening::TickNode { attachment, life } => {
                if self.attachments[attachment].lives(life) {
                    self.tick_node(attachment);
                }
            }
        }
    }

    /// A number for content: so many in a row are the caller's.
    pub(crate) fn fresh_content(&mut self, count: u64) -> u64 {
        let first = self.contents;
        self.contents += count;
        first
    }
}
