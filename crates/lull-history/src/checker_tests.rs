use super::*;
use crate::fault::FaultKind;
use crate::request::Part;

/// A judge with numbers for requests and contents, and a disk of one unit in which a test does what it likes.
struct Trial {
    checker: Checker,
    ids: u64,
}

impl Trial {
    fn new(promise: Promise) -> Self {
        Self { checker: Checker::new(promise, Some(0)), ids: 0 }
    }

    fn begin(&mut self, op: impl FnOnce(u64) -> Op) -> u64 {
        self.ids += 1;
        let op = op(100 + self.ids);
        self.checker.begin(self.ids, 1, op);
        self.ids
    }

    /// Begins a write of unit 5; its content is 100 more than its number.
    fn begin_write(&mut self) -> u64 {
        self.begin(|content| Op::Write { first: 5, count: 1, content, durable: false })
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        assert_eq!(self.checker.end(id, outcome, &[]), Ok(()));
    }

    fn write(&mut self) -> u64 {
        let id = self.begin_write();
        self.end(id, Outcome::Done);
        100 + id
    }

    fn flush(&mut self) {
        let id = self.begin(|_| Op::Flush);
        self.end(id, Outcome::Done);
    }

    fn begin_read(&mut self) -> u64 {
        self.begin(|_| Op::Read { first: 5, count: 1 })
    }

    fn end_read(&mut self, id: u64, number: u64) -> Option<FaultKind> {
        self.checker.end(id, Outcome::Done, &[Held::Whole(number)]).err().map(|fault| fault.kind)
    }

    fn read(&mut self, number: u64) -> Option<FaultKind> {
        let id = self.begin_read();
        self.end_read(id, number)
    }
}

#[test]
fn the_last_acknowledged_write_is_what_a_read_returns() {
    let mut trial = Trial::new(Promise::Acknowledged);
    assert_eq!(trial.read(0), None);
    let first = trial.write();
    assert_eq!(trial.read(first), None);
    let second = trial.write();
    assert_eq!(trial.read(first), Some(FaultKind::Lost));
    assert_eq!(trial.read(0), Some(FaultKind::Lost));
    assert_eq!(trial.read(second), None);
    assert_eq!(trial.read(first), Some(FaultKind::CameBack));
    assert_eq!(trial.read(7), Some(FaultKind::Corrupt));
}

#[test]
fn a_read_beside_a_write_may_return_either_and_decides_for_those_after_it() {
    let mut trial = Trial::new(Promise::Acknowledged);
    let old = trial.write();
    let id = trial.begin_write();
    assert_eq!(trial.read(old), None);
    assert_eq!(trial.read(100 + id), None);
    assert_eq!(trial.read(old), Some(FaultKind::CameBack));
}

#[test]
fn of_two_writes_that_were_outstanding_together_a_read_after_both_picks_one() {
    let mut trial = Trial::new(Promise::Acknowledged);
    let (one, two) = (trial.begin_write(), trial.begin_write());
    trial.end(one, Outcome::Done);
    trial.end(two, Outcome::Done);
    assert_eq!(trial.read(100 + one), None);
    assert_eq!(trial.read(100 + two), Some(FaultKind::CameBack));
}

#[test]
fn an_acknowledged_write_may_go_with_the_cache_and_a_flushed_one_may_not() {
    let mut trial = Trial::new(Promise::Flushed);
    let flushed = trial.write();
    trial.flush();
    let unflushed = trial.write();
    let mut other = Trial { checker: trial.checker.clone(), ids: trial.ids };
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), Some(FaultKind::FlushedLost));
    assert_eq!(trial.read(flushed), None);
    assert_eq!(trial.read(unflushed), Some(FaultKind::FlushedLost), "it was lost for good");
    other.checker.lost(Loss::Cache);
    assert_eq!(other.read(unflushed), None);
    assert_eq!(other.read(flushed), Some(FaultKind::CameBack), "it was not lost");
    other.checker.lost(Loss::Cache);
    assert_eq!(
        other.read(flushed),
        Some(FaultKind::CameBack),
        "what survived once is on the medium"
    );
}

