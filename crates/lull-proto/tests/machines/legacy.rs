//! What a life that was killed had acknowledged is kept by the next one.

use crate::alone::{Alone, attached, connect, resume, welcome};
use crate::pair::{ask, config};
use lull_proto::initiator::{
    Action, Ask, End, Event, Initiator, Legacy, Origin, Phase, Report, Retain, WINDOW,
};
use lull_wire::messages::{Attached, Refused, Request};
use lull_wire::{Epoch, Incarnation, Kind, OpCode, RefusalCode, Retry, StatusCode, Tenure};

const ONE: Incarnation = Incarnation([1; 16]);
const TWO: Incarnation = Incarnation([2; 16]);

/// Two changes of one block and one of another, executed in the first incarnation.
fn kept() -> Legacy {
    let changes = [(OpCode::Write, 1), (OpCode::WriteZeroes, 1), (OpCode::Write, 2)];
    Legacy::Kept { settled: ONE, changes: changes.map(|(op, block)| ask(op, block)).to_vec() }
}

/// One change, executed in the first incarnation.
pub fn one_change() -> Legacy {
    Legacy::Kept { settled: ONE, changes: vec![ask(OpCode::Write, 1)] }
}

/// An heir that is let in, up to ATTACHED.
fn heir(legacy: Legacy, incarnation: Incarnation) -> Alone {
    let mut alone = Alone::inheriting(config(0, "disk-a"), legacy);
    alone.incarnation = incarnation;
    alone.handle(Event::Begin);
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    let mut attached = attached(1);
    attached.incarnation = incarnation;
    alone.receive(attached.into());
    alone.handle(Event::Remembered);
    alone
}

fn what(requests: &[Request]) -> Vec<(OpCode, u64)> {
    requests.iter().map(|one| (one.op, one.offset / crate::pair::BLOCK)).collect()
}

fn answer_all(alone: &mut Alone) {
    for request in
        std::mem::take(&mut alone.actions).into_iter().filter_map(|action| match action {
            Action::Transmit { request, .. } => Some(request),
            _ => None,
        })
    {
        alone.reply(request.number, StatusCode::Done);
    }
}

fn is_ready(alone: &Alone) -> bool {
    !alone.sent(Kind::Ready).is_empty()
}

fn retained(alone: &Alone) -> u64 {
    alone.machine.view(alone.now).retained.0
}

/// [SAFE-10] [SAFE-2] In the order in which they were acknowledged, [SAFE-3] overlapping ones never together; a flush,
/// then READY.
#[test]
fn an_heir_replays_in_another_incarnation_what_it_found() {
    let mut alone = heir(kept(), TWO);
    let origins = alone.actions.iter().filter_map(|action| match action {
        Action::Transmit { origin, .. } => Some(*origin),
        _ => None,
    });
    assert_eq!(origins.collect::<Vec<_>>(), [Origin::Retained(0)]);
    answer_all(&mut alone);
    assert_eq!(what(&alone.transmitted()), [(OpCode::WriteZeroes, 1), (OpCode::Write, 2)]);
    answer_all(&mut alone);
    assert_eq!(what(&alone.transmitted()), [(OpCode::Flush, 0)]);
    assert!(!is_ready(&alone) && retained(&alone) == 3);
    answer_all(&mut alone);
    assert!(is_ready(&alone));
    assert!(alone.actions.contains(&Action::Release { before: 3 }), "{:?}", alone.actions);
    assert!(alone.actions.contains(&Action::Settle(TWO)));
}

/// [SAFE-10] Executed is what was acknowledged there; what was not, and may be there all the same, becomes as durable
/// before anybody sees it.
#[test]
fn an_heir_in_the_same_incarnation_flushes_and_sends_nothing_again() {
    let mut alone = heir(kept(), ONE);
    assert_eq!(what(&alone.transmitted()), [(OpCode::Flush, 0)]);
    assert!(!is_ready(&alone));
    answer_all(&mut alone);
    assert!(is_ready(&alone) && retained(&alone) == 0);
}

/// [SAFE-10] The flush that an heir owes is owed again when its target is lost before it was answered.
#[test]
fn an_heir_that_is_cut_off_before_its_flush_owes_it_still() {
    let mut alone = heir(kept(), ONE);
    alone.actions.clear();
    alone.lose();
    alone.pass(std::time::Duration::from_secs(1));
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    alone.actions.clear();
    let mut attached = attached(2);
    attached.incarnation = ONE;
    alone.receive(attached.into());
    assert_eq!(what(&alone.transmitted()), [(OpCode::Flush, 0)]);
    assert!(!is_ready(&alone));
}

/// [SAFE-10] Whoever is killed in the middle of a replay leaves a log that is settled in the older incarnation.
#[test]
fn a_log_is_settled_only_when_all_of_it_was_executed() {
    let mut alone = heir(kept(), TWO);
    for _ in 0..3 {
        assert!(!alone.actions.iter().any(|action| matches!(action, Action::Settle(_))));
        answer_all(&mut alone);
    }
    assert!(alone.actions.contains(&Action::Settle(TWO)));
}

