//! What came of a restart, in words and as an exit status.

use lull_admin::{Outcome, OutcomeKind, RestartKind, RestartRecord, Role};

use super::follow::Followed;
use crate::daemon::{AdminArgs, Which};
use crate::exit::Failure;
use crate::output::{print_json, summary, what_it_is, width_of, wrapped};

/// Says what came of it.
///
/// # Errors
/// `NotReady` naming those because of whom it was given up, `Failed` for everything else that is
/// not done.
pub fn conclude(
    followed: Followed,
    which: Option<Which>,
    admin: &AdminArgs,
    json: bool,
) -> Result<(), Failure> {
    match followed {
        Followed::Ended(record) => {
            let width = width_of(std::io::stderr());
            let what = what_it_is(record.kind);
            let text = format!("{what} {}: {}", record.id, summary(&record, width));
            eprint!("{}", wrapped(&text, width));
            if json {
                print_json(&record)?;
            }
            verdict(&record, which)
        }
        Followed::Paused(id) => {
            let next = admin.in_full("`lull resume` when it is done");
            eprintln!("pause {id}: all are paused\n  next: {next}");
            Ok(())
        }
        Followed::Stopped(id, kind) => {
            let what = match kind {
                RestartKind::Host => "this host goes down; when its target is back the pause ends",
                _ => "the target has stopped; whoever starts it next ends the pause",
            };
            eprintln!("restart {id}: {what}");
            Ok(())
        }
    }
}

/// The exit status of a record.
fn verdict(record: &RestartRecord, which: Option<Which>) -> Result<(), Failure> {
    let Some(outcome) = &record.outcome else {
        return Err(Failure::failed(format!("restart {} has no outcome", record.id)));
    };
    let what = what_it_is(record.kind);
    let done = if record.kind == RestartKind::Pause { "paused" } else { "restarted" };
    match outcome.kind {
        OutcomeKind::Completed | OutcomeKind::Proceeded => Ok(()),
        OutcomeKind::Aborted if outcome.by_operator && !outcome.not_ready.is_empty() => {
            let late = outcome.not_ready.join("; ");
            let text = format!("not {done}{}; not ready by then: {late}", why(outcome));
            Err(Failure::NotReady(text))
        }
        OutcomeKind::Aborted if !outcome.not_ready.is_empty() => Err(Failure::NotReady(format!(
            "not {done}: not ready: {}\n  next: see to them, or `lull {what} \
                 --on-pause-timeout proceed`: they hold, and replay afterwards",
            outcome.not_ready.join("; ")
        ))),
        OutcomeKind::Aborted => Err(Failure::failed(format!("not {done}{}", why(outcome)))),
        OutcomeKind::Failed | OutcomeKind::Unknown => Err(Failure::failed(format!(
            "the {what} has failed{}\n  next: `{}` tells how it went",
            why(outcome),
            history(which, record.id)
        ))),
    }
}

/// The command that shows a record.
pub fn history(which: Option<Which>, id: u64) -> String {
    let role = which.filter(|which| *which != Which::Target);
    let role = role.map_or_else(String::new, |which| format!("{} ", Role::from(which)));
    format!("lull history {role}{id}")
}

fn why(outcome: &Outcome) -> String {
    outcome.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(kind: OutcomeKind, not_ready: &[&str]) -> u8 {
        let not_ready = not_ready.iter().map(|&who| who.into()).collect();
        let outcome = Some(Outcome { kind, not_ready, ..Outcome::default() });
        let record = RestartRecord { outcome, ..RestartRecord::default() };
        verdict(&record, None).map_or_else(|failure| failure.code(), |()| 0)
    }

    #[test]
    fn only_what_was_not_done_because_of_somebody_is_status_three() {
        assert_eq!(status(OutcomeKind::Completed, &[]), 0);
        assert_eq!(status(OutcomeKind::Proceeded, &["web-2: lost"]), 0);
        assert_eq!(status(OutcomeKind::Aborted, &["web-2: lost"]), 3);
        assert_eq!(status(OutcomeKind::Aborted, &[]), 1);
        assert_eq!(status(OutcomeKind::Failed, &["web-2: lost"]), 1);
        assert_eq!(status(OutcomeKind::Unknown, &[]), 1);
    }

    #[test]
    fn whose_restart_an_operator_gave_up_is_not_told_to_go_without_somebody() {
        let said = |by_operator| {
            let (kind, not_ready) = (OutcomeKind::Aborted, vec!["web-2: lost".to_owned()]);
            let outcome = Some(Outcome { kind, not_ready, by_operator, ..Outcome::default() });
            let record = RestartRecord { outcome, ..RestartRecord::default() };
            let failure = verdict(&record, None).expect_err("it is not done");
            assert_eq!(failure.code(), 3, "somebody was not ready");
            failure.to_string()
        };
        assert!(said(false).contains("proceed"));
        assert!(said(true).contains("web-2: lost") && !said(true).contains("proceed"));
    }
}
