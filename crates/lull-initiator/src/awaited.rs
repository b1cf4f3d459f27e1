//! What the next life has to know of this one's consumers, should it be killed: what they were told of the disk, and since
//! when and until when they wait. With that it goes on for them before its target is back, under the timers that run already
//! [INIT-1].

use std::time::Duration;

use lull_frontend::nbd::Stage;
use lull_proto::initiator::{Course, Expiry, Succession};
use lull_wire::InstanceId;
use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, Core, Made};
use crate::clock::Clock;
use crate::note::Note;
use crate::state_file::Kept;
use crate::succession::estate;

/// What is noted of an attachment's consumers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Awaited {
    /// What they were told.
    pub promised: estate::Geometry,
    /// Nothing is shared.
    outage: Option<Waiting>,
    /// The downtime that a pause announces which is under way.
    #[serde(default)]
    announced: Option<Duration>,
    /// Until when a target further up is waited for, in nanoseconds of the host's own clock.
    #[serde(default)]
    held_until: Option<u64>,
}

/// Since when and until when, in nanoseconds of the host's own clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Waiting {
    since: u64,
    /// When the restart timer ends.
    deadline: Option<u64>,
    /// It has ended, and the policy has run.
    expired: bool,
}

/// The words of the note: whose they are, and what is known.
#[derive(Serialize, Deserialize)]
struct Words {
    attachment: String,
    /// The life that says it, and the last one before it that had been let in.
    life: [String; 2],
    awaited: Awaited,
}

impl Words {
    fn of(instance: InstanceId, kept: &Kept, awaited: Awaited) -> Self {
        let life = [instance, kept.instance].map(|one| one.to_string());
        Self { attachment: kept.attachment.to_string(), life, awaited }
    }
}

/// What the life before has noted for this attachment. A life that did not find the note may have served since, and left
/// other consumers, who wait for something else: as with a log, the state names it.
pub fn read(note: &Note, kept: &Kept) -> Option<Awaited> {
    let Words { attachment, life, awaited } = note.read()?;
    let is_last = life.contains(&kept.instance.to_string());
    (attachment == kept.attachment.to_string() && is_last).then_some(awaited)
}

/// Nobody waits for the next life.
pub fn clear(note: &Note) {
    if let Err(error) = note.write(&()) {
        tracing::warn!("that nobody waits is not noted: {error}");
    }
}

impl Awaited {
    /// What is known where nothing of an outage is.
    pub fn of(promised: estate::Geometry) -> Self {
        Self { promised, outage: None, announced: None, held_until: None }
    }

    /// As a machine goes on with it: what was asked of the life that was killed is asked again by whoever asked it.
    /// `None`: consumers were told what this release does not know.
    pub fn succession(self, clock: &Clock) -> Option<Succession> {
        let promised = self.promised.known()?;
        let (sent, held, whole) = (Vec::new(), Vec::new(), false);
        let (since, deadline, expired) = match self.outage {
            Some(Waiting { since, deadline, expired }) => {
                (clock.of_host(since), deadline.map(|at| clock.of_host(at)), expired)
            }
            // When the life before ended nobody knows.
            None => (clock.now(), None, false),
        };
        let (announced, held_until) = (self.announced, self.held_until.map(|at| clock.of_host(at)));
        Some(Succession {
            promised,
            sent,
            held,
            whole,
            since,
            deadline,
            expired,
            announced,
            held_until,
        })
    }
}

impl Attachment {
    /// What the next life is to know of consumers is what holds now. Beside the data path: nothing of it changes with a
    /// request.
    pub(crate) fn note_awaited(&self, core: &Core) {
        let (Some(note), Some(promised)) = (&self.made.note, core.geometry) else { return };
        // Another process may have the page as well, and say more than this one knows.
        if self.face.closer().stage() == Stage::Closed || self.frozen.get() {
            return;
        }
        let clock = self.clock();
        let outage = core.machine.view(clock.now()).outage.map(|outage| Waiting {
            since: clock.at_host(outage.since),
            deadline: outage.deadline.map(|at| clock.at_host(at)),
            // [TIMER-2] A shutdown that died on its way is begun again: otherwise the host would wait for what is held.
            expired: matches!(outage.expiry, Expiry::Ran(Course::Holding | Course::Failing)),
        });
        // [TIMER-4] Who is killed in a pause does not hear the DISCONNECT that says it again.
        let announced = core.machine.announced();
        let held_until = core.machine.held_until().map(|until| clock.at_host(until));
        let Made { kept, instance, .. } = &self.made;
        let awaited = Awaited { promised: promised.into(), outage, announced, held_until };
        let words = Words::of(*instance, kept, awaited);
        if let Err(error) = note.write(&words) {
            // A few numbers always have room, and the memory is there.
            tracing::warn!("{}: what consumers wait for is not noted: {error}", kept.attachment);
        }
    }

    /// Nobody waits any more.
    pub(crate) fn note_unawaited(&self) {
        if let Some(note) = &self.made.note {
            clear(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_proto::geometry::Geometry;
    use lull_proto::initiator::Memory;
    use lull_wire::{AttachmentId, Features};

    /// [TIMER-5] [INIT-1] What a life noted before another one served, which did not find it, is no wait that goes on: its
    /// deadline is long over, and its policy would run at once.
    #[test]
    fn a_note_is_of_the_last_life_that_was_let_in_or_of_one_that_was_not() {
        let features = Features::default();
        let promised =
            Geometry { size: 1 << 20, block: 512, preferred: 4096, max_length: 1 << 20, features };
        let awaited = Awaited::of(promised.into());
        let kept = |attachment, last| {
            let (attachment, instance) = (AttachmentId([attachment; 16]), InstanceId([last; 16]));
            Kept { attachment, instance, noted: Vec::new(), memory: Memory::default(), log: None }
        };
        let note = Note::new().unwrap();
        let found = |kept: &Kept| read(&note, kept).is_some();
        assert!(!found(&kept(7, 2)), "nothing was said");
        note.write(&Words::of(InstanceId([2; 16]), &kept(7, 1), awaited)).unwrap();
        assert!(found(&kept(7, 2)), "it was let in, and killed");
        assert!(found(&kept(7, 1)), "it was killed before");
        assert!(!found(&kept(7, 3)), "another one has served since");
        assert!(!found(&kept(8, 2)), "of another attachment");
        clear(&note);
        assert!(!found(&kept(7, 2)));
    }
}
