//! Every target on its seeds, on what was found once, and on mutations of both: the same ones each time.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use lull_fuzz::mutate::{Chance, mutated};
use lull_fuzz::{TARGETS, seeds, target};

fn passes(name: &str) {
    let target = target(name).expect("a target of this name");
    let mut inputs = (target.seeds)();
    inputs.extend(seeds::found(name).into_iter().map(|(_, bytes)| bytes));
    for input in &inputs {
        run(target.run, name, input);
    }
    let mut chance = Chance::new(1);
    for _ in 0..target.rounds {
        run(target.run, name, &mutated(&inputs, &mut chance));
    }
}

/// An input that does not pass is kept as a file, so that it can be looked at and checked in.
fn run(what: fn(&[u8]), name: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| what(input))) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.input"));
        let told = std::fs::write(&kept, input);
        eprintln!(
            "the input is in {} ({told:?}); lull-fuzz run {name} FILE repeats it",
            kept.display()
        );
        std::panic::resume_unwind(panic);
    }
}

macro_rules! bounded {
    ($($name:ident)*) => {
        $(
            /// [SEC-4] Whatever comes, it is read or refused.
            #[test]
            fn $name() {
                passes(stringify!($name));
            }
        )*
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

bounded! {
    wire_frames wire_bodies wire_extents nbd_server_handshake nbd_client_handshake nbd_messages nbd_serve nbd_use fuse
    guest_rings guest_messages texts history configuration admin_documents target_state initiator_state retained_log target_machine
    estate kernel_devices    initiator_machine
}

/// Nothing is only half there: a target has its test, and libFuzzer its binary.
#[test]
fn every_target_is_tested_and_has_a_binary() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED.iter().copied().collect());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("the manifest");
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
        let source = std::fs::read_to_string(folder.join(format!("targets/{name}.rs")));
        assert!(source.expect("its source").contains(&format!("lull_fuzz::{name}(")), "{name}");
    }
    let files = std::fs::read_dir(folder.join("targets")).expect("a folder").count();
    assert_eq!(files, names.len());
}
