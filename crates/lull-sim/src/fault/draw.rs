//! Drawing faults: some strike at any moment, some lie in wait for a state or a message.

use super::{Fault, Watch};
use crate::world::World;
use crate::world::queue::Happening;
use lull_wire::Kind as Message;
use std::time::Duration;

/// The most faults that lie in wait at the same time.
const MOST_AMBUSHES: usize = 3;

/// Moments at which much is about to be decided.
const WATCHES: [Watch; 37] = [
    Watch::Target("intending"),
    Watch::Target("pausing"),
    Watch::Target("asking"),
    Watch::Target("settling"),
    Watch::Target("quiet"),
    Watch::Target("sealing"),
    Watch::Target("revoking"),
    Watch::Target("leaving"),
    Watch::Node("away"),
    Watch::Node("dialling"),
    Watch::Node("attaching"),
    Watch::Node("replaying"),
    Watch::Node("ready"),
    Watch::Node("sharing"),
    Watch::Node("draining"),
    Watch::Node("flushing"),
    Watch::Node("paused"),
    Watch::Node("detaching"),
    Watch::Session("fencing"),
    Watch::Session("recording"),
    Watch::Session("arriving"),
    Watch::Session("closing"),
    Watch::Session("detaching"),
    Watch::Down(Message::Welcome),
    Watch::Down(Message::Attached),
    Watch::Down(Message::Resume),
    Watch::Down(Message::Pause),
    Watch::Down(Message::Disconnect),
    Watch::Down(Message::Detached),
    Watch::Up(Message::Hello),
    Watch::Up(Message::Attach),
    Watch::Up(Message::Ready),
    Watch::Up(Message::PauseProgress),
    Watch::Up(Message::PauseComplete),
    Watch::Up(Message::Detach),
    Watch::Up(Message::Stall),
    Watch::Up(Message::Ping),
];

impl World {
    /// Draws the next fault.
    pub(crate) fn draw(&mut self) {
        if self.plan.healed || self.plan.kinds.is_empty() {
            return;
        }
        let kind = *self.plan.chance.pick(&self.plan.kinds);
        if self.plan.ambushes.len() < MOST_AMBUSHES && self.plan.chance.percent(50) {
            let watch = *self.plan.chance.pick(&WATCHES);
            self.plan.ambushes.push((watch, kind));
        } else {
            let attachment = self.plan.chance.below(self.attachments.len() as u64) as usize;
            let target = self.attachments[attachment].target;
            self.strike(Fault { kind, target, attachment });
        }
        let span = self.plan.chance.span(Duration::from_millis(1), self.plan.every);
        self.after(span, Happening::Draw);
    }

    /// Something happened to `who` that a fault may have waited for.
    pub(crate) fn ambush(&mut self, watch: Watch, who: usize) {
        let place = self.plan.ambushes.iter().position(|(waits, _)| *waits == watch);
        let Some(place) = place.filter(|_| !self.plan.healed) else { return };
        let (_, kind) = self.plan.ambushes.swap_remove(place);
        let (target, attachment) = match watch {
            Watch::Target(_) => {
                let of: Vec<usize> = (0..self.attachments.len())
                    .filter(|at| self.attachments[*at].target == who)
                    .collect();
                if of.is_empty() {
                    return;
                }
                (who, *self.plan.chance.pick(&of))
            }
            Watch::Node(_) | Watch::Session(_) | Watch::Down(_) | Watch::Up(_) => {
                (self.attachments[who].target, who)
            }
        };
        let span = self.plan.chance.scattered(Duration::from_millis(3));
        self.after(span, Happening::Strike(Fault { kind, target, attachment }));
    }

    /// How long somebody stays away.
    pub(super) fn downtime(&mut self) -> Duration {
        let longest = self.plan.downtime;
        self.plan.chance.scattered(longest) + Duration::from_millis(1)
    }
}
