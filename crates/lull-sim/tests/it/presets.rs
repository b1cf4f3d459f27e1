//! Worlds of chance.

use lull_sim::preset::Preset;
use lull_sim::run;

#[test]
fn some_worlds_of_each_preset_pass_every_judge() {
    for preset in Preset::ALL {
        for seed in 1..=25 {
            let verdict = run::run(preset, seed, None, false);
            let name = preset.name();
            assert_eq!(
                verdict.finding, None,
                "cargo xtask sim --preset {name} --seed {seed} --trace"
            );
        }
    }
}

/// What a seed shows once it shows again: the trace of a finding leads to it.
#[test]
fn a_seed_is_the_same_world_every_time() {
    let traces = [1, 2].map(|_| run::run(Preset::All, 77, None, true).trace);
    assert!(traces[0].len() > 1000);
    assert!(traces[0] == traces[1]);
}
