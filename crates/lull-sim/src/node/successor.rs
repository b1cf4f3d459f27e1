//! A daemon that is replaced under its consumers [INIT-1]. Models `succession/` of `lull-initiator`: nothing more is taken, what
//! can be answered soon is waited for, and the rest goes to an heir under a new instance, with its log. Where the heir is the
//! old process again, since another one did not come to serve, nothing of this is different.

use crate::canary::Canary;
use crate::node::Kept;
use crate::world::World;
use crate::world::queue::Happening;
use lull_proto::initiator::{Phase, Retain};
use lull_wire::Access;
use std::time::Duration;

impl World {
    /// An operator replaces an attachment's daemon, which waits so long for what is in flight.
    pub fn replace_node(&mut self, at: usize, drain: Duration) {
        let node = &mut self.attachments[at];
        let leaves = matches!(node.phase(), Some(Phase::Detaching | Phase::Ended(_)) | None);
        // Who has no consumers yet, or is a part of a target's process, is replaced in no such way.
        if leaves || node.rests || node.geometry.is_none() || node.serves.is_some() {
            return;
        }
        node.rests = true;
        let life = node.life;
        self.note(|| format!("node-{at} takes nothing more: its daemon is to be replaced"));
        self.after(drain, Happening::Part { attachment: at, life });
    }

    /// The time for answers is over.
    pub(crate) fn part_node(&mut self, at: usize) {
        let (now, forgets) = (self.now, self.sings(Canary::ForgetsInFlight));
        let node = &mut self.attachments[at];
        node.rests = false;
        let left = node.machine.as_ref().and_then(|machine| machine.bequeath(now));
        let leaves = matches!(node.phase(), Some(Phase::Detaching | Phase::Ended(_)) | None);
        let Some(mut left) = left.filter(|_| !leaves) else { return };
        // [SAFE-11] Other sharers may have overtaken what it has sent. And who cannot write its state finds no successor.
        let lingers = node.config.access == Access::Shared && !left.sent.is_empty();
        if lingers || node.state_fails {
            return self.keep_consuming(at);
        }
        // What was to be kept is kept before the lock goes on.
        if let Some(memory) = node.wish.take() {
            let log = (node.config.retain != Retain::UpTo(0)).then_some(node.log.settled);
            node.kept = Some(Kept { owners: vec![node.config.instance], memory, log });
        }
        node.machine = None;
        node.log.waits = true;
        node.watch.gone.get_or_insert(left.since);
        (node.watch.pausing, node.watch.quiet) = (None, false);
        for entry in node.slots.iter_mut() {
            entry.again |= entry.number.take().is_some();
        }
        if forgets {
            left.sent.clear();
        }
        if let Some(connection) = self.attachments[at].connection.take() {
            self.close_at_node(connection.wire);
        }
        self.note(|| format!("node-{at} is replaced, and leaves {left:?}"));
        self.begin_life(at, Some(left));
    }
}
