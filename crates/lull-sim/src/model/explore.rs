//! All that can happen next, and what must hold whatever did.

use super::names;
use super::setup::{Fault, Setup};
use super::state::{State, TICK};
use super::target::may_be_aborted;
use super::turn::Turn;
use lull_proto::initiator::Phase;
use lull_proto::target::{Decision, Event, Order, Purpose};
use lull_proto::{ConnId, initiator::Initiator};
use lull_wire::RestartId;
use lull_wire::messages::Prose;
use std::time::Duration;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Step {
    /// A consumer asks.
    Submit { node: usize },
    /// A connection is made, or cannot be.
    Connect { node: usize },
    /// The first frame arrives.
    Up { wire: usize },
    /// The first frame arrives.
    Down { wire: usize },
    /// A request reaches the medium.
    Execute { conn: ConnId, nth: usize },
    /// All backends are flushed.
    Settle,
    /// A commit of the target's state ends.
    Commit,
    /// A node's state file is written.
    Keep { node: usize },
    /// Time passes to the next deadline.
    Pass,
    /// A target's daemon is started.
    StartTarget,
    /// A node's daemon is started.
    StartNode { node: usize },
    /// An operator orders a restart.
    Order,
    /// And gives it up.
    Abort,
    /// A connection breaks.
    Cut { wire: usize },
    /// A connection carries nothing any more.
    Silence { wire: usize },
    /// The target's process is killed, or with `power` its system: `lucky`, after a commit came through; `lossy`, with
    /// what is on its way to nodes.
    Kill { power: bool, lucky: bool, lossy: bool },
    /// The power is cut while no target runs.
    Power,
    /// A node's process is killed; its log is kept or is not.
    KillNode { node: usize, keeps: bool },
    /// A request's sync fails.
    FailSync { conn: ConnId, nth: usize },
    /// The flush of all backends fails.
    FailSettle,
    /// A commit fails.
    FailCommit,
}

/// What leads on without anybody's help or harm, in the order in which the run without faults takes it.
pub fn steps(setup: &Setup, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    if state.owner.daemon.is_none() {
        steps.push(Step::StartTarget);
    }
    for (node, one) in state.nodes.iter().enumerate() {
        if one.machine.is_none() {
            steps.push(Step::StartNode { node });
        }
    }
    for (wire, one) in state.wires.iter().enumerate() {
        if !one.down.is_empty() {
            steps.push(Step::Down { wire });
        }
        if !one.up.is_empty() {
            steps.push(Step::Up { wire });
        }
    }
    for (conn, nth) in running(state) {
        steps.push(Step::Execute { conn, nth });
    }
    if state.owner.store.is_busy() {
        steps.push(Step::Commit);
    }
    if state.owner.daemon.as_ref().is_some_and(|daemon| daemon.settling.is_some()) {
        steps.push(Step::Settle);
    }
    for (node, one) in state.nodes.iter().enumerate() {
        if one.wish.is_some() {
            steps.push(Step::Keep { node });
        }
        if one.dialling.is_some() {
            steps.push(Step::Connect { node });
        }
    }
    // Who is not there keeps nobody waiting: the clock goes on.
    let waits = |step: &Step| matches!(step, Step::StartTarget | Step::StartNode { .. });
    let quiet = steps.iter().all(waits);
    for (node, one) in state.nodes.iter().enumerate() {
        if may_submit(setup, state, node) && one.machine.is_some() {
            steps.push(Step::Submit { node });
        }
    }
    if (quiet || state.left.delays > 0) && is_awaited(state) {
        steps.push(Step::Pass);
    }
    steps
}

fn may_submit(setup: &Setup, state: &State, node: usize) -> bool {
    let one = &state.nodes[node];
    let phase = one.machine.as_ref().map(Initiator::phase);
    one.asked < setup.nodes[node].1.len()
        && !matches!(phase, None | Some(Phase::Ended(_)))
        // There is no disk to write to before it is known.
        && (one.told || setup.shared)
}

fn is_awaited(state: &State) -> bool {
    let near = |at: Option<lull_proto::MonoTime>| {
        at.is_some_and(|at| at <= super::state::NOW + super::state::HORIZON)
    };
    state.nodes.iter().filter_map(|node| node.machine.as_ref()).any(|one| near(one.deadline()))
        || state.owner.daemon.iter().any(|daemon| near(daemon.machine.deadline()))
}

fn running(state: &State) -> impl Iterator<Item = (ConnId, usize)> {
    let lanes = state.owner.daemon.iter().flat_map(|daemon| &daemon.lanes);
    lanes.flat_map(|(conn, lane)| (0..lane.running.len()).map(|nth| (*conn, nth)))
}

