//! Places of writers that are given up: who had one does not come back to it, not even from a state in which that could not
//! be written.

use crate::fencing::refusals;
use crate::pair::{Node, Pair};
use lull_proto::initiator::{Config, End, Event, Phase};
use lull_proto::target::{Change, ResourceIndex};
use lull_wire::RefusalCode;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Two who would write one resource, with what is to be kept for them when they are lost; not begun.
fn two_of_one_resource(holds: [Duration; 2]) -> Pair {
    let mut pair = Pair::new(2);
    let resource = pair.nodes[0].config.resource.clone();
    for (at, hold) in holds.into_iter().enumerate() {
        let config = Config { hold, resource: resource.clone(), ..pair.nodes[at].config.clone() };
        pair.nodes[at] = Node::new(config, 0);
    }
    pair
}

/// [SAFE-7] An eviction that could not be written is written as soon as that can be: from a state without it the evicted one
/// would have its place again after a crash, and with it the right to replay.
#[test]
fn an_eviction_that_was_not_written_is_tried_again() {
    let mut pair = Pair::sharing(1);
    let before = pair.store.tenures[0];
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.store.fails = |_| true;
    pair.evict(0);
    pair.run(3 * SECOND);
    assert_eq!(pair.store.roster.len(), 1, "it could not be written");
    pair.store.fails = |_| false;
    pair.run(3 * SECOND);
    assert_eq!((pair.store.roster.len(), pair.store.tenures[0]), (0, before.next()));
}

/// [SAFE-7] Nor does a place that was kept for long enough come back with a crash because its end could not be written: its
/// owner would replay over what was written since.
#[test]
fn the_end_of_a_reservation_that_was_not_written_is_tried_again() {
    for letting_in in [false, true] {
        let mut pair = two_of_one_resource([10 * SECOND, Duration::MAX]);
        pair.tell(0, Event::Begin);
        pair.until_phase(0, Phase::Sharing);
        pair.nodes[0].mute = true;
        pair.cut_now(0);
        pair.store.fails = |change| matches!(change, Change::Gone(_));
        pair.run(11 * SECOND);
        let gone = pair.nodes[0].config.attachment;
        assert!(pair.store.roster.contains_key(&gone), "it could not be written");
        assert_eq!(
            pair.target.as_ref().unwrap().closed(ResourceIndex(0)),
            None,
            "nobody waits for it"
        );
        pair.store.fails = |_| false;
        if letting_in {
            pair.tell(1, Event::Begin);
            pair.until_phase(1, Phase::Sharing);
        } else {
            pair.run(3 * SECOND);
        }
        assert!(!pair.store.roster.contains_key(&gone));
    }
}

/// [SAFE-7] Not even where its owner was about to be let in anew, which could not be written either.
#[test]
fn the_end_of_a_reservation_is_written_although_its_owner_had_almost_come_back() {
    let mut pair = two_of_one_resource([10 * SECOND, Duration::MAX]);
    pair.tell(0, Event::Begin);
    pair.until_phase(0, Phase::Sharing);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.store.fails = |change| matches!(change, Change::Gone(_) | Change::Owner(..));
    pair.run(11 * SECOND);
    pair.nodes[0].mute = false;
    pair.until_within(30 * SECOND, |pair| refusals(pair, 0).contains(&RefusalCode::Unavailable));
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.store.fails = |_| false;
    pair.tell(1, Event::Begin);
    pair.until_phase(1, Phase::Sharing);
    let gone = pair.nodes[0].config.attachment;
    assert!(!pair.store.roster.contains_key(&gone), "a crash would give it its place again");
}

