//! The section of `docs/spec/messages.md` that is written from the codec's own table.

use crate::finding::Finding;
use crate::tree::Tree;
use anyhow::{Context, Result};
use lull_wire::field::Field;
use lull_wire::{
    Access, DisconnectCode, ExtentState, Features, FieldInfo, MessageInfo, OpCode, Payload,
    RefusalCode, RequestFlags, Retry, Sender, StatusCode, TABLE,
};
use std::fmt::Write as _;

const PAGE: &str = "docs/spec/messages.md";
const BEGIN: &str = "<!-- from lull-wire's table by `cargo xtask spec --write`: begin -->";
const END: &str = "<!-- from lull-wire's table by `cargo xtask spec --write`: end -->";

/// Whether the page says what the codec does. No page, no finding: the rules' check speaks of that.
pub fn check(tree: &Tree) -> Option<Finding> {
    let text = tree.text(PAGE)?;
    let fix = "run `cargo xtask spec --write` and read what it changed";
    let Some((before, section, _)) = cut(text) else {
        let what = "no section that is written from lull-wire's table";
        return Some(Finding::new(PAGE, 1, what, fix));
    };
    let wanted = section_text();
    if section.trim() == wanted.trim() {
        return None;
    }
    let same =
        section.trim().lines().zip(wanted.trim().lines()).take_while(|(a, b)| a == b).count();
    // The section begins behind the mark, on the line of the mark.
    let first = before.lines().count();
    let at = first + section.lines().take_while(|line| line.trim().is_empty()).count() + same;
    Some(Finding::new(PAGE, at, "not what lull-wire's table says", fix))
}

/// Writes the section anew, at the end of the page if it had none.
pub fn write(tree: &Tree) -> Result<()> {
    let old = tree.text(PAGE).unwrap_or("# Messages\n");
    let (before, after) = match cut(old) {
        Some((before, _, after)) => (before.to_owned(), after),
        None => (format!("{}\n\n{BEGIN}", old.trim_end()), "\n"),
    };
    let after = if after.trim().is_empty() { format!("{END}\n") } else { after.to_owned() };
    let new = format!("{before}\n\n{}\n\n{after}", section_text().trim());
    let path = tree.root().join(PAGE);
    std::fs::create_dir_all(path.parent().context("the page lies in a folder")?)?;
    std::fs::write(&path, new).with_context(|| format!("writing {PAGE}"))?;
    eprintln!("spec: {PAGE} written");
    Ok(())
}

/// The page up to and with the opening mark, the section, the rest from the closing mark on.
fn cut(page: &str) -> Option<(&str, &str, &str)> {
    let begin = page.find(BEGIN)? + BEGIN.len();
    let end = begin + page[begin..].find(END)?;
    Some((&page[..begin], &page[begin..end], &page[end..]))
}

fn section_text() -> String {
    let mut out = String::from("## All messages\n\n");
    out += "| number | message | sent by | bytes of body | payload | since |\n";
    out += "| --- | --- | --- | --- | --- | --- |\n";
    for message in TABLE {
        let number = message.kind.number();
        let body = span(message.min_body, message.max_body);
        let (name, from) = (message.name, sender(message.from));
        let (payload, since) = (payload(message.payload), message.since);
        let _ =
            writeln!(out, "| `0x{number:02x}` | {name} | {from} | {body} | {payload} | {since} |");
    }
    for message in TABLE {
        describe(message, &mut out);
    }
    out += "\n## Numbers with names\n";
    for (name, bytes, rows) in codes() {
        let _ = write!(out, "\n### {name}\n\nBytes: {bytes}.\n\n");
        out += "| number | meaning | since |\n| --- | --- | --- |\n";
        for (number, meaning, since) in rows {
            let _ = writeln!(out, "| {number} | {meaning} | {since} |");
        }
    }
    out += "\n## Sets of bits\n";
    let requests = ("RequestFlags", RequestFlags::MAX, RequestFlags::ALL);
    let features = ("Features", Features::MAX, Features::ALL);
    let extents = ("ExtentState", ExtentState::MAX, ExtentState::ALL);
    for (name, bytes, bits) in [requests, features, extents] {
        let _ = write!(out, "\n### {name}\n\nBytes: {bytes}. Bit 0 is worth 1.\n\n");
        out += "| bit | meaning | since |\n| --- | --- | --- |\n";
        for (meaning, bit, since) in bits {
            let _ = writeln!(out, "| {bit} | {meaning} | {since} |");
        }
    }
    out
}

