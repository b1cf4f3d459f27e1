//! Whole daemons as processes, under the field's own tools and under ours. One program, because each would be linked with
//! all of this package again.

mod agentless;
mod alerts;
mod awaited;
mod bad_input;
mod chain;
mod comings;
mod cut;
mod engines;
mod errands;
mod handing_over;
mod hanging;
mod heirs;
mod instances;
mod judged;
mod kills;
mod knocks;
mod leaving;
mod log;
#[path = "../../lull-frontend/tests/support/machine.rs"]
mod machine;
mod mounted;
mod pause_policies;
mod postgres;
mod power_cut;
mod recipes;
mod refused_middle;
mod restart;
mod restart_host;
mod retaining;
mod ring;
mod roster;
mod service;
mod sharers;
mod shutdown;
mod slow_way;
mod stale;
mod state;
mod successor;
mod threads;
mod timers;
mod upstream;
mod virtual_machine;

/// Cargo finds none of them by itself.
#[test]
fn every_file_in_this_folder_is_run() {
    let folder =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).expect("this folder");
    let files = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<_> =
        files.filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned())).collect();
    let named = |name: &&String| include_str!("main.rs").contains(&format!("\nmod {name};\n"));
    let forgotten: Vec<_> = names.iter().filter(|name| *name != "main" && !named(name)).collect();
    assert!(forgotten.is_empty(), "no `mod` in {} for {forgotten:?}", file!());
    assert!(names.len() > 30, "{names:?}");
}
