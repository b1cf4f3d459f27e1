//! Every crate is on the map, and the map shows nothing that is not there.

use super::{MAP_PAGE, page};
use crate::finding::Finding;
use crate::tree::Tree;
use std::collections::BTreeSet;

/// The header of the table that is the map.
const MAP: [&str; 2] = ["crate", "what it holds"];

/// Findings for crates without a row and rows without a crate.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let crates: BTreeSet<&str> = tree
        .below("crates/", "/Cargo.toml")
        .filter_map(|(path, _)| path.split('/').nth(1))
        .collect();
    let Some(rows) = tree.text(MAP_PAGE).and_then(|text| page::table(text, &MAP)) else {
        let fix = format!("write it as a table with the header `| {} |`", MAP.join(" | "));
        return vec![Finding::new(MAP_PAGE, 1, "no map of the crates", fix)];
    };
    let is_shown = |name: &str| rows.iter().any(|row| row.cells[0] == name);
    let missing = crates.iter().filter(|name| !is_shown(name)).map(|name| {
        let what = format!("`{name}` is not on the map");
        Finding::new(&format!("crates/{name}/Cargo.toml"), 1, what, format!("add it to {MAP_PAGE}"))
    });
    let stale = rows.iter().filter(|row| !crates.contains(row.cells[0].as_str())).map(|row| {
        let what = format!("the map shows `{}`, which is not there", row.cells[0]);
        Finding::new(MAP_PAGE, row.line, what, "take the row out")
    });
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_off_the_map_and_rows_without_crates_are_found() {
        let page = "| crate | what it holds |\n| --- | --- |\n| `a` | x |\n| `gone` | y |\n";
        let tree =
            Tree::of(&[(MAP_PAGE, page), ("crates/a/Cargo.toml", ""), ("crates/b/Cargo.toml", "")]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].what.contains("`b` is not on the map"));
        assert_eq!(findings[1].line, 4);
    }
}
