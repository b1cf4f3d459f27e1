//! Links between pages lead somewhere.

use crate::finding::Finding;
use crate::tree::Tree;

/// Findings for each relative link of a Markdown page to a file or folder that is not there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.below("", ".md") {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, line) in text.lines().enumerate() {
            for link in links(line) {
                let target = resolve(folder, link);
                let is_there = tree.files().any(|(file, _)| {
                    file.strip_prefix(&target).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with('/') || target.is_empty()
                    })
                });
                if !is_there {
                    let what = format!("the link `{link}` leads nowhere");
                    let fix = format!("write {target}, or mend the link");
                    findings.push(Finding::new(path, at + 1, what, fix));
                }
            }
        }
    }
    findings
}

/// The relative links of a line, without the part of the page that they point at.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let link = rest.split_once(')')?.0;
        let page = link.split('#').next().unwrap_or(link);
        (!page.is_empty() && !page.contains(':')).then_some(page)
    })
}

/// A path from the root of the repository, without `.`, `..` and a closing `/`.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_and_folders_are_followed_from_their_page() {
        let page = "[a](../README.md) [b](spec/) [c](#here) [d](https://example.com/x) \
            [e](deep/a.md#there)\n[f](gone.md)\n[g](spe)\n";
        let tree = Tree::of(&[
            ("README.md", "[docs](docs/a.md)"),
            ("docs/a.md", page),
            ("docs/deep/a.md", ""),
            ("docs/spec/b.md", ""),
        ]);
        let lines: Vec<_> = check(&tree).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3]);
    }
}
