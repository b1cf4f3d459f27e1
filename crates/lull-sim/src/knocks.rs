//! Knocks: models `knock.rs` of `lull-target` and `knocks.rs` of `lull-initiator`, over a network that loses them.

use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::initiator::Event;
use lull_wire::messages::Address;
use std::time::Duration;

/// How long after its start a target knocks.
pub const GRACE: Duration = Duration::from_millis(50);
/// The least time between two knocks that are heard.
const EVERY: Duration = Duration::from_millis(100);

/// Where the daemons of a host are knocked.
pub fn address(host: usize) -> Address {
    Address::clipped(&format!("tcp:host-{host}"))
}

impl World {
    /// [CONN-1] A target knocks those who are not back. Some of it never arrives, and some twice.
    pub(crate) fn knock(&mut self, target: usize) {
        let Some(daemon) = &self.targets[target].daemon else { return };
        let callbacks = daemon.machine.callbacks();
        self.note(|| format!("target-{target} knocks at {callbacks:?}"));
        for attachment in 0..self.attachments.len() {
            let node = &self.attachments[attachment];
            if node.target != target || !callbacks.contains(&node.config.callback) {
                continue;
            }
            for _ in 0..*self.chance.pick(&[0, 1, 1, 2]) {
                let span = self.chance.scattered(Duration::from_millis(200));
                self.after(span, Happening::Knocked { attachment });
            }
        }
    }

    /// Somebody does who is no target.
    pub fn knock_falsely(&mut self, attachment: usize) {
        if self.attachments[attachment].config.callback.as_str().is_empty() {
            return; // It listens nowhere.
        }
        for _ in 0..self.plan.chance.between(1, 20) {
            let span = self.plan.chance.scattered(Duration::from_secs(3));
            self.after(span, Happening::Knocked { attachment });
        }
    }

    /// [SEC-3] Whoever it was: a hint, and heard so often at most.
    pub(crate) fn knocked(&mut self, attachment: usize) {
        let node = &mut self.attachments[attachment];
        if node.deaf_until > self.now {
            return;
        }
        node.deaf_until = self.now + EVERY;
        self.note(|| format!("node-{attachment} is knocked"));
        self.tell_node(attachment, Event::Knocked);
    }
}
