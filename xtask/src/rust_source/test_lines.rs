//! Which lines of a file are tests.

use super::RustSource;
use crate::tree::Tree;
use std::collections::BTreeSet;

/// Marks the lines of test items, with the comments and attributes directly above them.
pub fn mark(code: &[String], comments: &[String]) -> Vec<bool> {
    let mut marks = vec![false; code.len()];
    if code.iter().any(|line| line.trim() == "#![cfg(test)]") {
        marks.fill(true);
        return marks;
    }
    for first in 0..code.len() {
        if !marks[first] && opens_test(&code[first]) {
            let above =
                (0..first).rev().take_while(|at| belongs_to_next(&code[*at], &comments[*at]));
            let start = above.last().unwrap_or(first);
            let end = item_end(code, first);
            marks[start..=end].fill(true);
        }
    }
    marks
}

/// Whether an attribute that makes its item a test starts on this line.
fn opens_test(line: &str) -> bool {
    let Some(attribute) = line.trim().strip_prefix("#[") else { return false };
    let path = attribute.split(['(', ']', ' ']).next().unwrap_or_default();
    match path {
        "cfg" => attribute.starts_with("cfg(test)") || attribute.starts_with("cfg(all(test"),
        _ => path == "test" || path.ends_with("::test"),
    }
}

/// A line of nothing but a comment or an attribute: it speaks of what follows it.
fn belongs_to_next(code: &str, comment: &str) -> bool {
    let code = code.trim();
    let comment = comment.trim();
    let inner = comment.starts_with("//!") || code.starts_with("#![");
    !inner && (code.starts_with("#[") || (code.is_empty() && !comment.is_empty()))
}

/// The last line of the item whose attribute stands on line `first`.
fn item_end(code: &[String], first: usize) -> usize {
    let mut depth = 0usize;
    let mut in_body = false;
    for (at, line) in code.iter().enumerate().skip(first) {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => {
                    in_body |= c == '{' && depth == 0;
                    depth += 1;
                }
                '}' | ')' | ']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && in_body {
                        return at;
                    }
                }
                ';' if depth == 0 => return at,
                _ => {}
            }
        }
    }
    code.len().saturating_sub(1)
}

/// The files that consist of tests only.
pub struct TestFiles {
    /// Files, or folders with a closing `/`.
    declared: BTreeSet<String>,
}

impl TestFiles {
    /// Finds the modules that are declared `#[cfg(test)] mod NAME;` elsewhere.
    pub fn of(tree: &Tree) -> Self {
        let mut declared = BTreeSet::new();
        for (path, text) in tree.below("", ".rs") {
            let source = RustSource::new(text);
            for (line, _) in source.code.iter().zip(&source.is_test).filter(|(_, test)| **test) {
                let Some(name) = line.trim().strip_suffix(';') else { continue };
                let name = name.rsplit("] ").next().unwrap_or(name).trim_start_matches("pub ");
                let name = name.trim_start_matches("pub(crate) ");
                if let Some(name) = name.strip_prefix("mod ") {
                    let folder = module_folder(path);
                    declared.insert(format!("{folder}{name}.rs"));
                    declared.insert(format!("{folder}{name}/"));
                }
            }
        }
        Self { declared }
    }

    /// Whether all of `path` is test code: integration tests, the end-to-end crate, test modules.
    pub fn contains(&self, path: &str) -> bool {
        path.starts_with("crates/lull-e2e/")
            || path.contains("/tests/")
            || self.declared.contains(path)
            || self.declared.iter().any(|folder| folder.ends_with('/') && path.starts_with(folder))
    }
}

/// The folder in which the modules declared by `path` lie, with a closing `/`.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/"),
        _ => format!("{folder}/{}/", file.trim_end_matches(".rs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_function_takes_its_comment_with_it() {
        let text = "fn a() {}\n\n/// [X-1] claim\n#[test]\nfn t() {\n    a();\n}\nfn b() {}";
        let source = RustSource::new(text);
        assert_eq!(source.is_test, [false, false, true, true, true, true, true, false]);
    }

    #[test]
    fn a_test_module_ends_where_its_braces_do() {
        let text = "#[cfg(test)]\nmod tests {\n    fn a() { b([1; 2]) }\n}\nfn c() {}";
        assert_eq!(RustSource::new(text).is_test, [true, true, true, true, false]);
    }

    #[test]
    fn an_attribute_with_arguments_opens_a_test() {
        let text = "#[tokio::test(flavor = \"x\")]\nasync fn a() {}\n#[cfg(not(test))]\nfn b() {}";
        assert_eq!(RustSource::new(text).is_test, [true, true, false, false]);
    }

    #[test]
    fn a_module_declared_for_tests_makes_its_file_a_test() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "#[cfg(test)]\nmod pair;\nmod other;"),
            ("crates/a/src/other.rs", "#[cfg(test)]\nmod deep;"),
        ]);
        let tests = TestFiles::of(&tree);
        assert!(tests.contains("crates/a/src/pair.rs"));
        assert!(tests.contains("crates/a/src/pair/more.rs"));
        assert!(tests.contains("crates/a/src/other/deep.rs"));
        assert!(!tests.contains("crates/a/src/other.rs"));
    }
}