fn describe(message: &MessageInfo, out: &mut String) {
    let number = message.kind.number();
    let _ = write!(out, "\n### {} `0x{number:02x}`\n\n{}\n\n", message.name, prose(message.doc));
    *out += "| at | field | type | bytes | meaning |\n| --- | --- | --- | --- | --- |\n";
    let mut at = Some(0);
    for field in message.fields {
        let FieldInfo { name, type_name, size: (min, max), doc } = field;
        let place = at.map_or("–".to_owned(), |at: usize| at.to_string());
        let (bytes, doc) = (span(*min, *max), prose(doc));
        let _ = writeln!(out, "| {place} | `{name}` | `{type_name}` | {bytes} | {doc} |");
        at = at.filter(|_| min == max).map(|at| at + min);
    }
    let known: usize = message.fields.iter().map(|field| field.size.1).sum();
    if message.max_body > known {
        let more = message.max_body - known;
        let _ = writeln!(out, "\nUp to {more} bytes of later versions may follow; pass over them.");
    }
}

/// Name, bytes on the wire, and each number with its meaning and first version.
type Codes = (&'static str, usize, Vec<(u64, &'static str, u16)>);

fn codes() -> Vec<Codes> {
    macro_rules! rows {
        ($($name:ident),*) => {
            vec![$((
                stringify!($name),
                <$name as Field>::MAX,
                $name::ALL
                    .iter()
                    .map(|(code, number, text)| (*number, *text, code.since()))
                    .collect(),
            )),*]
        };
    }
    rows!(Access, OpCode, StatusCode, RefusalCode, Retry, DisconnectCode)
}

fn span(min: usize, max: usize) -> String {
    if min == max { min.to_string() } else { format!("{min}–{max}") }
}

fn sender(from: Sender) -> &'static str {
    match from {
        Sender::Initiator => "initiator",
        Sender::Target => "target",
        Sender::Both => "both",
    }
}

fn payload(payload: Payload) -> &'static str {
    match payload {
        Payload::None => "–",
        Payload::Data => "data",
    }
}

/// A comment of the code as text of a page: no links into the code, no bars that would end a cell.
fn prose(doc: &str) -> String {
    let mut out = String::new();
    let mut rest = doc.trim();
    while let Some((before, after)) = rest.split_once("](") {
        out += &before.replacen("[`", "`", 1);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    (out + rest).replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_written_from_the_table_passes_and_a_changed_one_does_not() {
        let page = format!("# M\n\n{BEGIN}\n\n{}\n\n{END}\n", section_text().trim());
        assert_eq!(check(&Tree::of(&[(PAGE, &page)])), None);
        let changed = page.replacen("| `0x01` |", "| `0x77` |", 1);
        let line = page.lines().position(|line| line.contains("`0x01`")).unwrap() + 1;
        assert_eq!(check(&Tree::of(&[(PAGE, &changed)])).unwrap().line, line);
    }

    #[test]
    fn every_message_and_field_is_shown() {
        let text = section_text();
        for message in TABLE {
            assert!(text.contains(&format!("### {} `0x", message.name)));
            for field in message.fields {
                assert!(text.contains(&format!("`{}`", field.name)));
            }
        }
    }

    #[test]
    fn links_into_the_code_become_plain_words() {
        assert_eq!(prose(" a [`X`](crate::X) and [`Y`], b|c "), "a `X` and `Y`, b\\|c");
    }
}
