//! Names of rules in pages, code and tests, and the holes between them.

use super::PAGES;
use crate::finding::Finding;
use crate::rust_source::RustSource;
use std::collections::BTreeMap;
use std::fmt;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: String,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where one rule appears.
#[derive(Debug, Default)]
pub struct Rule {
    /// Lines of the specification that state it; one, if all is well.
    pub pages: Vec<Place>,
    /// Whether the specification says that this release does not keep it yet.
    pub is_ahead: bool,
    /// Lines of the specification that refer to it.
    mentions: Vec<Place>,
    /// Comments beside code.
    pub code: Vec<Place>,
    /// Comments in tests.
    pub tests: Vec<Place>,
}

/// What stands behind a rule's name on its page as long as the release does not keep all of it.
const AHEAD: &str = "(not yet kept)";

/// All rules by name.
#[derive(Debug, Default)]
pub struct Ledger {
    rules: BTreeMap<(String, u32), (String, Rule)>,
}

impl Ledger {
    /// Rules in the order of their names, numbers as numbers.
    pub fn rules(&self) -> impl Iterator<Item = (&String, &Rule)> {
        self.rules.values().map(|(name, rule)| (name, rule))
    }

    fn rule(&mut self, name: &str) -> &mut Rule {
        let (family, number) = name.rsplit_once('-').unwrap_or((name, "0"));
        let key = (family.to_owned(), number.parse().unwrap_or(0));
        &mut self.rules.entry(key).or_insert_with(|| (name.to_owned(), Rule::default())).1
    }

    /// Takes in a page: a line that begins with a name states the rule, any other refers to it.
    /// Fenced blocks only refer.
    pub fn read_page(&mut self, path: &str, text: &str) {
        let mut fenced = false;
        for (at, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            let begins = line.trim_start_matches(|c: char| " *-#|>`".contains(c)).starts_with('[');
            for (nth, name) in names(line).into_iter().enumerate() {
                let place = Place { file: path.to_owned(), line: at + 1 };
                let rule = self.rule(&name);
                if begins && nth == 0 && !fenced {
                    rule.is_ahead = after_name(line).starts_with(AHEAD);
                    rule.pages.push(place);
                } else {
                    rule.mentions.push(place);
                }
            }
        }
    }

    /// Takes in the comments of a Rust file.
    pub fn read_rust(&mut self, path: &str, source: &RustSource, all_test: bool) {
        for (at, (comment, test)) in source.comments.iter().zip(&source.is_test).enumerate() {
            for name in names(comment) {
                let place = Place { file: path.to_owned(), line: at + 1 };
                let rule = self.rule(&name);
                let column = if all_test || *test { &mut rule.tests } else { &mut rule.code };
                column.push(place);
            }
        }
    }

    /// What is missing in one column and named in another.
    pub fn holes(&self) -> Vec<Finding> {
        self.rules().flat_map(|(name, rule)| holes_of(name, rule)).collect()
    }
}

fn holes_of(name: &str, rule: &Rule) -> Vec<Finding> {
    let at =
        |place: &Place, what: String, fix: String| Finding::new(&place.file, place.line, what, fix);
    let mut holes = Vec::new();
    let Some(stated) = rule.pages.first() else {
        for place in rule.mentions.iter().chain(&rule.code).chain(&rule.tests) {
            let fix = format!(
                "state it on a page of {PAGES} (a line that begins with [{name}]), \
                or write the name without brackets where it is not kept yet"
            );
            holes.push(at(place, format!("[{name}] is stated nowhere"), fix));
        }
        return holes;
    };
    for again in &rule.pages[1..] {
        let fix = format!("state it once, refer to it elsewhere ({stated} states it)");
        holes.push(at(again, format!("[{name}] is stated twice"), fix));
    }
    if rule.is_ahead {
        return holes;
    }
    if rule.code.is_empty() {
        let fix = format!("write [{name}] in a comment beside the code that keeps it");
        holes.push(at(stated, format!("[{name}] is kept by no code"), fix));
    }
    if rule.tests.is_empty() {
        let fix = format!("write a test that fails without it, [{name}] in its first line");
        holes.push(at(stated, format!("[{name}] has no test"), fix));
    }
    holes
}

/// What a stating line says behind the rule's name.
fn after_name(line: &str) -> &str {
    line.split_once(']').map_or("", |(_, rest)| rest.trim_start_matches([' ', '*', '`']))
}

/// The rules that a text names: `[PAUSE-3]`, `[SAFE-1, SAFE-2]`.
fn names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('[') {
        let Some((inside, _)) = after.split_once(']') else { break };
        let list: Vec<&str> = inside.split(',').map(str::trim).collect();
        if list.iter().all(|name| is_name(name)) {
            found.extend(list.into_iter().map(str::to_owned));
        }
        rest = after;
    }
    found
}

fn is_name(text: &str) -> bool {
    text.split_once('-').is_some_and(|(family, number)| {
        family.len() > 1
            && family.chars().all(|c| c.is_ascii_uppercase())
            && !number.is_empty()
            && number.chars().all(|c| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(page: &str, rust: &str) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.read_page("docs/spec/p.md", page);
        ledger.read_rust("crates/a/src/a.rs", &RustSource::new(rust), false);
        ledger
    }

    #[test]
    fn names_are_told_from_other_brackets() {
        let text =
            "a[0] [PAUSE-3] [SAFE-1, SAFE-2](x) [UTF-8x] [Pause-3] [see PAUSE-4] [[TIMER-10]";
        assert_eq!(names(text), ["PAUSE-3", "SAFE-1", "SAFE-2", "TIMER-10"]);
    }

    #[test]
    fn a_rule_with_code_and_test_has_no_hole() {
        let rust = "// [PAUSE-3] why\nfn a() {}\n/// [PAUSE-3]\n#[test]\nfn t() {}\n";
        let ledger = ledger("* [PAUSE-3] It waits (as in [PAUSE-3]).\n", rust);
        assert_eq!(ledger.holes(), []);
        let (_, rule) = ledger.rules().next().unwrap();
        assert_eq!((rule.code[0].line, rule.tests[0].line), (1, 3));
    }

    #[test]
    fn a_rule_without_code_or_test_is_a_hole_on_its_page() {
        let holes = ledger("\n* [CONN-1] It dials.\n", "").holes();
        assert_eq!(holes.len(), 2);
        assert!(holes.iter().all(|hole| hole.line == 2));
    }

    #[test]
    fn a_rule_that_no_page_states_is_a_hole_wherever_it_is_named() {
        let holes = ledger("as [CONN-9] says\n", "// [CONN-9]\n").holes();
        assert_eq!(holes.len(), 2);
        assert!(holes[0].what.contains("stated nowhere"));
    }

    #[test]
    fn a_rule_that_is_not_yet_kept_may_lack_code_and_test() {
        let page = "* **[SAFE-1]** (not yet kept) Retain.\n* [SAFE-2] Replay.\n";
        let holes = ledger(page, "// [SAFE-1] its place\n").holes();
        assert!(holes.len() == 2 && holes.iter().all(|hole| hole.line == 2), "{holes:?}");
    }

    #[test]
    fn a_string_in_code_names_no_rule() {
        assert!(ledger("", "const A: &str = \"[CONN-1]\";").rules().next().is_none());
    }

    #[test]
    fn rules_are_in_the_order_of_their_numbers() {
        let ledger = ledger("* [PAUSE-10] a\n* [PAUSE-9] b\n", "");
        let order: Vec<_> = ledger.rules().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["PAUSE-9", "PAUSE-10"]);
    }
}