/// [SAFE-10] A lost log is reported once; whether anything is lost depends on the target's cache.
#[test]
fn a_missing_log_is_a_loss_only_in_another_incarnation() {
    for (incarnation, loss) in [(ONE, false), (TWO, true)] {
        let mut alone = heir(Legacy::Lost { settled: ONE }, incarnation);
        let told = |alone: &Alone| {
            let told = |report: &Report| *report == Report::LogMissing { changed: loss };
            alone.reported(told)
        };
        assert!(told(&alone));
        assert_eq!(what(&alone.transmitted()), [(OpCode::Flush, 0)]);
        answer_all(&mut alone);
        assert!(is_ready(&alone) && !told(&alone));
        alone.lose();
        alone.pass(std::time::Duration::from_secs(1));
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        alone.receive(Attached { incarnation: Incarnation([3; 16]), ..attached(2) }.into());
        assert_eq!(alone.machine.phase(), Phase::Ready);
        assert!(!alone.reported(|report| matches!(report, Report::LogMissing { .. })));
    }
}

/// [SAFE-10] Who leaves without its target leaves its log to the next life; who is fenced has nobody to leave it to.
#[test]
fn what_is_retained_by_one_that_leaves_is_left_and_not_lost() {
    let mut alone = Alone::inheriting(config(0, "disk-a"), kept());
    alone.handle(Event::Begin);
    alone.handle(Event::Detach { at_once: true });
    assert!(alone.reported(|report| matches!(report, Report::LogLeft { changes: 3, .. })));
    assert!(!alone.reported(|report| matches!(report, Report::LogLost { .. })));
}

/// [SAFE-11] However long one of them takes, no number lies further above it than may be.
#[test]
fn a_replay_of_small_changes_stays_within_the_window_behind_a_slow_one() {
    let small = |place: u64| Ask { offset: place * 512, length: 512, ..ask(OpCode::Write, 0) };
    let changes = (0..2 * WINDOW as u64).map(small).collect();
    let mut alone = heir(Legacy::Kept { settled: ONE, changes }, TWO);
    let slow = alone.transmitted()[0].number;
    let mut newest = slow;
    loop {
        let sent = std::mem::take(&mut alone.actions).into_iter().filter_map(|one| match one {
            Action::Transmit { request, .. } => Some(request.number),
            _ => None,
        });
        let sent: Vec<_> = sent.filter(|number| *number != slow).collect();
        if sent.is_empty() {
            break;
        }
        for number in sent {
            newest = newest.max(number);
            alone.reply(number, StatusCode::Done);
        }
    }
    assert!(newest.0 - slow.0 < WINDOW as u64, "{newest:?}");
    alone.reply(slow, StatusCode::Done);
    assert!(!alone.transmitted().is_empty(), "it goes on");
}

/// [SAFE-10] Who is to end while its target refuses it leaves its log to the next life too: the cause may be mended.
#[test]
fn what_is_retained_by_one_that_is_refused_when_it_leaves_is_left_and_not_lost() {
    for changes in [0, 1] {
        let mut alone = Alone::sharing();
        (0..changes).for_each(|_| alone.write_answered());
        alone.lose();
        let held = alone.submit(OpCode::Read, 3);
        alone.handle(Event::Detach { at_once: false });
        alone.connects();
        alone.receive(welcome());
        alone.receive(connect());
        let (code, retry, tenure) = (RefusalCode::UnknownResource, Retry::Final, Tenure(0));
        let (epoch, detail) = (Epoch(0), Default::default());
        alone.receive(Refused { code, retry, retry_after_ms: 0, epoch, tenure, detail }.into());
        let end = if changes > 0 { End::Left } else { End::Refused };
        assert_eq!(alone.machine.phase(), Phase::Ended(end));
        assert!(!alone.reported(|report| matches!(report, Report::LogLost { .. })));
        assert_eq!(alone.answers().last(), Some(&(held, StatusCode::Io)));
    }
}

/// [SAFE-3] Before its own first request an heir counts what it found.
#[test]
fn an_heir_with_a_full_log_takes_new_changes_after_its_flush() {
    let full = vec![ask(OpCode::Write, 1); 16];
    let bound = 16 * crate::pair::BLOCK;
    let config =
        lull_proto::initiator::Config { retain: Retain::UpTo(bound), ..config(0, "disk-a") };
    let mut machine =
        Initiator::inheriting(config, Legacy::Kept { settled: ONE, changes: full.clone() });
    let mut actions = Vec::new();
    machine.handle(lull_proto::MonoTime(1), Event::Begin, &mut actions);
    let bytes: u64 = full.iter().map(|ask: &Ask| u64::from(ask.length)).sum();
    assert_eq!(machine.view(lull_proto::MonoTime(1)).retained, (16, bytes));
    let mut alone = heir(Legacy::Kept { settled: ONE, changes: full }, ONE);
    answer_all(&mut alone);
    alone.receive(resume(0));
    alone.write_answered();
    assert_eq!(retained(&alone), 1);
}
