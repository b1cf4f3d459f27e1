//! A target that refuses: how often it is asked, and what a medium says of it.

use crate::alone::{Alone, connect, disconnect, resume, welcome};
use crate::pair::config;
use lull_proto::initiator::{Action, Config, End, Event, Phase, Report, Retain};
use lull_proto::{Never, Upstream, says_the_same};
use lull_wire::messages::{Prose, Refused};
use lull_wire::{DisconnectCode, Epoch, OpCode, RefusalCode, Retry, StatusCode, Tenure};
use std::time::Duration;

fn medium() -> Alone {
    let mut alone = Alone::new(Config { retain: Retain::Elsewhere, ..config(0, "disk-a") });
    alone.handle(Event::Begin);
    alone.connects();
    alone.attaches(1);
    alone.receive(resume(0));
    alone
}

fn refused(alone: &mut Alone, code: RefusalCode, detail: &str) {
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.receive(
        Refused {
            code,
            retry: Retry::Final,
            retry_after_ms: 0,
            epoch: Epoch(0),
            tenure: Tenure(0),
            detail: Prose::clipped(detail),
        }
        .into(),
    );
}

/// Up to its next dial.
fn until_it_dials(alone: &mut Alone) {
    let dials = |alone: &Alone| {
        alone.actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
    };
    let before = dials(alone);
    while dials(alone) == before {
        alone.pass(Duration::from_millis(100));
    }
}

fn away(alone: &Alone) -> (String, Option<Never>) {
    let Some(Upstream::Away { reason, never, .. }) = alone.machine.upstream(alone.now) else {
        panic!("it does not share")
    };
    (reason.as_str().to_owned(), never)
}

/// [CHAIN-1] [SAFE-5] A medium that is fenced has not executed what it was asked, then or later, and answers no error:
/// whoever asked keeps it. What was acknowledged through it is not flushed by it any more.
#[test]
fn a_medium_that_is_fenced_gives_back_what_it_has_and_what_comes() {
    for code in [DisconnectCode::Evicted, DisconnectCode::TakenOver] {
        let mut alone = medium();
        alone.write_answered();
        let sent = alone.submit(OpCode::Write, 2);
        alone.receive(disconnect(code, 0));
        let later = alone.submit(OpCode::Read, 3);
        assert_eq!(alone.machine.phase(), Phase::Ended(End::Fenced));
        let back = [(sent, StatusCode::NotExecuted), (later, StatusCode::NotExecuted)];
        assert_eq!(alone.answers()[1..], back);
        let lost = alone.actions.iter().position(|action| *action == Action::LifeLost);
        let given = alone.actions.iter().position(|action| {
            *action == Action::Answer { slot: sent, status: StatusCode::NotExecuted }
        });
        assert!(lost.expect("its life is over") < given.expect("it is given back"));
        assert_eq!(away(&alone).1, Some(Never::Fenced));
    }
}

/// [SAFE-7] The same where it hears of it when it comes back.
#[test]
fn a_medium_that_was_fenced_while_away_says_why() {
    let mut alone = medium();
    alone.lose();
    let held = alone.submit(OpCode::Write, 2);
    refused(&mut alone, RefusalCode::StaleTenure, "another writer was let in since");
    assert_eq!(alone.answers(), [(held, StatusCode::NotExecuted)]);
    let (reason, never) = away(&alone);
    assert_eq!(never, Some(Never::Fenced));
    assert_eq!(reason, "has let another writer in since");
}

/// [CHAIN-1] [TIMER-5] Who waits hears once that the target above refuses, however often it is asked, and that it
/// cannot be reached where that is so by then.
#[test]
fn a_medium_says_once_that_its_target_refuses() {
    let mut alone = medium();
    alone.lose();
    refused(&mut alone, RefusalCode::Conflict, "lost 5 s ago, reserved");
    let first = away(&alone);
    assert!(first.0.contains("refuses"), "{first:?}");
    for second in 6..20 {
        until_it_dials(&mut alone);
        assert_eq!(away(&alone), first, "while it dials");
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        assert_eq!(away(&alone), first, "while it asks");
        alone.lose();
        until_it_dials(&mut alone);
        refused(&mut alone, RefusalCode::Conflict, &format!("lost {second} s ago, reserved"));
        assert_eq!(away(&alone), first, "and is refused again");
    }
    until_it_dials(&mut alone);
    let dial = alone.actions.iter().rev().find_map(|action| match action {
        Action::Dial { conn } => Some(*conn),
        _ => None,
    });
    alone.handle(Event::DialFailed { conn: dial.expect("it dials") });
    assert!(!away(&alone).0.contains("refuses"), "who is not there refuses nothing");
}

/// [CONN-1] The wait between two tries grows to a bound; what was mended is found within it.
#[test]
fn tries_after_final_refusals_become_rarer_and_never_end() {
    let mut alone = Alone::sharing();
    alone.lose();
    let mut waits = Vec::new();
    for _ in 0..6 {
        refused(&mut alone, RefusalCode::UnknownResource, "there is none");
        let from = alone.now;
        until_it_dials(&mut alone);
        waits.push(alone.now.since(from).as_secs());
    }
    assert_eq!(waits, [2, 4, 8, 10, 10, 10]);
    alone.connects();
    alone.attaches(9);
    assert!(!alone.reported(|report| matches!(report, Report::Ended(_))));
}

/// [TIMER-5] Only whole numbers make no news.
#[test]
fn words_that_differ_in_numbers_say_the_same() {
    assert!(says_the_same("lost 5 s ago", "lost 61 s ago"));
    assert!(!says_the_same("held by web-1", "held by web-2"));
    assert!(!says_the_same("lost 5 s ago", "lost 5 s ago, for another 3 s"));
    assert!(!says_the_same("", "gone"));
}
