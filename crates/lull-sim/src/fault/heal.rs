//! The end of chaos: everything that an operator would mend is mended, and progress is demanded.

use crate::node::Attachment;
use crate::node::slots::Slots;
use crate::state_dir::Medium;
use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::MonoTime;
use lull_proto::initiator::Phase;
use lull_proto::target::{self, Decision, Event};
use lull_wire::Access;
use std::time::Duration;

/// Requests that each attachment's consumers may still make.
const LAST_REQUESTS: u64 = 20;

impl World {
    /// Faults end. Who is away comes back, what is frozen runs, what is held is let go.
    pub(crate) fn heal(&mut self) {
        self.note(|| "** healed".to_owned());
        self.plan.healed = true;
        self.plan.ambushes.clear();
        for at in 0..self.targets.len() {
            self.targets[at].state.medium = Medium::Takes;
            for disk in &mut self.targets[at].disks {
                disk.fails = false;
                disk.syncs_fail = 0;
                disk.hangs_until = MonoTime(0);
            }
            self.thaw_target(at);
            if self.targets[at].daemon.is_none() {
                self.after(Duration::from_millis(5), Happening::StartTarget { target: at });
            }
            let held = self.targets[at].daemon.as_ref().is_some_and(|daemon| {
                let restart = daemon.machine.phase().restart();
                restart.is_some_and(|restart| {
                    restart.order.purpose == target::Purpose::Hold
                        || restart.order.on_timeout == target::OnTimeout::Wait
                })
            });
            if held {
                self.tell_target(at, Event::Decide(Decision::Abort));
            }
        }
        for at in 0..self.attachments.len() {
            let now = self.now;
            let node = &mut self.attachments[at];
            node.state_fails = false;
            node.blackout_until = now;
            node.load.left = node.load.left.min(LAST_REQUESTS);
            self.thaw_node(at);
            if self.attachments[at].machine.is_none() {
                let span = Duration::from_millis(5);
                self.after(span, Happening::StartNode { attachment: at });
            }
        }
        for client in &mut self.clients {
            client.load.left = 0;
        }
    }

    /// Whether everybody shares who is to, and every request is answered.
    pub fn is_settled(&self) -> bool {
        let serves = |at: usize| self.targets[at].phase() == "serving";
        let nodes = self.attachments.iter().all(|node| {
            let shares = node.phase() == Some(Phase::Sharing);
            let over = node.watch.ended && node.slots.taken() == 0;
            let idle = |slots: &Slots| slots.taken() == 0 && node.load.left == 0;
            let stays = !node.demanded && node.slots.taken() == 0;
            over || stays || self.waits_for_who_is_gone(node) || (shares && idle(&node.slots))
        });
        (0..self.targets.len()).all(serves)
            && nodes
            && self.clients.iter().all(|client| !client.here)
    }

    /// [SAFE-2] Whether it only reads, and the writer whose replay it waits for has ended: only an operator evicts that.
    fn waits_for_who_is_gone(&self, reader: &Attachment) -> bool {
        let gone = |other: &Attachment| {
            (other.target, other.resource) == (reader.target, reader.resource)
                && other.config.access.writes()
                && other.watch.ended
        };
        reader.config.access == Access::ReadOnly && self.attachments.iter().any(gone)
    }

    /// Who keeps it from being settled, for people.
    pub fn unsettled(&self) -> String {
        let mut text = String::new();
        for (at, host) in self.targets.iter().enumerate() {
            text.push_str(&format!("\n    target-{at} is {}", host.phase()));
        }
        for (at, node) in self.attachments.iter().enumerate() {
            let (phase, waiting, left) = (node.phase_word(), node.slots.taken(), node.load.left);
            text.push_str(&format!(
                "\n    node-{at} is {phase}, {waiting} requests wait, {left} are to come, demanded: {}",
                node.demanded
            ));
        }
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| client.here) {
            text.push_str(&format!(
                "\n    client {at} waits for {} requests",
                client.waiting.len()
            ));
        }
        text
    }
}
