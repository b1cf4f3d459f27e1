//! `unsafe` stands in the modules that `docs/architecture.md` lists, and in no other.

use super::{MAP_PAGE, Scene, page};
use crate::finding::Finding;
use crate::rust_source::has_word;

/// The header of the list of modules.
const LIST: [&str; 2] = ["unsafe module", "why it cannot be avoided"];

/// Findings for unsafe code off the list, and for list entries that no longer need to be there.
pub fn check(scene: &Scene) -> Vec<Finding> {
    let page = scene.tree.text(MAP_PAGE).unwrap_or_default();
    let rows = page::table(page, &LIST).unwrap_or_default();
    let mut findings = Vec::new();
    for (path, source) in &scene.rust {
        let mut uses = source.all_code().filter(|(_, code)| has_word(code, "unsafe"));
        let listed = rows.iter().find(|row| row.cells[0] == *path);
        match (uses.next(), listed) {
            (Some((line, _)), None) => {
                let header = LIST.join(" | ");
                let fix = format!(
                    "do it without, or move it to a module listed in {MAP_PAGE} \
                    below `| {header} |`"
                );
                findings.push(Finding::new(path, line, "`unsafe` in a module off the list", fix));
            }
            (None, Some(row)) => {
                let what = format!("{path} is listed as unsafe and is not");
                findings.push(Finding::new(MAP_PAGE, row.line, what, "take the row out"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    for row in rows.iter().filter(|row| !scene.rust.contains_key(row.cells[0].as_str())) {
        let what = format!("the list of unsafe modules names {}, which is not there", row.cells[0]);
        findings.push(Finding::new(MAP_PAGE, row.line, what, "take the row out"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_list_and_the_code_must_agree() {
        let page = "| unsafe module | why it cannot be avoided |\n| --- | --- |\n\
            | `a/ok.rs` | x |\n| `a/safe.rs` | x |\n| `a/gone.rs` | x |\n";
        let tree = Tree::of(&[
            (MAP_PAGE, page),
            ("a/ok.rs", "unsafe { f() }"),
            ("a/safe.rs", "#![forbid(unsafe_code)] // no unsafe"),
            ("a/bad.rs", "fn a() {}\nunsafe impl Send for X {}"),
        ]);
        let found = check(&Scene::new(&tree));
        let places: Vec<_> = found.iter().map(|f| (f.file.as_str(), f.line)).collect();
        assert_eq!(places, [("a/bad.rs", 2), (MAP_PAGE, 4), (MAP_PAGE, 5)]);
    }
}
