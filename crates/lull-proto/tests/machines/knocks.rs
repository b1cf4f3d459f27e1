//! A target that has started knocks, and what a knock is worth.

use crate::alone::{Alone, connect, welcome};
use crate::pair::{Node, Pair};
use lull_proto::initiator::{Action, Config, Event, Phase};
use lull_proto::target::{self, Target};
use lull_wire::messages::{Address, Knock, Refused};
use lull_wire::{Epoch, InstanceId, Message, RefusalCode, RestartId, Retry, Tenure};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Nodes of which each wants to be knocked where it says; none says nothing.
fn reachable(callbacks: &[&str]) -> Pair {
    let mut pair = Pair::new(callbacks.len());
    for (at, callback) in callbacks.iter().enumerate() {
        let callback = Address::new(callback).unwrap();
        let config = Config { callback, ..pair.nodes[at].config.clone() };
        pair.nodes[at] = Node::new(config, at);
    }
    pair.begin_all();
    pair
}

fn callbacks(pair: &Pair) -> Vec<String> {
    let target = pair.target.as_ref().expect("it runs");
    target.callbacks().iter().map(Address::to_string).collect()
}

/// [CONN-1] After a start those are knocked who were let in before it and are not back, each address once.
#[test]
fn a_target_knows_after_a_start_where_to_knock() {
    let mut pair = reachable(&["unix:/a", "", "unix:/a"]);
    assert!(callbacks(&pair).is_empty(), "everybody is there");
    for node in &mut pair.nodes {
        node.mute = true;
    }
    pair.downtime = None;
    pair.crash();
    pair.run(SECOND);
    pair.start(RestartId(0));
    assert_eq!(callbacks(&pair), ["unix:/a"]);
    pair.nodes[0].mute = false;
    pair.until_phase(0, Phase::Sharing);
    assert_eq!(callbacks(&pair), ["unix:/a"], "the third is away still");
    pair.nodes[2].mute = false;
    pair.until_phase(2, Phase::Sharing);
    assert!(callbacks(&pair).is_empty());
}

/// [CONN-1] What the last HELLO said is what counts, also over a start.
#[test]
fn an_address_is_replaced_by_the_next_hello() {
    let mut pair = reachable(&["unix:/old"]);
    let config = Config { callback: Address::default(), ..pair.nodes[0].config.clone() };
    let config = Config { memory: pair.nodes[0].memory, ..config };
    pair.nodes[0] = Node::new(config, 0);
    pair.cut_now(0);
    pair.begin_all();
    pair.nodes[0].mute = true;
    pair.downtime = None;
    pair.crash();
    pair.run(SECOND);
    pair.start(RestartId(0));
    assert_eq!(callbacks(&pair), [""; 0]);
}

/// [CONN-1] Who leaves knocks nobody: there would be no CONNECT.
#[test]
fn a_target_that_goes_knocks_nobody() {
    let mut pair = reachable(&["unix:/a", "unix:/b"]);
    pair.nodes[1].mute = true;
    pair.cut_now(1);
    pair.until(|pair| callbacks(pair) == ["unix:/b"]);
    pair.order(target::Order {
        on_timeout: target::OnTimeout::Proceed,
        span: SECOND,
        ..crate::pair::restart(1)
    });
    let leaves = |target: &Target| matches!(target.phase(), target::Phase::Leaving { .. });
    pair.until(|pair| pair.target.as_ref().is_some_and(leaves));
    assert_eq!(callbacks(&pair), [""; 0]);
}

/// An initiator that was told to dial again in ten minutes.
fn told_to_wait() -> Alone {
    let mut alone = Alone::sharing();
    alone.lose();
    alone.connects();
    alone.receive(welcome());
    alone.receive(connect());
    let refused = Refused {
        code: RefusalCode::Unavailable,
        retry: Retry::Later,
        retry_after_ms: 600_000,
        epoch: Epoch(0),
        tenure: Tenure(0),
        detail: Default::default(),
    };
    alone.receive(refused.into());
    assert_eq!(alone.machine.phase(), Phase::Away);
    alone.actions.clear();
    alone
}

fn dials(alone: &Alone) -> usize {
    alone.actions.iter().filter(|action| matches!(action, Action::Dial { .. })).count()
}

/// [CONN-1] Who is away dials at once on a knock, however long it was to wait.
#[test]
fn a_knock_brings_on_the_next_dial() {
    let mut alone = told_to_wait();
    alone.pass(SECOND);
    assert_eq!(dials(&alone), 0);
    alone.handle(Event::Knocked);
    assert_eq!(dials(&alone), 1);
    alone.handle(Event::Knocked);
    assert_eq!(dials(&alone), 1, "it dials already");
    alone.connects();
    alone.attaches(3);
    assert_eq!(alone.machine.phase(), Phase::Ready);
}

/// [SEC-3] [CONN-1] Knocks that were somebody's joke leave everything as it was: when it dials next, how long it waits
/// after that, when its timer ends.
#[test]
fn a_knock_in_vain_changes_nothing() {
    let mut alone = told_to_wait();
    let mut undisturbed = alone.machine.clone();
    let due = alone.machine.deadline();
    for _ in 0..50 {
        alone.pass(Duration::from_millis(100));
        alone.handle(Event::Knocked);
        let Some(Action::Dial { conn }) = alone.actions.pop() else { panic!("no dial") };
        alone.handle(Event::DialFailed { conn });
        assert_eq!(alone.machine.deadline(), due);
    }
    // The next one by itself, and the wait after it.
    let at = due.expect("a deadline");
    let mut actions = Vec::new();
    for machine in [&mut alone.machine, &mut undisturbed] {
        actions.clear();
        machine.handle(at, Event::Tick, &mut actions);
        let Some(Action::Dial { conn }) = actions.first() else { panic!("no dial: {actions:?}") };
        let failed = Event::DialFailed { conn: *conn };
        machine.handle(at, failed, &mut actions);
    }
    assert_eq!(alone.machine.deadline(), undisturbed.deadline());
}

/// [SEC-3] A knock is a hint to who is away and nothing to anybody else, and as a message of a session it ends that.
#[test]
fn a_knock_is_nothing_to_who_is_there() {
    let mut alone = Alone::sharing();
    alone.actions.clear();
    alone.handle(Event::Knocked);
    assert_eq!((alone.machine.phase(), &*alone.actions), (Phase::Sharing, &[][..]));
    let knock: Message = Knock { node: Default::default(), instance: InstanceId([9; 16]) }.into();
    alone.receive(knock);
    assert_eq!(alone.machine.phase(), Phase::Dialling);
}
