//! Drawing faults: some strike at any moment, some lie in wait for a state or a message.

use super::{Fault, Kind, Watch};
use crate::state_dir::Medium;
use crate::world::World;
use crate::world::queue::Happening;
use lull_wire::Kind as Message;
use std::time::Duration;

/// The most faults that lie in wait at the same time.
const MOST_AMBUSHES: usize = 3;

/// Moments at which much is about to be decided.
const WATCHES: [Watch; 38] = [
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
    Watch::Session("ready"),
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

/// A moment that hardly ever comes by itself, or lasts no longer than a moment.
pub struct Moment {
    /// It.
    watch: Watch,
    /// What makes it come.
    stir: Kind,
    /// What has to befall somebody on the way there.
    lead: Option<(Watch, Kind)>,
}

/// All of them.
const MOMENTS: [Moment; 11] = [
    Moment { watch: Watch::Target("asking"), stir: Kind::Restart, lead: None },
    Moment { watch: Watch::Target("sealing"), stir: Kind::Restart, lead: None },
    Moment { watch: Watch::Node("replaying"), stir: Kind::KillTarget, lead: None },
    // Nobody revokes a clean record but who is told to give up while it is written.
    Moment {
        watch: Watch::Target("revoking"),
        stir: Kind::Restart,
        lead: Some((Watch::Target("sealing"), Kind::Decide)),
    },
    // Only requests that are under way still keep a target from going at once: it comes less often than others.
    Moment { watch: Watch::Target("leaving"), stir: Kind::Terminate, lead: None },
    Moment { watch: Watch::Target("leaving"), stir: Kind::Terminate, lead: None },
    Moment { watch: Watch::Session("fencing"), stir: Kind::Cut, lead: None },
    // Only who shares with others is ready before it may go on.
    Moment { watch: Watch::Session("ready"), stir: Kind::KillTarget, lead: None },
    Moment { watch: Watch::Session("closing"), stir: Kind::Cut, lead: None },
    Moment { watch: Watch::Session("detaching"), stir: Kind::Detach, lead: None },
    Moment { watch: Watch::Node("detaching"), stir: Kind::Detach, lead: None },
];

impl Moment {
    /// Whether it takes several that write to one resource.
    pub fn needs_sharers(&self) -> bool {
        self.watch == Watch::Session("ready")
    }
}

/// The moment and the fault of a seed: one after the other each pair has its turn.
pub fn moment_of(seed: u64) -> (&'static Moment, Kind) {
    let (moments, kinds) = (MOMENTS.len() as u64, Kind::ALL.len() as u64);
    let pair = seed / PRESETS % (moments * kinds);
    (&MOMENTS[(pair % moments) as usize], Kind::ALL[(pair / moments) as usize])
}

/// Seeds are given to presets in turn.
const PRESETS: u64 = crate::preset::Preset::ALL.len() as u64;

impl World {
    /// Draws the next fault.
    pub(crate) fn draw(&mut self) {
        if self.plan.healed || self.plan.kinds.is_empty() {
            return;
        }
        let kind = match self.plan.moment {
            Some((moment, kind)) => {
                // What has failed for good would be the last moment.
                for target in &mut self.targets {
                    target.state.medium = Medium::Takes;
                    target.disks.iter_mut().for_each(|disk| disk.fails = false);
                }
                self.plan.ambushes.clear();
                self.plan.ambushes.extend(moment.lead);
                self.plan.ambushes.push((moment.watch, kind));
                moment.stir
            }
            None => *self.plan.chance.pick(&self.plan.kinds),
        };
        let waits = self.plan.moment.is_none() && self.plan.ambushes.len() < MOST_AMBUSHES;
        if waits && self.plan.chance.percent(50) {
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
        // Some states last no longer than a moment.
        let at_once = self.plan.chance.one_in(2);
        let span = self.plan.chance.scattered(Duration::from_millis(3));
        let span = if at_once { Duration::ZERO } else { span };
        self.after(span, Happening::Strike(Fault { kind, target, attachment }));
    }

    /// How long somebody stays away.
    pub(super) fn downtime(&mut self) -> Duration {
        let longest = self.plan.downtime;
        self.plan.chance.scattered(longest) + Duration::from_millis(1)
    }
}
