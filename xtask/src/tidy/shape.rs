//! Sizes, names, and work that was put off.

use super::Scene;
use crate::finding::Finding;
use std::collections::BTreeSet;

/// Lines of a Rust file. Beyond it a reader loses the thread; the file is refused.
const MAX_LINES: usize = 600;

/// Entries of the root folder, as `ls` shows them. Beyond it the first look at the repository is at a
/// list; refused.
const MAX_ROOT_ENTRIES: usize = 14;

/// Names that say nothing about what is inside.
const VAGUE: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "types"];

/// What stands in code where work was put off, and what to do instead.
const PUT_OFF: [(&str, &str); 4] = [
    ("todo!", "write it, or leave the path to it out"),
    ("unimplemented!", "write it, or leave the path to it out"),
    ("#[ignore]", "make the test run, or take it out"),
    ("#[ignore =", "make the test run, or take it out"),
];

/// Findings of all kinds named above.
pub fn check(scene: &Scene) -> Vec<Finding> {
    let mut findings = root_entries(scene);
    for (path, source) in &scene.rust {
        let lines = source.code.len().saturating_sub(1);
        if lines > MAX_LINES {
            let what = format!("{lines} lines; {MAX_LINES} is the limit");
            findings.push(Finding::new(path, MAX_LINES, what, "split it by what its parts do"));
        }
        if let Some(name) = path.split(['/', '.']).find(|part| VAGUE.contains(part)) {
            let what = format!("`{name}` does not say what is inside");
            findings.push(Finding::new(path, 1, what, "name it after the one thing it holds"));
        }
        for (line, code) in source.all_code() {
            for (sign, fix) in PUT_OFF {
                if code.contains(sign) {
                    findings.push(Finding::new(path, line, format!("`{sign}`"), fix));
                }
            }
        }
    }
    findings
}

fn root_entries(scene: &Scene) -> Vec<Finding> {
    let first = |path| str::split(path, '/').next().unwrap_or_default();
    let entries = scene.tree.files().map(|(path, _)| first(path));
    let entries: BTreeSet<&str> = entries.filter(|entry| !entry.starts_with('.')).collect();
    if entries.len() <= MAX_ROOT_ENTRIES {
        return Vec::new();
    }
    let what =
        format!("{} entries in the root folder; {MAX_ROOT_ENTRIES} is the limit", entries.len());
    let fix = "move what need not be there into docs/, xtask/ or .ci/";
    vec![Finding::new("Cargo.toml", 1, what, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(files);
        check(&Scene::new(&tree)).into_iter().map(|f| format!("{}:{}", f.file, f.line)).collect()
    }

    #[test]
    fn put_off_work_is_found_in_code_only() {
        let text = "// todo! later\nfn a() {\n    todo!()\n}\n#[test]\n#[ignore]\nfn b() {}\n";
        assert_eq!(
            whats(&[("crates/a/src/a.rs", text)]),
            ["crates/a/src/a.rs:3", "crates/a/src/a.rs:6"]
        );
    }

    #[test]
    fn vague_names_are_found_for_files_and_folders() {
        assert_eq!(whats(&[("a/src/utils.rs", ""), ("a/common/mod.rs", "")]).len(), 2);
        assert_eq!(whats(&[("a/src/utilisation.rs", "")]).len(), 0);
    }

    #[test]
    fn a_long_file_and_a_crowded_root_are_found() {
        let long = "\n".repeat(MAX_LINES + 1);
        assert_eq!(whats(&[("a.rs", &long)]), ["a.rs:600"]);
        let names: Vec<String> = (0..=MAX_ROOT_ENTRIES).map(|n| format!("f{n}")).collect();
        let crowd: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "")).collect();
        assert_eq!(whats(&crowd), ["Cargo.toml:1"]);
    }
}
