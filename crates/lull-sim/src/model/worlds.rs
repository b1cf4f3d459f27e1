//! The worlds that are explored, each with its number of states.

use super::setup::{Fault, Setup, Wish};
use Fault::{Commit, Cut, Kill, KillNode, Power, Silence, Sync};
use Wish::{Durable, Flush, Write};
use lull_proto::target::OnTimeout;
use std::time::Duration;

const ANY: [Fault; 6] = [Cut, Kill, Power, KillNode, Sync, Commit];

/// A world, and how many states it has.
pub struct Explored {
    /// The world.
    pub setup: Setup,
    /// How many states it can be in, where it is small enough for every test run. A change of a machine changes it, and
    /// is to be looked at.
    pub states: Option<usize>,
}

/// All of them.
pub fn all() -> Vec<Explored> {
    let small = of_one().into_iter().chain(of_many());
    let small = small.map(|(setup, states)| Explored { setup, states: Some(states) });
    small.chain(large().into_iter().map(|setup| Explored { setup, states: None })).collect()
}

fn of_one() -> Vec<(Setup, usize)> {
    let one =
        |name, about, wishes| Setup { name, about, nodes: vec![(0, wishes)], ..Setup::plain() };
    vec![
        (Setup::plain(), 43),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                ..one("first", "from the first dial on, one fault", vec![Write(0), Write(0), Flush])
            },
            8798,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 2,
                ..one("twice", "from the first dial on, two faults", vec![Write(0), Write(0)])
            },
            72176,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                restarts: 1,
                shared: true,
                ..one("restart", "a restart, one fault", vec![Write(0), Flush])
            },
            37542,
        ),
        (
            Setup {
                faults: vec![Cut, Kill, Power, KillNode, Sync],
                count: 1,
                restarts: 1,
                aborts: 1,
                shared: true,
                ..one("abort", "a restart that may be given up, one fault", vec![Write(0), Flush])
            },
            82385,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                shared: true,
                ..one(
                    "durable",
                    "durable writes among others, one fault",
                    vec![Write(0), Durable(0), Write(1), Flush],
                )
            },
            40374,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                shared: true,
                retain: 640,
                ..one("bound", "a log with room for one write, one fault", vec![Write(0), Write(1)])
            },
            3727,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                shared: true,
                retain: 0,
                ..one("through", "nothing is retained, one fault", vec![Write(0), Write(0), Flush])
            },
            5812,
        ),
        (
            Setup {
                faults: vec![Silence, Kill],
                count: 1,
                delays: 1,
                restarts: 1,
                shared: true,
                keep_alive: Duration::from_secs(2),
                ..one("slow", "keep-alive, time that passes meanwhile, one fault", vec![Write(0)])
            },
            29802,
        ),
    ]
}

fn of_many() -> Vec<(Setup, usize)> {
    let many = |name, about, nodes| Setup { name, about, nodes, ..Setup::plain() };
    let apart = vec![(0, vec![Write(0)]), (1, vec![Write(0)])];
    let rivals = vec![(0, vec![Write(0)]), (0, vec![Write(0)])];
    vec![
        (
            Setup {
                restarts: 1,
                aborts: 1,
                shared: true,
                ..many("two", "two initiators, a restart that may be given up", apart.clone())
            },
            13206,
        ),
        (
            Setup {
                shared: true,
                count: 1,
                faults: vec![Kill, Power],
                ..many("two-cut", "two initiators, their target dies", apart)
            },
            25791,
        ),
        (
            Setup {
                faults: ANY.to_vec(),
                count: 1,
                ..many("rivals", "two initiators that want one resource, one fault", rivals.clone())
            },
            46778,
        ),
        (
            Setup {
                faults: vec![Cut, Kill, KillNode],
                count: 1,
                hold: Duration::from_secs(3),
                ..many("lapsed", "two that want one resource, kept for a while, one fault", rivals)
            },
            63854,
        ),
        (
            Setup {
                restarts: 1,
                shared: true,
                ..many(
                    "three",
                    "three initiators, a restart",
                    vec![(0, Vec::new()), (1, Vec::new()), (2, Vec::new())],
                )
            },
            21060,
        ),
    ]
}

/// What takes minutes.
fn large() -> Vec<Setup> {
    let base = |name, about| Setup { name, about, shared: true, ..Setup::plain() };
    vec![
        Setup {
            nodes: vec![(0, vec![Write(0)]), (1, vec![Write(0)])],
            faults: vec![Kill, Power],
            count: 1,
            restarts: 1,
            ..base("two-dies", "two initiators, a restart, their target dies")
        },
        Setup {
            nodes: vec![(0, vec![Write(0), Durable(0), Write(1), Flush])],
            faults: ANY.to_vec(),
            count: 2,
            ..base("durable-2", "one initiator, durable writes among others, two faults")
        },
        Setup {
            nodes: vec![(0, vec![Write(0), Write(0), Flush])],
            faults: ANY.to_vec(),
            count: 1,
            restarts: 1,
            ..base("restart-2", "one initiator, two writes and a flush, a restart, one fault")
        },
        Setup {
            nodes: vec![(0, vec![Write(0)])],
            faults: vec![Silence, Cut, Kill],
            count: 1,
            delays: 2,
            restarts: 1,
            keep_alive: Duration::from_secs(2),
            ..base("slow-2", "one initiator, keep-alive, time that passes meanwhile twice")
        },
        Setup {
            nodes: vec![(0, vec![Write(0), Write(0), Flush]), (1, vec![Write(0), Flush])],
            faults: vec![Cut, Kill, Power, KillNode, Sync],
            count: 1,
            restarts: 1,
            aborts: 1,
            ..base("full", "two initiators, two writes and one with flushes, a restart, one fault")
        },
        Setup {
            nodes: vec![(0, vec![Write(0)]), (1, Vec::new())],
            faults: vec![Cut, Kill, Power],
            count: 1,
            delays: 1,
            restarts: 1,
            on_timeout: OnTimeout::Proceed,
            ..base(
                "proceed",
                "two initiators, a restart that goes on without who is late, one fault",
            )
        },
        Setup {
            nodes: vec![(0, vec![Write(0)]), (1, vec![Write(0)]), (2, Vec::new())],
            faults: vec![Kill, Power],
            count: 1,
            restarts: 1,
            ..base("three-dies", "three initiators, a restart, their target dies")
        },
        Setup {
            nodes: vec![(0, vec![Write(0)]), (0, vec![Write(0)])],
            faults: vec![Cut, Kill, Power, Sync],
            count: 2,
            hold: Duration::from_secs(3),
            shared: false,
            ..base("rivals-2", "two that want one resource, kept for a while, two faults")
        },
    ]
}
