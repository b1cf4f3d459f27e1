//! Text that means nothing to a reader elsewhere: places on one machine, registries, tickets.

use crate::finding::Finding;
use crate::tree::Tree;

/// Hosts of package registries and mirrors, in pieces so that this file names none.
const REGISTRIES: [&[&str]; 7] = [
    &["crates", "io"],
    &["npmjs", "org"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["debian", "org"],
    &["proxy", "golang", "org"],
    &["rust-lang", "org"],
];

/// A folder at the root of one particular machine, in pieces for the same reason.
const PLACES: [&[&str]; 2] = [&["", "work", ""], &["", "root", ""]];

/// Findings for such words in any text file but the lock file, which cargo writes.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let registries = REGISTRIES.map(|pieces| pieces.join("."));
    let places = PLACES.map(|pieces| pieces.join("/"));
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (at, line) in text.lines().enumerate() {
            let mut found =
                |what: String, fix| findings.push(Finding::new(path, at + 1, what, fix));
            for host in registries.iter().filter(|host| line.contains(*host)) {
                found(
                    format!("names the registry `{host}`"),
                    "say what to install, not from where",
                );
            }
            for place in places.iter().filter(|place| names_place(line, place)) {
                found(format!("names `{place}`"), "use a path from the root of the repository");
            }
            if let Some(ticket) = ticket(line) {
                found(format!("names a ticket: `{ticket}`"), "say what it was about");
            }
        }
    }
    findings
}

/// Whether `place` begins a path on this line, rather than being the middle of one.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-/}\")".contains(c))
    })
}

/// The number of a ticket, with or without a hash, behind the word that trackers use for one.
fn ticket(line: &str) -> Option<String> {
    let lower = line.to_lowercase();
    lower.match_indices("issue").find_map(|(at, _)| {
        let rest = lower[at + "issue".len()..].trim_start_matches('s');
        let number = rest.trim_start_matches([' ', '#']);
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        (rest.len() > number.len() && !digits.is_empty()).then(|| format!("issue {digits}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_registries_and_tickets_are_found() {
        let place = PLACES[0].join("/");
        let host = REGISTRIES[0].join(".");
        let ticket = ["Issue", "#12"].join(" ");
        let text = format!("see {place}main\nfrom {host}\nas {ticket} says\nfine\n");
        let tree = Tree::of(&[("docs/a.md", &text), ("Cargo.lock", &text)]);
        let lines: Vec<_> = check(&tree).iter().map(|f| (f.file.clone(), f.line)).collect();
        assert_eq!(lines, [1, 2, 3].map(|line| ("docs/a.md".to_owned(), line)));
    }

    #[test]
    fn ordinary_text_passes() {
        let text = "net/work/x, issues a request, 3 issues, reissue\n\"{dir}/work/file\"\n";
        assert_eq!(check(&Tree::of(&[("a.rs", text)])), []);
    }
}
