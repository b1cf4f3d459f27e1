//! What a lane answers, and what it must not.

use super::*;
use crate::bench::{Bench, DISK, GivesBack, bench, open};
use lull_wire::{AttachmentId, InstanceId};

const TERMS: Terms = Terms {
    read_only: false,
    version: 1,
    incarnation: Incarnation::NONE,
    life: 0,
    share: None,
    keep_alive: Duration::from_secs(1),
};

impl Bench {
    fn lane(&self, terms: Terms) -> (Lane, Outlet<Buffer>) {
        let outlet = Outlet::new();
        let lane = Lane::new(outlet.clone(), Arc::clone(&self.watch), Arc::new(Gauge::default()));
        lane.open(&self.local, DISK, terms);
        (lane, outlet)
    }

    /// Writes the first block, as request 1.
    fn write(&self, lane: &Lane) {
        let buffer = self.local.pool.take(4096).unwrap();
        lane.run(Op::Write { fua: true }, &request(OpCode::Write, 4096), buffer);
    }
}

fn request(op: OpCode, length: u32) -> Request {
    let (number, flags) = (RequestNumber(1), RequestFlags::none());
    Request { number, lowest: number, offset: 0, length, op, flags }
}

fn share(whose: u8) -> Share {
    let (attachment, instance) = (AttachmentId([whose; 16]), InstanceId([whose; 16]));
    Share { attachment, instance, lowest: RequestNumber(1) }
}

fn sharing(whose: u8) -> Terms {
    Terms { share: Some(share(whose)), ..TERMS }
}

/// [SAFE-1] [SAFE-4] The flush that failed is not answered, and neither is anything of that life, on whichever connection;
/// the machine hears of it once.
#[test]
fn a_failed_flush_ends_its_life_for_everybody_and_answers_nobody() {
    let mut bench = bench(open("faulty:fail-flush=1:mem:1M"));
    let flush = request(OpCode::Flush, 0);
    let (first, other) = (bench.lane(TERMS), bench.lane(TERMS));
    for (lane, outlet) in [&first, &first, &other] {
        lane.run(Op::Flush, &flush, Buffer::empty());
        assert_eq!(outlet.queued(), 0, "nobody is answered");
    }
    let ended = bench.heard.try_recv();
    assert!(matches!(
        ended,
        Ok(Input::LifeEnded { resource: ResourceIndex(0), why: Ended::WriteBack })
    ));
    assert!(bench.heard.try_recv().is_err(), "once");
    let next = Terms { life: 1, ..TERMS };
    first.0.open(&bench.local, DISK, next);
    first.0.run(Op::Flush, &flush, Buffer::empty());
    assert!(first.1.queued() > 0, "the next life answers");
}

/// [CHAIN-1] What a medium gives back may still be executed, and is asked for again: no other sharer writes there before.
#[test]
fn what_is_given_back_keeps_its_place() {
    let bench = bench(Arc::new(GivesBack));
    let (lane, outlet) = bench.lane(sharing(1));
    bench.write(&lane);
    assert!(outlet.queued() > 0, "it is told");
    let other = Sharing::open(&bench.local, DISK, share(2));
    let verdict = other.admit(&bench.local, DISK, RequestNumber(1), (0, 4096));
    assert_eq!(verdict, Verdict::Repeat(StatusCode::NotExecuted));
}

/// [SAFE-5] A change that waits for another sharer's is never executed once its lane is closed, and nobody waits for it.
#[test]
fn what_waits_in_a_lane_that_closes_stands_in_nobodys_way() {
    let bench = bench(open("mem:1M"));
    let other = Sharing::open(&bench.local, DISK, share(2));
    let write = |number| other.admit(&bench.local, DISK, RequestNumber(number), (0, 4096));
    assert_eq!(write(1), Verdict::Run);
    let (lane, _outlet) = bench.lane(sharing(1));
    bench.write(&lane);
    assert_eq!(bench.local.shared[0].sharers.waiting(), 1);
    assert!(lane.close(), "nothing is under way");
    assert_eq!(bench.local.shared[0].sharers.waiting(), 0);
    assert!(lane.has_room(u32::MAX), "its memory is free");
    other.done(&bench.local, DISK, RequestNumber(1), 0, Some(StatusCode::Done));
    assert_eq!(write(2), Verdict::Run);
}

/// [SEC-4] Numbers that are given up unanswered make no room.
#[test]
fn more_requests_than_a_window_has_are_a_fault_whatever_their_numbers() {
    let bench = bench(open("faulty:delay=3600s:mem:1M"));
    let (lane, _outlet) = bench.lane(TERMS);
    let trim = |number| Request { number, lowest: number, ..request(OpCode::Discard, 4096) };
    for number in (1..=WINDOW as u64).map(RequestNumber) {
        let Admission::Run(op, 0) = lane.admit(&trim(number), 0) else { panic!("{number:?}") };
        lane.run(op, &trim(number), Buffer::empty());
    }
    let beyond = lane.admit(&trim(RequestNumber(WINDOW as u64 + 1)), 0);
    assert!(matches!(beyond, Admission::Violation(BadRequest::TooMany)));
}

fn take(numbers: &mut Numbers, number: u64, lowest: u64) -> bool {
    numbers.take(RequestNumber(number), RequestNumber(lowest))
}

#[test]
fn a_number_is_outstanding_once_and_within_the_window() {
    // [SAFE-11] and [CONN-3]: a request that is outstanding is not run a second time beside itself.
    let mut numbers = Numbers::new(1);
    assert!(take(&mut numbers, 1, 1));
    assert!(!take(&mut numbers, 1, 1), "outstanding already");
    assert!(take(&mut numbers, WINDOW as u64, 1));
    assert!(!take(&mut numbers, WINDOW as u64 + 1, 1), "beyond the window");
    numbers.give_back(RequestNumber(1));
    assert!(take(&mut numbers, 1, 1), "sent again after its answer was lost");
    numbers.give_back(RequestNumber(1));
    assert!(take(&mut numbers, WINDOW as u64 + 1, 2), "the window moved");
    assert!(!take(&mut numbers, 1, 2), "below the lowest");
    assert!(!take(&mut numbers, 0, 0), "none has number 0");
}