/// [SAFE-7] [SAFE-9] So they do for who was a writer before: where its reservation is over and one of them was let in, nothing
/// that it has unanswered or unflushed is sent again, over what that one wrote.
#[test]
fn who_comes_back_behind_an_agentless_writer_sends_nothing_again() {
    for comes in [false, true] {
        let mut pair = Pair::new(1);
        let config = Config { hold: 10 * SECOND, ..pair.nodes[0].config.clone() };
        pair.nodes[0] = Node::new(config, 0);
        pair.begin_all();
        let before = pair.nodes[0].memory.tenure;
        pair.nodes[0].mute = true;
        pair.write(0, 1);
        pair.cut_now(0);
        pair.run(11 * SECOND);
        if comes {
            let target = pair.target.as_ref().unwrap();
            assert!(target.admits_agentless(pair.now, ResourceIndex(0), false).is_ok());
            pair.agentless(0, 1, 0);
            pair.agentless(0, 2, 0);
            pair.agentless(0, 0, 0);
            pair.until(|pair| pair.store.pending.is_empty());
            assert_eq!(pair.store.tenures[0], before.next(), "on stable storage, and once");
        }
        pair.nodes[0].mute = false;
        if comes {
            pair.until_phase(0, Phase::Ended(End::Fenced));
            assert_eq!(refusals(&pair, 0), [RefusalCode::StaleTenure]);
        } else {
            pair.until_all_share();
        }
    }
}

/// [SAFE-7] Whose place is over by then has none either, although its end could not be written by itself.
#[test]
fn an_agentless_writer_is_let_in_when_no_crash_brings_an_older_place_back() {
    let mut pair = two_of_one_resource([10 * SECOND, Duration::MAX]);
    pair.tell(0, Event::Begin);
    pair.until_phase(0, Phase::Sharing);
    pair.nodes[0].mute = true;
    pair.cut_now(0);
    pair.store.fails = |change| matches!(change, Change::Gone(_));
    pair.run(11 * SECOND);
    let gone = pair.nodes[0].config.attachment;
    assert!(pair.store.roster.contains_key(&gone), "it could not be written");
    for _ in 0..3 {
        pair.agentless(0, 1, 0);
        pair.until(|pair| pair.target.as_ref().unwrap().closed(ResourceIndex(0)).is_none());
        assert!(!pair.store.roster.contains_key(&gone));
        pair.agentless(0, 0, 0);
    }
}

/// [SEC-4] Who comes again and again while it cannot be written adds nothing to what is to be written.
#[test]
fn agentless_writers_that_were_not_let_in_raise_the_tenure_once() {
    let mut pair = Pair::sharing(1);
    pair.evict(0);
    pair.until(|pair| pair.store.pending.is_empty());
    let before = pair.store.tenures[0];
    pair.store.fails = |_| true;
    for _ in 0..5 {
        pair.agentless(0, 1, 0);
        pair.agentless(0, 0, 0);
        pair.run(SECOND);
    }
    pair.store.fails = |_| false;
    pair.agentless(0, 1, 0);
    pair.run(3 * SECOND);
    assert_eq!(pair.store.tenures[0], before.next());
    assert_eq!(pair.target.as_ref().unwrap().closed(ResourceIndex(0)), None, "it is let in");
}

/// [SAFE-7] They raise it again behind a writer that came meanwhile, although what the first of them raised is not written yet.
#[test]
fn a_writer_between_two_agentless_ones_sends_nothing_again_behind_the_second() {
    let mut pair = two_of_one_resource([Duration::MAX, 2 * SECOND]);
    pair.tell(0, Event::Begin);
    pair.until_phase(0, Phase::Sharing);
    pair.evict(0);
    pair.until(|pair| pair.store.pending.is_empty());
    pair.store.fails = |change| matches!(change, Change::Missed(..));
    pair.agentless(0, 1, 0);
    pair.agentless(0, 0, 0);
    pair.run(SECOND);
    pair.tell(1, Event::Begin);
    pair.until_phase(1, Phase::Sharing);
    let before = pair.nodes[1].memory.tenure;
    pair.nodes[1].mute = true;
    pair.write(1, 1);
    pair.cut_now(1);
    pair.run(3 * SECOND);
    let target = pair.target.as_ref().unwrap();
    assert!(target.admits_agentless(pair.now, ResourceIndex(0), false).is_ok());
    pair.agentless(0, 1, 0);
    pair.store.fails = |_| false;
    pair.run(3 * SECOND);
    assert_eq!(pair.target.as_ref().unwrap().closed(ResourceIndex(0)), None, "it is let in");
    assert_eq!(pair.store.tenures[0], before.next());
    pair.agentless(0, 0, 0);
    pair.nodes[1].mute = false;
    pair.until_phase(1, Phase::Ended(End::Fenced));
    assert_eq!(refusals(&pair, 1), [RefusalCode::StaleTenure]);
}