#[test]
fn with_the_whole_promise_a_lost_cache_excuses_nothing() {
    let mut trial = Trial::new(Promise::Acknowledged);
    trial.write();
    trial.checker.lost(Loss::Cache);
    trial.flush();
    assert_eq!(trial.read(0), Some(FaultKind::Lost), "that flush came too late");
    let newer = trial.write();
    trial.flush();
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), Some(FaultKind::FlushedLost), "{newer}");
}

#[test]
fn what_is_kept_for_somebody_is_lost_only_after_he_is_gone() {
    let mut trial = Trial::new(Promise::Retained);
    trial.write();
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), Some(FaultKind::Lost));
    let mut trial = Trial::new(Promise::Retained);
    let flushed = trial.write();
    trial.flush();
    trial.write();
    trial.checker.forsaken(1);
    assert_eq!(trial.read(flushed), Some(FaultKind::Lost), "the cache is still there");
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(flushed), None);
}

#[test]
fn a_flush_covers_only_what_was_answered_before_it_began() {
    let mut trial = Trial::new(Promise::Flushed);
    let write = trial.begin_write();
    let flush = trial.begin(|_| Op::Flush);
    trial.end(write, Outcome::Done);
    trial.end(flush, Outcome::Done);
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), None);
}

#[test]
fn a_flush_after_the_loss_covers_nothing_that_came_before_it() {
    let mut trial = Trial::new(Promise::Flushed);
    trial.write();
    trial.checker.lost(Loss::Cache);
    trial.flush();
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), None);
}

#[test]
fn what_a_failed_write_back_dropped_may_be_seen_until_it_is_gone() {
    let mut trial = Trial::new(Promise::Flushed);
    let kept = trial.write();
    trial.flush();
    let dropped = trial.write();
    trial.checker.lost(Loss::Pages);
    trial.flush();
    assert_eq!(trial.read(dropped), None);
    assert_eq!(trial.read(kept), None, "the page is gone");
    assert_eq!(trial.read(dropped), Some(FaultKind::FlushedLost), "and does not come back");
    assert_eq!(trial.read(0), Some(FaultKind::FlushedLost));
}

#[test]
fn a_durable_write_needs_no_flush() {
    let mut trial = Trial::new(Promise::Flushed);
    let id = trial.begin(|content| Op::Write { first: 5, count: 1, content, durable: true });
    trial.end(id, Outcome::Done);
    trial.checker.lost(Loss::Cache);
    assert_eq!(trial.read(0), Some(FaultKind::FlushedLost));
}

#[test]
fn a_write_of_unknown_outcome_may_come_until_it_is_settled() {
    let mut trial = Trial::new(Promise::Acknowledged);
    let id = trial.begin_write();
    trial.end(id, Outcome::Unknown);
    let newer = trial.write();
    assert_eq!(trial.read(newer), None);
    let mut late = Trial { checker: trial.checker.clone(), ids: trial.ids };
    assert_eq!(late.read(100 + id), None);
    trial.checker.settle(id);
    let newest = trial.write();
    assert_eq!(trial.read(100 + id), Some(FaultKind::Lost), "{newest}");
}

#[test]
fn zeroes_and_what_was_there_before_are_told_from_writes() {
    let mut trial = Trial { checker: Checker::new(Promise::Acknowledged, None), ids: 0 };
    assert_eq!(trial.read(77), None);
    assert_eq!(trial.read(78), Some(FaultKind::Corrupt), "it does not change by itself");
    let id = trial.begin(|_| Op::Zero { first: 4, count: 3, durable: false });
    trial.end(id, Outcome::Done);
    assert_eq!(trial.read(0), None);
    assert_eq!(trial.read(77), Some(FaultKind::CameBack));
    let id = trial.begin(|_| Op::Discard { first: 5, count: 1 });
    trial.end(id, Outcome::Done);
    assert_eq!(trial.read(77), None);
    assert_eq!(trial.read(5), None);
    let last = trial.write();
    assert_eq!(trial.read(5), Some(FaultKind::Corrupt));
    assert_eq!(trial.read(last), None);
}

