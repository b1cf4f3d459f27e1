//! How far a restart is, as far as it decides what an operator may still ask for.

use crate::daemon::Core;
use lull_admin::{ApiError, Decision, ErrorCode, RestartKind};
use lull_proto::MonoTime;
use lull_proto::target::{Phase, Question};
use std::time::Duration;

/// How many of those who are not back are named.
const AWAITED_NAMED: usize = 8;

/// How far a restart is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody is paused yet.
    Preparing,
    /// Everybody is asked to pause, or paused: it can be given up.
    Pausing {
        /// An operator may still choose between waiting and going on.
        asks: bool,
        /// Something else performs the restart: this ends with a word, and not by itself.
        by_pause: bool,
    },
    /// The same, but the process was told to end.
    Ending {
        /// Going on without those who are not ready is still a choice.
        asks: bool,
    },
    /// The point of no return is past.
    Leaving,
    /// It is done, and these initiators are not back; it is over after this span at the latest.
    Returning {
        /// Their names.
        awaited: Vec<String>,
        /// What is left of the span.
        left: Duration,
    },
}

impl Core {
    /// The restart under way and how far it is; `None` where another may begin.
    pub fn stage(&self, now: MonoTime) -> Option<(u64, Stage)> {
        let id = self.chronicle.current().map_or(0, |record| record.id);
        let ends = self.machine.phase().restart().is_some_and(|restart| restart.order.unstoppable);
        let stage = match self.machine.phase() {
            _ if self.starting.is_some() => Stage::Preparing,
            Phase::Serving => {
                let until = self.chronicle.deadline()?;
                Stage::Returning { awaited: self.chronicle.awaited(), left: until.since(now) }
            }
            Phase::Leaving { .. } | Phase::Down { .. } => Stage::Leaving,
            phase => {
                let asks = matches!(phase, Phase::Pausing { .. })
                    || matches!(phase.question(), Some(Question::Open(_)));
                let kind = self.chronicle.current().map(|record| record.kind);
                let by_pause = kind == Some(RestartKind::Pause);
                if ends { Stage::Ending { asks } } else { Stage::Pausing { asks, by_pause } }
            }
        };
        Some((id, stage))
    }
}

impl Stage {
    /// Why another restart cannot begin.
    pub fn another(&self, id: u64) -> ApiError {
        let (why, next) = match self {
            Self::Pausing { by_pause: true, .. } => (
                format!("everybody is paused, or about to be, by lull pause (restart {id})"),
                "end that with `lull resume`",
            ),
            Self::Preparing | Self::Pausing { by_pause: false, .. } => (
                format!("restart {id} is under way"),
                "wait for its end (`lull status --watch`), or give it up with `lull abort`",
            ),
            Self::Ending { .. } => (told_to_end(), "start it again once it has ended"),
            Self::Leaving => (past(id), "wait for its end (`lull status --watch`)"),
            Self::Returning { .. } => return self.returning(id),
        };
        ApiError::new(ErrorCode::Conflict, why, next)
    }

    /// Why it cannot be given up; `None` where it can.
    pub fn no_abort(&self, id: u64) -> Option<ApiError> {
        let why = match self {
            Self::Preparing | Self::Pausing { .. } => return None,
            Self::Ending { .. } => format!("{}, which cannot be given up", told_to_end()),
            Self::Leaving => past(id),
            Self::Returning { .. } => return Some(self.returning(id)),
        };
        Some(ApiError::new(ErrorCode::Conflict, why, "`lull status` shows what is under way"))
    }

    /// Why a decision would change nothing; `None` where it counts.
    pub fn no_decision(&self, id: u64, decision: Decision) -> Option<ApiError> {
        let why = match (self, decision) {
            (_, Decision::Abort) => return self.no_abort(id),
            (Self::Pausing { asks: true, .. }, _)
            | (Self::Ending { asks: true }, Decision::Proceed) => {
                return None;
            }
            (Self::Ending { asks: true }, _) => {
                format!("{}, which waits for nobody beyond its span", told_to_end())
            }
            (Self::Preparing, _) => format!("restart {id} is being prepared: nobody is late yet"),
            (Self::Pausing { asks: false, .. } | Self::Ending { asks: false }, _) => {
                format!("restart {id} waits for no initiator at this moment")
            }
            (Self::Leaving, _) => past(id),
            (Self::Returning { .. }, _) => return Some(self.returning(id)),
        };
        Some(ApiError::new(ErrorCode::Conflict, why, "`lull status` shows what is under way"))
    }

    fn returning(&self, id: u64) -> ApiError {
        let Self::Returning { awaited, left } = self else { return ApiError::default() };
        let mut names: Vec<_> = awaited.iter().take(AWAITED_NAMED).cloned().collect();
        if awaited.len() > AWAITED_NAMED {
            names.push(format!("{} more", awaited.len() - AWAITED_NAMED));
        }
        let whom = match names.is_empty() {
            true => "its initiators have not said yet what it cost".to_owned(),
            false => format!("not back yet: {}", names.join(", ")),
        };
        ApiError::new(
            ErrorCode::Conflict,
            format!("restart {id} is past the point of no return; {whom}"),
            format!(
                "wait for its end, in {} s at the latest (`lull status --watch`); `lull evict` ends the waiting for one \
                 that is lost for good",
                left.as_secs() + 1
            ),
        )
    }
}

fn told_to_end() -> String {
    "the target was told to end".to_owned()
}

fn past(id: u64) -> String {
    format!("restart {id} is past the point of no return")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Stage> {
        let awaited = vec!["web-2".to_owned()];
        vec![
            Stage::Preparing,
            Stage::Pausing { asks: true, by_pause: false },
            Stage::Pausing { asks: false, by_pause: false },
            Stage::Ending { asks: true },
            Stage::Ending { asks: false },
            Stage::Leaving,
            Stage::Returning { awaited, left: Duration::from_secs(42) },
        ]
    }

    #[test]
    fn an_abort_is_offered_exactly_where_it_works() {
        for stage in all() {
            let offered = stage.another(3).next_step.contains("`lull abort`");
            assert_eq!(offered, stage.no_abort(3).is_none(), "{stage:?}");
            assert_eq!(stage.no_decision(3, Decision::Abort), stage.no_abort(3));
        }
    }

    #[test]
    fn a_pause_that_something_else_uses_is_ended_by_a_resume() {
        for asks in [true, false] {
            let error = Stage::Pausing { asks, by_pause: true }.another(3);
            assert!(error.message.contains("lull pause"), "{error}");
            assert!(error.next_step.contains("`lull resume`"), "{error}");
            assert!(!error.next_step.contains("abort"), "{error}");
        }
    }

    #[test]
    fn a_decision_that_changes_nothing_is_refused() {
        let counts = |stage: &Stage, decision| stage.no_decision(3, decision).is_none();
        let both: Vec<_> = all()
            .iter()
            .map(|stage| (counts(stage, Decision::Wait), counts(stage, Decision::Proceed)))
            .collect();
        let no = (false, false);
        assert_eq!(both, [no, (true, true), no, (false, true), no, no, no]);
    }

    #[test]
    fn a_restart_whose_initiators_are_away_names_them() {
        let error = all().last().unwrap().another(3);
        assert!(error.message.contains("web-2"), "{error}");
        assert!(error.next_step.contains("43 s") && error.next_step.contains("evict"), "{error}");
    }
}
