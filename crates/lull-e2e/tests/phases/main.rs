//! Whoever can be killed is killed in every phase of a restart and of a replay: a table, every cell of which is a kill
//! under load with every block judged behind it.

mod phase;
mod scene;

use lull_e2e::rounds;

use phase::{Phase, phases};
use scene::{Scene, Victim};

/// A column: the kill of one in each phase, one after the other under one load.
fn column(victim: Victim, phases: &[Phase], seed: u64) -> Vec<String> {
    let mut scene = Scene::start(victim, seed);
    let cells = phases.iter().map(|phase| scene.cell(phase)).collect();
    scene.finish();
    cells
}

/// All columns, each in a world of its own.
fn table(phases: &[Phase], seed: u64) -> Vec<Vec<String>> {
    std::thread::scope(|scope| {
        let begin = |victim| scope.spawn(move || column(victim, phases, seed));
        let columns = Victim::ALL.map(begin).map(|column| column.join());
        let ended =
            |column: Result<_, _>| column.unwrap_or_else(|why| std::panic::resume_unwind(why));
        columns.into_iter().map(ended).collect()
    })
}

/// [SAFE-1] [SAFE-2] [SAFE-10] [PAUSE-6] [PAUSE-8] [CONN-2] [CONN-3] No consumer sees an error but the one whose own
/// connection ends with its daemon, and nothing that was acknowledged to any is lost.
#[test]
fn a_kill_in_any_phase_of_a_restart_and_of_a_replay_loses_nothing() {
    let rounds = rounds(1);
    let phases = phases(rounds > 1);
    for round in 1..=rounds {
        let columns = table(&phases, round as u64);
        eprintln!("round {round} of {rounds}:");
        let heads: String =
            Victim::ALL.iter().map(|victim| format!(" {} |", victim.name())).collect();
        eprintln!("| killed in |{heads}\n| --- |{}", " --- |".repeat(columns.len()));
        for (row, phase) in phases.iter().enumerate() {
            let cells: String =
                columns.iter().map(|column| format!(" {} |", column[row])).collect();
            eprintln!("| {} |{cells}", phase.name);
        }
    }
}
