//! Every state that a small world can be in.
//!
//! The two machines of `lull-proto` are the real ones; around them is as much of the daemons as it takes, each step of
//! which is one thing that happens: a frame arrives, a request is executed, a commit ends, time passes, somebody dies.
//! All orders of them are tried, with a bounded number of faults. Where the [simulator](crate::world) draws long
//! lives of large worlds by chance, this has short lives of small ones, all of them.
//!
//! States are the same that differ only in how far something was counted ([`names`]), so that a world that only waits
//! comes back to where it was. What must hold is looked at after each step ([`judge`]), and from every state the run
//! in which nothing more goes wrong has to lead to sharing.

pub mod explore;
pub mod judge;
pub mod medium;
pub mod names;
mod node;
pub mod setup;
pub mod state;
mod target;
mod turn;
pub mod worlds;

use explore::{Step, disturbances, next, steps};
use setup::Setup;
use state::{State, Wrong};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, PoisonError};

/// The longest run without faults that is waited for.
const LONGEST_RUN: usize = 600;

const RULES: &str = "no rule is broken";
const PROGRESS: &str = "without further faults everybody shares";

/// A world to be explored.
pub struct World {
    setup: Setup,
    /// Fingerprints of states from which the run without faults is known to lead to sharing.
    heals: Mutex<HashSet<u64>>,
    /// That of the first state in which something is wrong.
    first: Mutex<Option<u64>>,
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// How many steps the furthest state is away.
    pub depth: usize,
    /// The shortest way to a state in which something is wrong.
    pub finding: Option<Finding>,
}

/// Something that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What; `None` where a run without faults does not lead to sharing.
    pub wrong: Option<Wrong>,
    /// What happened.
    pub path: Vec<Step>,
    /// Where it led.
    pub state: State,
    /// What follows where nothing more goes wrong, up to a state that was there before.
    pub run: Vec<Step>,
}

impl World {
    /// The world of a setup.
    pub fn new(setup: Setup) -> Self {
        Self { setup, heals: Mutex::default(), first: Mutex::default() }
    }

    /// Visits every state. Stops at the first finding.
    pub fn explore(self) -> Outcome {
        let checker = self.checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
        let discoveries = checker.discoveries();
        let found = discoveries.get(RULES).or_else(|| discoveries.get(PROGRESS));
        let finding = found.map(|path| {
            let state = path.last_state().clone();
            let run = checker.model().run(&state);
            Finding { wrong: state.wrong, path: path.clone().into_actions(), state, run }
        });
        Outcome {
            states: checker.unique_state_count(),
            steps: checker.state_count(),
            depth: checker.max_depth(),
            finding,
        }
    }

    fn begin(&self) -> State {
        let mut state = State::new(&self.setup);
        if self.setup.shared {
            let silent = Setup {
                nodes: self.setup.nodes.iter().map(|(of, _)| (*of, Vec::new())).collect(),
                ..self.setup.clone()
            };
            while !judge::is_sharing(&silent, &state) || state.wires.iter().any(is_busy) {
                let Some(step) = steps(&silent, &state).first().copied() else { break };
                state = next(&self.setup, &state, step);
            }
        }
        state
    }

    fn run(&self, from: &State) -> Vec<Step> {
        let (mut state, mut run, mut seen) = (from.clone(), Vec::new(), HashSet::new());
        while seen.insert(print_of(&state)) {
            let Some(step) = steps(&self.setup, &state).first().copied() else { break };
            run.push(step);
            state = next(&self.setup, &state, step);
        }
        run
    }

    /// Whether this state is the first of its kind: the checker would keep the last one that it sees, further away.
    fn is_first(&self, state: &State) -> bool {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        *first.get_or_insert(print_of(state)) == print_of(state)
    }

    /// Whether the run in which nothing more goes wrong leads from here to sharing, soon.
    fn heals(&self, from: &State) -> bool {
        let mut state = from.clone();
        let mut run = Vec::new();
        for _ in 0..LONGEST_RUN {
            let print = print_of(&state);
            let mut heals = self.heals.lock().unwrap_or_else(PoisonError::into_inner);
            if judge::is_sharing(&self.setup, &state) || heals.contains(&print) {
                heals.extend(run);
                heals.insert(print);
                return true;
            }
            drop(heals);
            run.push(print);
            let Some(step) = steps(&self.setup, &state).first().copied() else { return false };
            state = next(&self.setup, &state, step);
        }
        false
    }
}

fn print_of(state: &State) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(state)
}

fn is_busy(wire: &state::Wire) -> bool {
    !wire.up.is_empty() || !wire.down.is_empty()
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.wrong.is_some() {
            return;
        }
        actions.extend(steps(&self.setup, state));
        actions.extend(disturbances(&self.setup, state));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(next(&self.setup, state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RULES, |world: &Self, state: &State| {
                state.wrong.is_none() || !world.is_first(state)
            }),
            Property::always(PROGRESS, |world: &Self, state: &State| {
                state.wrong.is_some() || world.heals(state) || !world.is_first(state)
            }),
        ]
    }
}
