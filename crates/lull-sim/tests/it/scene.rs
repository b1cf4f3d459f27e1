//! A small world whose faults a test calls.

use lull_proto::initiator::{Config, Phase};
use lull_proto::target::{OnTimeout, Order, Purpose};
use lull_sim::chance::Chance;
use lull_sim::disk::Death;
use lull_sim::fault::Plan;
use lull_sim::judge::Judge;
use lull_sim::node::Attachment;
use lull_sim::node::slots::Wanted;
use lull_sim::preset;
use lull_sim::target::{After, TargetHost};
use lull_sim::world::World;
use lull_sim::world::queue::Happening;
use lull_wire::messages::Prose;
use lull_wire::{OpCode, RequestFlags, RestartId};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// One target with one disk, and attachments to it.
pub struct Scene(pub World);

impl Deref for Scene {
    type Target = World;
    fn deref(&self) -> &World {
        &self.0
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0
    }
}

impl Scene {
    /// A target that serves `disks` disks, each to a writer of its own, who all share.
    pub fn new(disks: usize) -> Self {
        Self::with(disks, |config| config)
    }

    /// Nobody and nothing.
    pub fn empty() -> Self {
        let mut chance = Chance::new(7);
        let plan = Plan::calm(chance.fork());
        let mut world = World::new(chance, plan, Judge::default());
        world.trace = Some(Vec::new());
        Self(world)
    }

    /// The same with attachments of other habits.
    pub fn with(disks: usize, habits: impl Fn(Config) -> Config) -> Self {
        let Self(mut world) = Self::empty();
        let host = world.add_host();
        world.targets.push(TargetHost::new(host, "target".to_owned(), disks, 64));
        world.judge.add_target(disks);
        world.start_target(0);
        for disk in 0..disks {
            let host = world.add_host();
            let config = habits(preset::plain(host, disk, disk as u8 + 1));
            world.attachments.push(Attachment::new(host, 0, disk, config));
            world.start_node(disk);
        }
        let mut scene = Self(world);
        scene.until_all_share();
        scene
    }

    /// Fails with the trace where something is not so in time.
    pub fn wait(&mut self, limit: Duration, is_so: impl Fn(&World) -> bool) {
        if !self.0.until(limit, is_so) {
            let trace = self.trace.take().unwrap_or_default();
            let last = trace.len().saturating_sub(60);
            let tail = trace[last..].join("\n");
            panic!("{:?}\n{}\n{tail}", self.finding, self.unsettled());
        }
    }

    /// Lets time pass, in which nothing may be found.
    pub fn pass(&mut self, span: Duration) {
        self.0.run(span);
        self.wait(Duration::ZERO, |_| true);
    }

    pub fn until_all_share(&mut self) {
        self.wait(Duration::from_secs(60), |world| {
            world.attachments.iter().all(|node| node.phase() == Some(Phase::Sharing))
        });
    }

    pub fn until_phase(&mut self, node: usize, phase: Phase) {
        self.wait(Duration::from_secs(60), |world| world.attachments[node].phase() == Some(phase));
    }

    pub fn until_target(&mut self, phase: &'static str) {
        self.wait(Duration::from_secs(60), |world| world.targets[0].phase() == phase);
    }

    /// Everybody is answered.
    pub fn until_quiet(&mut self) {
        self.wait(Duration::from_secs(60), |world| {
            world.attachments.iter().all(|node| node.slots.taken() == 0)
        });
    }

    pub fn ask(&mut self, node: usize, op: OpCode, first: u64, count: u64) -> u64 {
        self.ask_with(node, op, first, count, RequestFlags::none())
    }

    pub fn ask_with(
        &mut self,
        node: usize,
        op: OpCode,
        first: u64,
        count: u64,
        flags: RequestFlags,
    ) -> u64 {
        self.0.submit(node, Wanted { request: 0, op, flags, first, count, content: 0 })
    }

    pub fn write(&mut self, node: usize, first: u64, count: u64) -> u64 {
        self.ask(node, OpCode::Write, first, count)
    }

    /// Writes, and is answered.
    pub fn written(&mut self, node: usize, first: u64, count: u64) {
        self.write(node, first, count);
        self.until_quiet();
    }

    /// Everybody reads everything, and what is read is explained.
    pub fn verify(&mut self) {
        self.until_all_share();
        for node in 0..self.attachments.len() {
            // Who is the medium of another target has no consumers.
            if self.attachments[node].serves.is_some() {
                continue;
            }
            self.0.read_all(node);
        }
        self.until_quiet();
    }

    /// An operator orders a restart with a pause timer of 30 s; `power`: the system dies after its clean end.
    pub fn restart(&mut self, power: bool) {
        self.targets[0].after = After {
            downtime: Duration::from_millis(50),
            power: power.then_some(Death::Bare),
            socket_stays: !power,
        };
        let order = Order {
            id: RestartId(self.targets[0].life * 100 + self.events % 97 + 1),
            purpose: Purpose::Restart,
            reason: Prose::clipped("a scene"),
            downtime: Duration::from_secs(1),
            span: Duration::from_secs(30),
            on_timeout: OnTimeout::Abort,
            unstoppable: false,
        };
        self.0.order(0, order);
    }

    /// The target's system dies with everything in its cache, and is back after a while.
    pub fn power_cut(&mut self) {
        self.0.power_cut(0, Death::Bare, Duration::from_millis(300));
    }

    /// The target's process dies, and is back after a while.
    pub fn kill_target(&mut self) {
        self.0.kill_target(0);
        self.0.after(Duration::from_millis(50), Happening::StartTarget { target: 0 });
    }

    /// An initiator's daemon dies, and is back after a while.
    pub fn kill_node(&mut self, node: usize) {
        self.0.kill_node(node, false);
        self.0.after(Duration::from_millis(50), Happening::StartNode { attachment: node });
    }
}
