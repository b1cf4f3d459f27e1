//! Who may stand on whom: the table in `docs/architecture.md` against `cargo metadata`.

use super::{MAP_PAGE, page};
use crate::finding::Finding;
use crate::tree::Tree;
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The header of the table that holds the rule.
const RULE: [&str; 3] = ["crate", "may stand on", "crates of others"];

/// What one package asks for.
pub struct Package {
    name: String,
    /// Path of its manifest from the root.
    manifest: String,
    manifest_text: String,
    /// Packages of this workspace, for tests too.
    ours: Vec<String>,
    /// Packages of others, without those that only tests use.
    others: Vec<String>,
}

/// The packages of the workspace. Reads manifests only, so it needs neither network nor lock file.
pub fn packages(tree: &Tree) -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(tree.root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("reading the manifests")?;
    let package = |found: &cargo_metadata::Package| {
        let manifest =
            found.manifest_path.strip_prefix(tree.root()).unwrap_or(&found.manifest_path);
        let (ours, others): (Vec<_>, Vec<_>) =
            found.dependencies.iter().partition(|dependency| dependency.path.is_some());
        let others = others.iter().filter(|d| d.kind != DependencyKind::Development);
        Package {
            name: found.name.to_string(),
            manifest: manifest.to_string(),
            manifest_text: tree.text(manifest.as_str()).unwrap_or_default().to_owned(),
            ours: ours.iter().map(|d| d.name.clone()).collect(),
            others: others.map(|d| d.name.clone()).collect(),
        }
    };
    Ok(metadata.packages.iter().map(package).collect())
}

/// Findings for each dependency that the rule does not grant.
pub fn check(map_page: &str, packages: &[Package]) -> Vec<Finding> {
    let header = format!("| {} |", RULE.join(" | "));
    let Some(rows) = page::table(map_page, &RULE) else {
        let fix = format!("write the dependency rule as a table with the header `{header}`");
        return vec![Finding::new(MAP_PAGE, 1, "no dependency rule", fix)];
    };
    let mut findings = Vec::new();
    for package in packages {
        let Some(row) = rows.iter().find(|row| row.cells[0] == package.name) else {
            let what = format!("`{}` has no row in the dependency rule", package.name);
            let fix = format!("say in {MAP_PAGE}, below `{header}`, what it may stand on");
            findings.push(Finding::new(&package.manifest, 1, what, fix));
            continue;
        };
        let others = row.names(2);
        let anything = others.contains(&"any");
        let refused = package.ours.iter().filter(|name| !row.names(1).contains(&name.as_str()));
        let refused_others =
            package.others.iter().filter(|name| !anything && !others.contains(&name.as_str()));
        for name in refused.chain(refused_others) {
            let what = format!("`{}` may not stand on `{name}`", package.name);
            let fix = format!(
                "move the code to a crate that may ({MAP_PAGE}:{}), or change the rule there with \
                 a page in docs/decisions/",
                row.line
            );
            findings.push(Finding::new(&package.manifest, line_of(package, name), what, fix));
        }
    }
    for row in rows.iter().filter(|row| packages.iter().all(|p| p.name != row.cells[0])) {
        let what = format!("the dependency rule speaks of `{}`, which is not there", row.cells[0]);
        findings.push(Finding::new(MAP_PAGE, row.line, what, "take the row out"));
    }
    findings
}

/// The line of the manifest that asks for `name`.
fn line_of(package: &Package, name: &str) -> usize {
    let asks =
        |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    package.manifest_text.lines().position(asks).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| crate | may stand on | crates of others |\n| --- | --- | --- |\n\
        | `low` | – | `bits` |\n| `high` | `low` | any |\n";

    fn package(name: &str, ours: &[&str], others: &[&str]) -> Package {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Package {
            name: name.to_owned(),
            manifest: format!("crates/{name}/Cargo.toml"),
            manifest_text: "[dependencies]\nhigh.workspace = true\n".to_owned(),
            ours: own(ours),
            others: own(others),
        }
    }

    #[test]
    fn what_the_table_grants_passes() {
        let packages = [package("low", &[], &["bits"]), package("high", &["low"], &["anything"])];
        assert_eq!(check(PAGE, &packages), []);
    }

    #[test]
    fn an_arrow_upwards_is_found_at_its_line() {
        let packages = [package("low", &["high"], &["serde"]), package("high", &[], &[])];
        let findings = check(PAGE, &packages);
        assert_eq!(findings.len(), 2);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("crates/low/Cargo.toml", 2));
        assert!(findings[1].what.contains("`serde`"));
    }

    #[test]
    fn crates_and_rows_must_pair_up() {
        let findings = check(PAGE, &[package("low", &[], &[]), package("new", &[], &[])]);
        assert!(findings[0].what.contains("`new` has no row"));
        assert!(findings[1].what.contains("`high`, which is not there"));
    }
}
