//! Whoever can be killed is killed in every phase of a restart and of a replay: a table, every cell of which is a kill
//! under load with every block judged behind it.

mod phase;
mod scene;

use std::thread::ScopedJoinHandle;

use lull_e2e::{outcome, rounds};

use phase::{Phase, Reach, phases};
use scene::{Scene, Victim};

/// A column: the kill of one in each phase, one after the other under one load.
fn column(victim: Victim, phases: &[Phase], seed: u64) -> Vec<String> {
    let inherits = phases.iter().any(|phase| matches!(phase.reach, Reach::Inherited(_)));
    let mut scene = Scene::start(victim, victim.is_initiator() || inherits, seed);
    let cells = phases.iter().map(|phase| scene.cell(phase)).collect();
    scene.finish();
    cells
}

/// All columns, each in a world of its own.
fn table(victims: &[Victim], phases: &[Phase], seed: u64) -> Vec<Vec<String>> {
    std::thread::scope(|scope| {
        let begin = |victim: &Victim| {
            let victim = *victim;
            scope.spawn(move || column(victim, phases, seed))
        };
        let columns: Vec<_> = victims.iter().map(begin).collect();
        let ended = |column: ScopedJoinHandle<'_, _>| {
            column.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
        };
        columns.into_iter().map(ended).collect()
    })
}

/// What stands above the table.
const LEGEND: &str = "Kept: no consumer was given an error, and every block that was read behind the kill is right. Then \
    the longest time without an answer, on a machine as busy as it was, and what was sent again. The consumer of a killed \
    initiator loses its connection and connects again: what it had been answered is there, what it had not may be.";

/// The table, line by line.
fn lines(victims: &[Victim], phases: &[Phase], columns: &[Vec<String>]) -> Vec<String> {
    let heads: String = victims.iter().map(|victim| format!(" {} |", victim.name())).collect();
    let mut lines = vec![format!("| killed in |{heads}"), "| --- ".repeat(columns.len() + 1) + "|"];
    lines.extend(phases.iter().enumerate().map(|(row, phase)| {
        let cells: String = columns.iter().map(|column| format!(" {} |", column[row])).collect();
        format!("| {} |{cells}", phase.name)
    }));
    lines
}

/// [SAFE-1] [SAFE-2] [SAFE-10] [PAUSE-6] [PAUSE-8] [CONN-2] [CONN-3] No consumer sees an error but the one whose own
/// connection ends with its daemon, and nothing that was acknowledged to any is lost.
#[test]
fn a_kill_in_any_phase_of_a_restart_and_of_a_replay_loses_nothing() {
    let rounds = rounds(1);
    let (phases, victims) = (phases(rounds > 1), Victim::columns(rounds > 1));
    for round in 1..=rounds {
        let columns = table(victims, &phases, round as u64);
        eprintln!("round {round} of {rounds}");
        // The last of many says what the others said.
        if round == rounds {
            outcome(LEGEND);
            outcome("");
            lines(victims, &phases, &columns).iter().for_each(|line| outcome(line));
        }
    }
}
