//! `cargo xtask spec`: each rule of the specification beside the code that keeps it and the test
//! that fails without it; and the specification's table of messages beside the codec's.

mod messages;
mod rules;

use crate::finding::{self, Finding};
use crate::rust_source::{RustSource, TestFiles};
use crate::tree::Tree;
use anyhow::Result;
use rules::{Ledger, Place};
use std::fmt::Write as _;
use std::io::Write as _;

/// Where the specification lies.
const PAGES: &str = "docs/spec/";

/// Crates that keep no rule and look after all of them: what they say of one is a test of it.
const JUDGES: [&str; 2] = ["crates/lull-sim/", "crates/lull-history/"];

/// What `cargo xtask spec` was asked for.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Show every place of this rule (`PAUSE-3`) and nothing else
    rule: Option<String>,
    /// Write the generated section of the message page anew
    #[arg(long)]
    write: bool,
}

/// Prints the columns and checks them. True if there is no hole.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    if args.write {
        messages::write(tree)?;
        return Ok(true);
    }
    let ledger = ledger(tree);
    if let Some(rule) = &args.rule {
        return Ok(show_one(&ledger, rule.trim_matches(['[', ']'])));
    }
    print_columns(&ledger);
    let mut findings = ledger.holes();
    findings.extend(messages::check(tree));
    if tree.below(PAGES, ".md").next().is_none() {
        let fix = "write the specification: pages with lines that begin with a rule's name";
        findings.push(Finding::new(PAGES, 1, "no specification", fix));
    }
    let checked = format!("{} rules", ledger.rules().count());
    Ok(finding::report("spec", &checked, findings))
}

/// Reads all pages and all Rust files of the crates.
fn ledger(tree: &Tree) -> Ledger {
    let mut ledger = Ledger::default();
    for (path, text) in tree.below(PAGES, ".md") {
        ledger.read_page(path, text);
    }
    let tests = TestFiles::of(tree);
    for (path, text) in tree.below("crates/", ".rs") {
        let is_test = tests.contains(path) || JUDGES.iter().any(|judge| path.starts_with(judge));
        ledger.read_rust(path, &RustSource::new(text), is_test);
    }
    ledger
}

fn print_columns(ledger: &Ledger) {
    let rows: Vec<[String; 3]> = ledger
        .rules()
        .map(|(name, rule)| {
            let mark = if rule.is_ahead { " (not yet kept)" } else { "" };
            [format!("{name}{mark}"), first_of(&rule.code), first_of(&rule.tests)]
        })
        .collect();
    let head = ["rule", "code", "test"].map(str::to_owned);
    let width = |column: usize| {
        rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1)];
    let mut text = String::new();
    for [rule, code, test] in [&head].into_iter().chain(&rows) {
        let _ = writeln!(text, "{rule:w0$}  {code:w1$}  {test}", w0 = widths[0], w1 = widths[1]);
    }
    // A reader that has seen enough (`| head`) is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn first_of(places: &[Place]) -> String {
    match places {
        [] => "–".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (+{})", rest.len()),
    }
}

fn show_one(ledger: &Ledger, name: &str) -> bool {
    let Some((_, rule)) = ledger.rules().find(|(found, _)| *found == name) else {
        eprintln!("no page, no code and no test names the rule {name}");
        return false;
    };
    for (column, places) in [("spec", &rule.pages), ("code", &rule.code), ("test", &rule.tests)] {
        for place in places {
            println!("{column}  {place}");
        }
    }
    true
}
