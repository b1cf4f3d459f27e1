//! What the protocol crates promise about themselves: no I/O, no unsafe code, every cell decided.

use super::Scene;
use crate::finding::Finding;

/// Crates that cannot do I/O because they have no standard library to do it with.
const SANS_IO: [&str; 2] = ["lull-wire", "lull-proto"];

/// Findings for missing attributes and for arms that catch everything.
pub fn check(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in SANS_IO {
        let path = format!("crates/{name}/src/lib.rs");
        let Some(source) = scene.rust.get(path.as_str()) else { continue };
        for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
            if !source.code.iter().any(|line| line.trim() == attribute) {
                let what = format!("`{attribute}` is missing");
                let fix = "put it back: this crate cannot do I/O rather than promising not to";
                findings.push(Finding::new(&path, 1, what, fix));
            }
        }
    }
    for (path, source) in scene.rust_below("crates/lull-proto/src/") {
        if scene.tests.contains(path) {
            continue;
        }
        for (line, _) in source.product_code().filter(|(_, code)| catches_everything(code)) {
            let fix = "name the remaining variants: a new state or event must not compile until \
                each machine has said what it does with it";
            findings.push(Finding::new(path, line, "an arm that catches everything", fix));
        }
    }
    findings
}

/// Whether the line begins an arm whose pattern names nothing: `_ =>`, `(_, _) if x =>`. rustfmt
/// puts every arm on a line of its own.
fn catches_everything(code: &str) -> bool {
    let Some((pattern, _)) = code.split_once("=>") else { return false };
    let pattern = pattern.split(" if ").next().unwrap_or(pattern).trim();
    pattern.contains('_') && pattern.chars().all(|c| "_(),.| ".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn arms_that_name_nothing_are_told_from_those_that_do() {
        for caught in ["_ => {}", "    (_, _) => a(),", "_ if x > 1 => y,", "    (_, ..) =>"] {
            assert!(catches_everything(caught), "{caught}");
        }
        for fine in ["(State::A, _) => x,", "Event::B { .. } => y,", "x => _z", "let _ = 1;"] {
            assert!(!catches_everything(fine), "{fine}");
        }
    }

    #[test]
    fn attributes_and_arms_are_checked_outside_tests() {
        let lib = "#![no_std]\n#[cfg(test)]\nmod pair;\nfn a() {\n    match b {\n        _ => {}\n    }\n}\n";
        let tree = Tree::of(&[
            ("crates/lull-proto/src/lib.rs", lib),
            ("crates/lull-proto/src/pair.rs", "_ => {}\n"),
            ("crates/lull-block/src/lib.rs", "_ => {}\n"),
        ]);
        let found = check(&Scene::new(&tree));
        assert_eq!(found.len(), 2);
        assert!(found[0].what.contains("forbid(unsafe_code)"));
        assert_eq!(found[1].line, 6);
    }
}
