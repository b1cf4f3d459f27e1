//! The operator's commands reach a daemon through its admin interface and by no other way.

use super::Scene;
use crate::finding::Finding;
use crate::rust_source::has_word;

/// Commands that work on a daemon from outside: a file or folder of this name below
/// `crates/lull/src/`. The others (`target`, `attach`, `demo`, …) do their work in their own process.
const OPERATOR: [&str; 10] = [
    "abort", "detach", "events", "evict", "follow", "output", "pause", "plan", "restart", "resume",
];

/// Crates of ours that an operator's command must not reach around admin for.
const BEHIND_ADMIN: [&str; 7] = [
    "lull_block",
    "lull_frontend",
    "lull_initiator",
    "lull_proto",
    "lull_target",
    "lull_transport",
    "lull_wire",
];

/// Findings for each name of a crate behind the admin interface.
pub fn check(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in scene.rust_below("crates/lull/src/") {
        if !path.split(['/', '.']).any(|part| OPERATOR.contains(&part)) {
            continue;
        }
        for (line, code) in source.all_code() {
            for name in BEHIND_ADMIN.iter().filter(|name| has_word(code, name)) {
                let what = format!("an operator's command uses `{name}`");
                let fix = "ask the daemon through `lull_admin`; add the call there if it lacks it";
                findings.push(Finding::new(path, line, what, fix));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn only_commands_in_their_own_process_see_the_daemons() {
        let tree = Tree::of(&[
            (
                "crates/lull/src/commands/restart.rs",
                "use lull_admin::Client;\nuse lull_target::X;\n",
            ),
            ("crates/lull/src/commands/target.rs", "use lull_target::X;\n"),
        ]);
        let found = check(&Scene::new(&tree));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_str(), found[0].line),
            ("crates/lull/src/commands/restart.rs", 2)
        );
    }
}
