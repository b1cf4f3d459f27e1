//! What the next life has to know of this one's consumers, should it be killed: what they were told of the disk, and since
//! when and until when they wait. With that it goes on for them before its target is back, under the timers that run already
//! [INIT-1].

use lull_frontend::nbd::Stage;
use lull_proto::initiator::{Course, Expiry, Succession};
use lull_wire::AttachmentId;
use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, Core};
use crate::clock::Clock;
use crate::note::Note;
use crate::succession::estate;

/// What is noted of an attachment's consumers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Awaited {
    /// What they were told.
    pub promised: estate::Geometry,
    /// Nothing is shared.
    outage: Option<Waiting>,
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

/// The words of the note: whose they are, and what is known; `None` where nobody waits any more.
#[derive(Serialize, Deserialize)]
struct Words {
    attachment: String,
    awaited: Option<Awaited>,
}

/// What the life before has noted for attachment `id`.
pub fn read(note: &Note, id: AttachmentId) -> Option<Awaited> {
    let Words { attachment, awaited } = note.read()?;
    awaited.filter(|_| attachment == id.to_string())
}

/// Nobody waits for the next life.
pub fn clear(note: &Note, id: AttachmentId) {
    say(note, id, None);
}

fn say(note: &Note, id: AttachmentId, awaited: Option<Awaited>) {
    let words = Words { attachment: id.to_string(), awaited };
    if let Err(error) = note.write(&words) {
        // A few numbers always have room, and the memory is there.
        tracing::warn!("{id}: what consumers wait for is not noted: {error}");
    }
}

impl Awaited {
    /// What is known where nothing of an outage is.
    pub fn of(promised: estate::Geometry) -> Self {
        Self { promised, outage: None }
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
        Some(Succession { promised, sent, held, whole, since, deadline, expired })
    }
}

impl Attachment {
    /// What the next life is to know of consumers is what holds now. Beside the data path: nothing of it changes with a
    /// request.
    pub(crate) fn note_awaited(&self, core: &Core) {
        let (Some(note), Some(promised)) = (&self.made.note, core.geometry) else { return };
        if self.face.closer().stage() == Stage::Closed {
            return;
        }
        let clock = self.clock();
        let outage = core.machine.view(clock.now()).outage.map(|outage| Waiting {
            since: clock.at_host(outage.since),
            deadline: outage.deadline.map(|at| clock.at_host(at)),
            // [TIMER-2] A shutdown that died on its way is begun again: otherwise the host would wait for what is held.
            expired: matches!(outage.expiry, Expiry::Ran(Course::Holding | Course::Failing)),
        });
        let awaited = Awaited { promised: promised.into(), outage };
        say(note, self.made.kept.attachment, Some(awaited));
    }

    /// Nobody waits any more.
    pub(crate) fn note_unawaited(&self) {
        if let Some(note) = &self.made.note {
            clear(note, self.made.kept.attachment);
        }
    }
}