/// What somebody orders, and what goes wrong.
pub fn disturbances(setup: &Setup, state: &State) -> Vec<Step> {
    let mut steps = Vec::new();
    let daemon = state.owner.daemon.as_ref();
    if let Some(daemon) = daemon {
        if state.left.restarts > 0 && daemon.machine.is_serving() {
            steps.push(Step::Order);
        }
        if state.left.aborts > 0 && may_be_aborted(daemon).is_some() {
            steps.push(Step::Abort);
        }
    }
    if state.left.faults == 0 {
        return steps;
    }
    for fault in &setup.faults {
        match fault {
            Fault::Cut | Fault::Silence => {
                for (wire, one) in state.wires.iter().enumerate() {
                    if one.node_open && one.target_open && !one.dead {
                        steps.push(match fault {
                            Fault::Cut => Step::Cut { wire },
                            _ => Step::Silence { wire },
                        });
                    }
                }
            }
            Fault::Kill => deaths(state, false, &mut steps),
            Fault::Power => deaths(state, true, &mut steps),
            Fault::KillNode => {
                for (node, one) in state.nodes.iter().enumerate() {
                    if one.machine.is_some() {
                        steps.push(Step::KillNode { node, keeps: false });
                        let log = setup.retain > 0;
                        steps.extend(log.then_some(Step::KillNode { node, keeps: true }));
                    }
                }
            }
            Fault::Sync => {
                for (conn, nth) in running(state) {
                    let flushes = state.owner.daemon.as_ref().is_some_and(|daemon| {
                        let lane = &daemon.lanes[&conn];
                        let writes = matches!(lane.running[nth].wish, super::setup::Wish::Write(_));
                        !writes && !state.owner.media[lane.resource].failed
                    });
                    if flushes {
                        steps.push(Step::FailSync { conn, nth });
                    }
                }
                let settles = daemon.is_some_and(|daemon| daemon.settling.is_some());
                if settles && !state.owner.media[0].failed {
                    steps.push(Step::FailSettle);
                }
            }
            Fault::Commit => steps.extend(state.owner.store.is_busy().then_some(Step::FailCommit)),
        }
    }
    steps
}

fn deaths(state: &State, power: bool, steps: &mut Vec<Step>) {
    if state.owner.daemon.is_none() {
        let loses = state.owner.media.iter().any(|medium| !medium.is_durable());
        steps.extend((power && loses).then_some(Step::Power));
        return;
    }
    let replies = state.wires.iter().any(|wire| wire.target_open && !wire.down.is_empty());
    for lucky in [false, true] {
        for lossy in [false, true] {
            if (!lucky || state.owner.store.is_busy()) && (!lossy || replies) {
                steps.push(Step::Kill { power, lucky, lossy });
            }
        }
    }
}

/// The state after it; `None` where it changes nothing.
pub fn next(setup: &Setup, state: &State, step: Step) -> State {
    let mut turn = Turn::new(setup, state);
    let left = turn.state.left;
    match step {
        Step::Submit { node } => turn.submit(node),
        Step::Connect { node } => turn.connect(node),
        Step::Up { wire } => turn.arrive_up(wire),
        Step::Down { wire } => turn.arrive_down(wire),
        Step::Execute { conn, nth } => turn.execute(conn, nth, false),
        Step::Settle => turn.settled(false),
        Step::Commit => turn.committed(false),
        Step::Keep { node } => turn.kept(node),
        Step::Pass => {
            let quiet = steps(setup, state).iter().all(|step| {
                use Step::{Pass, StartNode, StartTarget, Submit};
                matches!(step, Pass | StartTarget | StartNode { .. } | Submit { .. })
            });
            if !quiet {
                turn.state.left.delays -= 1;
            }
            turn.pass();
        }
        Step::StartTarget => turn.start_target(),
        Step::StartNode { node } => turn.start_node(node),
        Step::Order => {
            turn.state.left.restarts -= 1;
            turn.tell_target(Event::Order(order(setup, left.restarts)));
        }
        Step::Abort => {
            turn.state.left.aborts -= 1;
            turn.tell_target(Event::Decide(Decision::Abort));
        }
        Step::Cut { wire } => turn.cut(wire),
        Step::Silence { wire } => turn.silence(wire),
        Step::Kill { power, lucky, lossy } => {
            turn.kill_target(lucky, lossy);
            if power {
                turn.state.owner.media.iter_mut().for_each(super::medium::Medium::lose);
            }
        }
        Step::Power => turn.state.owner.media.iter_mut().for_each(super::medium::Medium::lose),
        Step::KillNode { node, keeps } => turn.kill_node(node, keeps),
        Step::FailSync { conn, nth } => turn.execute(conn, nth, true),
        Step::FailSettle => turn.settled(true),
        Step::FailCommit => turn.committed(true),
    }
    if is_fault(step) {
        turn.state.left.faults -= 1;
    }
    let Turn { mut state, now, .. } = turn;
    names::normalise(&mut state, now);
    super::judge::look(setup, &mut state);
    state
}

fn is_fault(step: Step) -> bool {
    matches!(
        step,
        Step::Cut { .. }
            | Step::Silence { .. }
            | Step::Kill { .. }
            | Step::Power
            | Step::KillNode { .. }
            | Step::FailSync { .. }
            | Step::FailSettle
            | Step::FailCommit
    )
}

fn order(setup: &Setup, number: u8) -> Order {
    Order {
        id: RestartId(number.into()),
        purpose: Purpose::Restart,
        reason: Prose::default(),
        downtime: Duration::ZERO,
        span: TICK * 8,
        on_timeout: setup.on_timeout,
        unstoppable: false,
    }
}
