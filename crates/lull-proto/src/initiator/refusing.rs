//! A target that is there and refuses: what it said, and how long until it is asked again.

use super::{Action, Actions, End, Initiator, Intent, REFUSED_WAIT, Report, Retain, State};
use crate::{MonoTime, Violation, says_the_same};
use core::time::Duration;
use lull_wire::messages::{Prose, Refused};
use lull_wire::{Access, Epoch, RefusalCode, Retry};

/// The longest wait between two dials while refusals are final: whoever mended the cause has consumers who wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why the target refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusing {
    pub code: RefusalCode,
    pub detail: Prose,
    /// How many final ones have come in a row.
    finals: u32,
}

impl Refusing {
    /// One more REFUSED. Said again, only with other numbers in it, it is no news.
    pub fn again(before: Option<Self>, code: RefusalCode, detail: &Prose, is_final: bool) -> Self {
        let before = before.filter(|before| before.code == code);
        let finals = match (&before, is_final) {
            (_, false) => 0,
            (None, true) => 1,
            (Some(before), true) => before.finals.saturating_add(1),
        };
        let known = before.map(|before| before.detail);
        let known = known.filter(|known| says_the_same(known.as_str(), detail.as_str()));
        Self { code, detail: known.unwrap_or_else(|| detail.clone()), finals }
    }

    /// [CONN-1] How long to wait after a final one: twice as long each time.
    pub fn wait(&self) -> Duration {
        let doublings = self.finals.saturating_sub(1).min(8);
        REFUSED_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
    }
}

impl Initiator {
    pub(super) fn refused(
        &mut self,
        now: MonoTime,
        refused: Refused,
        actions: &mut Actions,
    ) -> Result<(), Violation> {
        let conn = match &self.state {
            State::Dialling { dial, .. } => dial.conn,
            State::Attaching { link, .. } => link.conn,
            State::Idle
            | State::Away { .. }
            | State::Replaying { .. }
            | State::Ready { .. }
            | State::Sharing { .. }
            | State::Draining { .. }
            | State::Flushing { .. }
            | State::Paused { .. }
            | State::Leaving { .. }
            | State::Ended(_) => return Err(Violation::OutOfPlace(lull_wire::Kind::Refused)),
        };
        let first = self.promised.is_none() && self.memory.incarnation.is_none();
        let (code, retry) = (refused.code, refused.retry);
        let taught = refused.epoch >= self.memory.epoch && refused.epoch != Epoch(u64::MAX);
        let after = Duration::from_millis(refused.retry_after_ms.into());
        // [SAFE-5] A state of ours that is behind learns where the target is.
        self.memory.epoch = Epoch(self.memory.epoch.0.max(refused.epoch.0));
        if (retry, code) == (Retry::Final, RefusalCode::OtherInstance) && self.names_the_next() {
            actions.push(Action::HangUp { conn });
            self.give_up_dial(now, Some(Duration::ZERO), actions);
            return Ok(());
        }
        let is_final = retry == Retry::Final && code != RefusalCode::StaleEpoch;
        let refusing = Refusing::again(self.refusal.take(), code, &refused.detail, is_final);
        let later = refusing.wait();
        self.refusal = Some(refusing);
        if self.intent == Intent::LeaveOnceMore && names_another(code) {
            actions.push(Action::Report(Report::Refused { refused, last: true }));
            self.let_go(actions);
            return Ok(());
        }
        if code == RefusalCode::StaleTenure && retry == Retry::Later {
            self.missed(&refused, actions);
        }
        let leaves = self.intent != Intent::Stay && self.has_nothing_to_lose();
        let final_end = match (retry, code) {
            // [SAFE-5] It learned the epoch, whatever else was said.
            (_, RefusalCode::StaleEpoch) => None,
            // [CONN-5] Whoever is put off has not heard about its place: a restart may be under way.
            (Retry::Later | Retry::Unknown(_), _) if self.intent == Intent::LeaveOnceMore => None,
            (Retry::Later | Retry::Unknown(_), _) => leaves.then_some(End::Left),
            (Retry::Final, RefusalCode::OtherInstance | RefusalCode::StaleTenure) => {
                Some(End::Fenced)
            }
            (Retry::Final, _) if self.config.retain == Retain::Elsewhere => None,
            (Retry::Final, _) if first => Some(End::Refused),
            (Retry::Final, _) if self.intent == Intent::Stay => None,
            // [SAFE-10] The cause may be mended: then the next life sends again what is kept.
            (Retry::Final, _) if self.requests.is_unflushed() => Some(End::Left),
            (Retry::Final, _) => Some(End::Refused),
        };
        actions.push(Action::Report(Report::Refused { refused, last: final_end.is_some() }));
        if let Some(end) = final_end {
            self.end(end, actions);
            return Ok(());
        }
        actions.push(Action::HangUp { conn });
        let wait = match (code, retry) {
            (RefusalCode::StaleEpoch, _) if taught => Some(Duration::ZERO),
            (RefusalCode::StaleEpoch, _) => Some(after.max(REFUSED_WAIT)),
            (_, Retry::Final) => Some(after.max(later)),
            (_, Retry::Later | Retry::Unknown(_)) if after.is_zero() => None,
            (_, Retry::Later | Retry::Unknown(_)) => Some(after),
        };
        self.give_up_dial(now, wait, actions);
        Ok(())
    }

    /// [SAFE-5] The owner is not the one that was named. It may be one that came after it: the record never goes back
    /// to an older one, so that each is named once.
    fn names_the_next(&mut self) -> bool {
        let others = self.config.predecessors.len() > 1;
        if others {
            self.config.predecessors.remove(0);
        }
        others
    }

    /// [RESUME-2] The others were not kept waiting for it any longer: it comes as a new one, without what is unanswered.
    fn missed(&mut self, refused: &Refused, actions: &mut Actions) {
        if self.config.access != Access::Shared {
            return;
        }
        self.memory.tenure = refused.tenure;
        let mut answers = Actions::new();
        let lost = self.requests.give_up_changes(&mut answers);
        if lost.requests > 0 {
            let (changes, bytes) = (lost.requests, lost.bytes);
            actions.push(Action::Report(Report::Missed { changes, bytes }));
        }
        actions.append(&mut answers);
    }
}

/// Whether the refusal says that the place is another's now.
fn names_another(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::Conflict | RefusalCode::OtherInstance | RefusalCode::StaleTenure)
}