#[test]
fn each_unit_of_a_write_has_its_own_number_and_a_torn_one_is_found() {
    let mut trial = Trial::new(Promise::Acknowledged);
    let id = trial.begin(|_| Op::Write { first: 8, count: 2, content: 900, durable: false });
    trial.end(id, Outcome::Done);
    let read = |trial: &mut Trial, content: &[u64]| {
        let id = trial.begin(|_| Op::Read { first: 8, count: 2 });
        let content: Vec<Held> = content.iter().copied().map(Held::from).collect();
        trial.checker.end(id, Outcome::Done, &content).err().map(|fault| (fault.unit, fault.kind))
    };
    assert_eq!(read(&mut trial, &[900, 901]), None);
    assert_eq!(read(&mut trial, &[901, 900]), Some((8, FaultKind::CameBack)));
    assert_eq!(read(&mut trial, &[900, 0]), Some((9, FaultKind::CameBack)));
}

#[test]
fn what_is_settled_leaves_little_behind() {
    let mut trial = Trial::new(Promise::Flushed);
    for _ in 0..50 {
        trial.write();
        trial.flush();
    }
    trial.write();
    assert!(trial.checker.cells[&5].writes.len() <= 3, "{:?}", trial.checker.cells);
}

#[test]
fn parts_of_two_writes_are_read_only_while_both_are_possible() {
    let mut trial = Trial { checker: Checker::new(Promise::Acknowledged, None), ids: 0 };
    let read = |trial: &mut Trial, parts: &[Part]| {
        let id = trial.begin_read();
        let held = Held::Parts(parts.to_vec());
        trial.checker.end(id, Outcome::Done, &[held]).err().map(|fault| fault.kind)
    };
    let id = trial.begin_write();
    let torn = [Part::Before, Part::Number(100 + id)];
    assert_eq!(read(&mut trial, &torn), None);
    trial.end(id, Outcome::Done);
    assert_eq!(read(&mut trial, &torn), Some(FaultKind::Lost));
    let newer = trial.begin_write();
    let torn = [Part::Number(100 + id), Part::Number(100 + newer)];
    assert_eq!(read(&mut trial, &torn), None);
    trial.end(newer, Outcome::Done);
    trial.flush();
    assert_eq!(read(&mut trial, &torn), Some(FaultKind::FlushedLost));
}

#[test]
fn what_a_history_writes_elsewhere_did_not_stand_there_before_it() {
    let mut trial = Trial { checker: Checker::new(Promise::Acknowledged, None), ids: 0 };
    let written = trial.write();
    let id = trial.begin(|_| Op::Read { first: 6, count: 1 });
    let found = trial.checker.end(id, Outcome::Done, &[Held::Whole(written)]);
    assert_eq!(found.unwrap_err().kind, FaultKind::Corrupt);
    let id = trial.begin_read();
    let strange = trial.checker.end(id, Outcome::Done, &[Held::Strange]);
    assert_eq!(strange.unwrap_err().kind, FaultKind::Corrupt);
}

#[test]
fn a_flushed_write_that_is_lost_is_told_from_an_unflushed_one_though_both_had_been_read() {
    let mut trial = Trial::new(Promise::Acknowledged);
    let old = trial.write();
    let new = trial.write();
    assert_eq!(trial.read(new), None);
    assert_eq!(trial.read(old), Some(FaultKind::CameBack));
    trial.flush();
    assert_eq!(trial.read(old), Some(FaultKind::FlushedLost));
}

#[test]
fn what_stood_there_before_and_is_there_again_is_a_lost_write() {
    for known in [true, false] {
        let mut trial = Trial { checker: Checker::new(Promise::Acknowledged, None), ids: 0 };
        if known {
            assert_eq!(trial.read(9), None);
        }
        trial.write();
        let read = |trial: &mut Trial, number| {
            let id = trial.begin_read();
            let found = trial.checker.end(id, Outcome::Done, &[Held::Before(number)]);
            found.err().map(|fault| fault.kind)
        };
        assert_eq!(read(&mut trial, 9), Some(FaultKind::Lost));
        let other = if known { FaultKind::Corrupt } else { FaultKind::Lost };
        assert_eq!(read(&mut trial, 8), Some(other), "it does not change by itself");
    }
}

#[test]
fn a_unit_at_rest_costs_no_list() {
    let mut trial = Trial::new(Promise::Acknowledged);
    for _ in 0..3 {
        let newest = trial.write();
        assert_eq!(trial.read(newest), None);
        assert!(trial.checker.cells.is_empty(), "{:?}", trial.checker.cells);
    }
    assert_eq!(trial.checker.changed(), [5]);
}
