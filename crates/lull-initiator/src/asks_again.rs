//! What the kernel's NBD was given back it asks again, in its own time.

use std::rc::Rc;
use std::time::Duration;

use lull_frontend::nbd::Halfway;
use lull_frontend::nbd::kernel::NbdDevice;
use tokio::task::JoinHandle;

use crate::attachment::Attachment;

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Looks in a row that find nothing more is asked, while the target is there, until there is nothing more: two and a half seconds,
/// since the kernel looks for what it has sent in vain when a second has passed, and up to another one.
const QUIET: u32 = 125;
/// Looks while the target is there until it has had time enough, though its users ask on and on: five seconds.
const ENOUGH: u32 = 250;

/// Requests that were taken, and given back to the kernel. [CONN-5] They are accepted: while this is there more is to be asked
/// for, and whoever ends in good order waits for that.
#[derive(Debug)]
pub struct AsksAgain {
    _halfway: Halfway,
    looking: JoinHandle<()>,
}

impl AsksAgain {
    /// From here on. A life before may have given something back: what the kernel has not sent again is not seen.
    pub fn begin(device: &NbdDevice, attachment: &Rc<Attachment>) -> Self {
        let (device, own) = (device.clone(), Rc::clone(attachment));
        // Whatever becomes of its connection meanwhile: it has so long, and no longer.
        let looking = tokio::task::spawn_local(async move {
            let mut looks = Looks::default();
            while !own.is_over() && !own.hurries() && !looks.are_enough() {
                tokio::time::sleep(LOOK_EVERY).await;
                looks.look(own.holds(), || is_idle(&device, &own));
            }
        });
        Self { _halfway: attachment.face.closer().halfway(), looking }
    }

    /// The same, where anything was asked.
    pub fn if_asked(device: &NbdDevice, attachment: &Rc<Attachment>) -> Option<Self> {
        (!is_idle(device, attachment)).then(|| Self::begin(device, attachment))
    }

    /// Ends, once, when all of it was asked and answered, or the attachment is over, or not waited for any more: what is taken
    /// then can still be answered, and what is answered be flushed.
    pub async fn over(&mut self) {
        // It has no result, and nobody ends it before.
        let _ = (&mut self.looking).await;
    }
}

impl Drop for AsksAgain {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Whether nobody waits for anything that was asked.
pub fn is_idle(device: &NbdDevice, attachment: &Attachment) -> bool {
    attachment.unanswered() == 0 && device.in_flight() == 0
}

/// What was found.
#[derive(Debug, Default)]
struct Looks {
    /// That nothing is asked, the last times.
    quiet: u32,
    /// That the target is there, since it was away.
    there: u32,
}

impl Looks {
    fn look(&mut self, holds: bool, is_idle: impl FnOnce() -> bool) {
        if holds {
            *self = Self::default();
            return;
        }
        self.there += 1;
        self.quiet = if is_idle() { self.quiet + 1 } else { 0 };
    }

    fn are_enough(&self) -> bool {
        self.quiet >= QUIET || self.there >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(looks: impl IntoIterator<Item = (bool, bool)>) -> bool {
        let mut all = Looks::default();
        looks.into_iter().for_each(|(holds, idle)| all.look(holds, || idle));
        all.are_enough()
    }

    /// [CONN-5] Nothing is over while the target is away, nor when the kernel takes breath; and nobody asks for ever.
    #[test]
    fn it_is_over_when_nothing_more_comes_for_long_enough_and_not_before() {
        let (away, busy, idle) = ((true, true), (false, false), (false, true));
        let times = |count: u32, what| (0..count).map(move |_| what);
        assert!(!after(times(10 * ENOUGH, away)));
        assert!(!after(times(QUIET - 1, idle).chain([busy]).chain(times(QUIET - 1, idle))));
        assert!(after(times(3, busy).chain(times(QUIET, idle))));
        assert!(after(times(ENOUGH, busy)));
        assert!(!after(times(ENOUGH - 1, busy).chain([away]).chain(times(ENOUGH - 1, busy))));
    }
}
