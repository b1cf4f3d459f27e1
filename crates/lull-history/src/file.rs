//! A history as lines of text. `docs/histories.md` describes the format for people who write one.

use crate::{Checker, Fault, Held, Kind, Loss, Op, Outcome, Part, Promise};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;

/// The first line of a history of this format.
pub const HEAD: &str = "lull-history 1";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a variant's doc says what its fields are")]
pub enum Event {
    /// A consumer asks.
    Begin { id: u64, by: u64, op: Op },
    /// It is answered; a read that is done with its content.
    End { id: u64, outcome: Outcome, content: Vec<Held> },
    /// A change of unknown outcome cannot happen any more.
    Settle { id: u64 },
    /// Changes that no flush covered may be lost from here on.
    Lost(Loss),
    /// Nothing is kept for this one any more.
    Forsaken { by: u64 },
}

/// A history that cannot be read, or that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("the history cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A line that says nothing.
    #[error("line {line}: {what}: `{text}`")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
        /// It.
        text: String,
    },
}

/// A fault with its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line of the read's answer, from 1.
    pub line: usize,
    /// Microseconds of that line.
    pub micros: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What a whole history came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Reads that were answered with success, changes, and flushes.
    pub done: [u64; 3],
    /// Requests that were answered with an error or not at all.
    pub not_done: u64,
    /// What is wrong, in the order of the file.
    pub findings: Vec<Finding>,
}

/// The two lines before the events.
pub fn head(promise: Promise, before: Option<u64>) -> String {
    let promise = match promise {
        Promise::Acknowledged => "acknowledged",
        Promise::Retained => "retained",
        Promise::Flushed => "flushed",
    };
    let before = before.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    format!("{HEAD}\npromise {promise} before {before}\n")
}

/// Appends the line of an event that happened `micros` microseconds after the start.
pub fn write(out: &mut String, micros: u64, event: &Event) {
    let durable = |durable| if durable { " durable" } else { "" };
    // Writing to a string does not fail.
    let _ = match event {
        Event::Begin { id, by, op } => {
            let _ = write!(out, "{micros} begin {id} by {by} ");
            match *op {
                Op::Read { first, count } => writeln!(out, "read {first} {count}"),
                Op::Write { first, count, content, durable: by_itself } => {
                    writeln!(out, "write {first} {count} {content}{}", durable(by_itself))
                }
                Op::Zero { first, count, durable: by_itself } => {
                    writeln!(out, "zero {first} {count}{}", durable(by_itself))
                }
                Op::Discard { first, count } => writeln!(out, "discard {first} {count}"),
                Op::Flush => writeln!(out, "flush"),
            }
        }
        Event::End { id, outcome, content } => {
            let outcome = match outcome {
                Outcome::Done => "done",
                Outcome::Failed => "failed",
                Outcome::Unknown => "unknown",
            };
            let _ = write!(out, "{micros} end {id} {outcome}");
            runs(out, content);
            writeln!(out)
        }
        Event::Settle { id } => writeln!(out, "{micros} settle {id}"),
        Event::Forsaken { by } => writeln!(out, "{micros} forsaken {by}"),
        Event::Lost(Loss::Cache) => writeln!(out, "{micros} lost cache"),
        Event::Lost(Loss::Pages) => writeln!(out, "{micros} lost pages"),
    };
}

/// Numbers, `N+K` for `K` that count up from `N`, `N*K` for `K` times `N`; each of the others by itself.
fn runs(out: &mut String, content: &[Held]) {
    let mut rest = content;
    while let [first, ..] = rest {
        let (same, up) = match *first {
            Held::Whole(number) => {
                let is = |held: &Held, number| *held == Held::Whole(number);
                let same = rest.iter().take_while(|held| is(held, number)).count();
                let counts = |(held, at): &(&Held, u64)| {
                    number.checked_add(*at).is_some_and(|number| is(held, number))
                };
                (same, rest.iter().zip(0..).take_while(counts).count())
            }
            Held::Before(_) | Held::Parts(_) | Held::Strange => (1, 1),
        };
        let _ = match (same, up) {
            (1, 1) => write!(out, " {first}"),
            (same, up) if same >= up => write!(out, " {first}*{same}"),
            (_, up) => write!(out, " {first}+{up}"),
        };
        rest = &rest[same.max(up)..];
    }
}

/// Reads a history and judges it.
///
/// # Errors
/// A file that cannot be read, or a line that is none of the format.
pub fn check(from: impl BufRead) -> Result<Verdict, Error> {
    let mut verdict = Verdict::default();
    let mut checker = None;
    let mut under_way = BTreeMap::new();
    each_line(from, |line, at| {
        let (micros, event) = match at {
            Line::Start(promise, before) => {
                checker = Some(Checker::new(promise, before));
                return;
            }
            Line::Event(micros, event) => (micros, event),
        };
        verdict.count(&event, &mut under_way);
        if let Some(checker) = &mut checker
            && let Err(fault) = take(checker, event)
        {
            verdict.findings.push(Finding { line, micros, fault });
        }
    })?;
    verdict.not_done += under_way.len() as u64;
    Ok(verdict)
}

impl Verdict {
    fn count(&mut self, event: &Event, under_way: &mut BTreeMap<u64, Kind>) {
        match event {
            Event::Begin { id, op, .. } => {
                under_way.insert(*id, op.kind());
            }
            Event::End { id, outcome, .. } => match (outcome, under_way.remove(id)) {
                (Outcome::Done, Some(kind)) => self.done[kind as usize] += 1,
                (Outcome::Failed | Outcome::Unknown, Some(_)) => self.not_done += 1,
                (_, None) => {}
            },
            Event::Settle { .. } | Event::Lost(_) | Event::Forsaken { .. } => {}
        }
    }
}

/// What a line says behind the first.
pub(crate) enum Line {
    Start(Promise, Option<u64>),
    Event(u64, Event),
}

/// Reads every line behind the first, with its number.
pub(crate) fn each_line(from: impl BufRead, mut see: impl FnMut(usize, Line)) -> Result<(), Error> {
    for (line, text) in (1..).zip(from.lines()) {
        let text = text?;
        let wrong = |what| Error::Line { line, what, text: text.chars().take(SHOWN).collect() };
        match line {
            1 if text == HEAD => {}
            1 => return Err(wrong("a history begins with `lull-history 1`")),
            2 => {
                let (promise, before) = start(&text).ok_or_else(|| wrong("not a promise"))?;
                see(line, Line::Start(promise, before));
            }
            _ => {
                let (micros, event) = parse(&text).ok_or_else(|| wrong("not an event"))?;
                see(line, Line::Event(micros, event));
            }
        }
    }
    Ok(())
}

/// So much is shown of a line that is none of the format.
const SHOWN: usize = 120;

fn take(checker: &mut Checker, event: Event) -> Result<(), Fault> {
    match event {
        Event::Begin { id, by, op } => checker.begin(id, by, op),
        Event::Forsaken { by } => checker.forsaken(by),
        Event::End { id, outcome, content } => return checker.end(id, outcome, &content),
        Event::Settle { id } => checker.settle(id),
        Event::Lost(loss) => checker.lost(loss),
    }
    Ok(())
}

fn start(text: &str) -> Option<(Promise, Option<u64>)> {
    let words: Vec<&str> = text.split(' ').collect();
    let ["promise", promise, "before", before] = *words else { return None };
    let promise = match promise {
        "acknowledged" => Promise::Acknowledged,
        "retained" => Promise::Retained,
        "flushed" => Promise::Flushed,
        _ => return None,
    };
    let before = if before == "unknown" { None } else { Some(before.parse().ok()?) };
    Some((promise, before))
}

/// The event of a line and its microseconds; `None` where it is none.
pub fn parse(text: &str) -> Option<(u64, Event)> {
    let mut words = text.split(' ');
    let micros = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let event = match *rest {
        ["begin", id, "by", by, ref op @ ..] => {
            Event::Begin { id: number(id)?, by: number(by)?, op: parse_op(op)? }
        }
        ["forsaken", by] => Event::Forsaken { by: number(by)? },
        ["end", id, outcome, ref content @ ..] => {
            let outcome = match outcome {
                "done" => Outcome::Done,
                "failed" => Outcome::Failed,
                "unknown" => Outcome::Unknown,
                _ => return None,
            };
            Event::End { id: number(id)?, outcome, content: parse_runs(content)? }
        }
        ["settle", id] => Event::Settle { id: number(id)? },
        ["lost", "cache"] => Event::Lost(Loss::Cache),
        ["lost", "pages"] => Event::Lost(Loss::Pages),
        _ => return None,
    };
    Some((micros, event))
}

/// The most units of one request: beyond it a line is none of the format.
const MOST_UNITS: u64 = 1 << 24;

/// The most units that one read brings back, since each of them is kept; as above.
const MOST_READ: u64 = 1 << 18;

fn parse_op(words: &[&str]) -> Option<Op> {
    let number = |text: &str| text.parse::<u64>().ok();
    let (words, durable) = match words {
        [rest @ .., "durable"] => (rest, true),
        all => (all, false),
    };
    let op = match *words {
        ["read", first, count] if !durable => {
            Op::Read { first: number(first)?, count: number(count)? }
        }
        ["write", first, count, content] => Op::Write {
            first: number(first)?,
            count: number(count)?,
            content: number(content)?,
            durable,
        },
        ["zero", first, count] => {
            Op::Zero { first: number(first)?, count: number(count)?, durable }
        }
        ["discard", first, count] if !durable => {
            Op::Discard { first: number(first)?, count: number(count)? }
        }
        ["flush"] if !durable => Op::Flush,
        _ => return None,
    };
    let fits = match op {
        Op::Read { first, count }
        | Op::Zero { first, count, .. }
        | Op::Discard { first, count } => count <= MOST_UNITS && first.checked_add(count).is_some(),
        Op::Write { first, count, content, .. } => {
            count <= MOST_UNITS
                && first.checked_add(count).is_some()
                && content.checked_add(count).is_some()
        }
        Op::Flush => true,
    };
    fits.then_some(op)
}

fn parse_runs(words: &[&str]) -> Option<Vec<Held>> {
    let mut content = Vec::new();
    for word in words {
        match word.split_once(['+', '*']) {
            Some((first, count)) => {
                let (first, count) = (first.parse::<u64>().ok()?, count.parse::<u64>().ok()?);
                let step = u64::from(word.contains('+'));
                first.checked_add(count)?;
                if content.len() as u64 + count.min(MOST_UNITS) > MOST_READ {
                    return None;
                }
                content.extend((0..count).map(|at| Held::Whole(first + at * step)));
            }
            None if *word == "?" => content.push(Held::Strange),
            None if *word == "~" || word.contains('/') => {
                content.push(Held::Parts(parse_parts(word)?));
            }
            None if word.starts_with('~') => content.push(Held::Before(word[1..].parse().ok()?)),
            None => content.push(Held::Whole(word.parse().ok()?)),
        }
        if content.len() as u64 > MOST_READ {
            return None;
        }
    }
    Some(content)
}

fn parse_parts(word: &str) -> Option<Vec<Part>> {
    let part = |text: &str| match text {
        "~" => Some(Part::Before),
        number => Some(Part::Number(number.parse().ok()?)),
    };
    word.split('/').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_written() {
        let ops = [
            Op::Read { first: 3, count: 2 },
            Op::Write { first: 0, count: 8, content: 40, durable: true },
            Op::Zero { first: 9, count: 1, durable: false },
            Op::Zero { first: 9, count: 1, durable: true },
            Op::Discard { first: 1, count: 4 },
            Op::Flush,
        ];
        let mut content: Vec<Held> = [5, 6, 7, 0, 0, 0, 9, 9, 1].map(Held::from).into();
        content.push(Held::Parts(vec![Part::Number(8), Part::Before]));
        content.extend([Held::Strange, Held::Before(8), Held::Whole(u64::MAX)]);
        let mut events: Vec<Event> = ops.map(|op| Event::Begin { id: 17, by: 3, op }).into();
        events.extend(
            [Outcome::Done, Outcome::Failed, Outcome::Unknown].map(|outcome| Event::End {
                id: 17,
                outcome,
                content: content.clone(),
            }),
        );
        events.extend([
            Event::Settle { id: 4 },
            Event::Forsaken { by: 3 },
            Event::Lost(Loss::Cache),
            Event::Lost(Loss::Pages),
        ]);
        for event in events {
            let mut text = String::new();
            write(&mut text, 99, &event);
            assert_eq!(parse(text.trim_end()), Some((99, event)), "{text}");
        }
        let mut text = String::new();
        runs(&mut text, &content);
        assert_eq!(text, format!(" 5+3 0*3 9*2 1 8/~ ? ~8 {}", u64::MAX));
    }

    #[test]
    fn a_file_is_judged_line_by_line() {
        let text = "lull-history 1\npromise flushed before 0\n0 begin 1 by 7 write 0 2 10\n5 end 1 done\n\
                    6 begin 2 by 7 flush\n7 end 2 done\n8 lost cache\n9 begin 3 by 7 read 0 2\n9 end 3 done 10 0\n";
        let verdict = check(text.as_bytes()).unwrap();
        assert_eq!((verdict.done, verdict.not_done), ([1, 1, 1], 0));
        let [found] = &*verdict.findings else { panic!("{verdict:?}") };
        assert_eq!((found.line, found.micros, found.fault.unit), (9, 9, 1));
        assert_eq!(found.fault.kind.as_str(), "flushed_lost");
    }

    #[test]
    fn what_is_no_history_is_refused_at_its_line() {
        for (line, text) in [
            (1, "history\n"),
            (2, "lull-history 1\npromise much before 0\n"),
            (3, "lull-history 1\npromise flushed before 0\n1 begin 1 by 7 write 0 2\n"),
            (3, "lull-history 1\npromise flushed before 0\n1 begin 1 by 7 read 0 99999999999\n"),
            (3, "lull-history 1\npromise flushed before 0\n1 end 1 done 5*99999999999\n"),
        ] {
            let error = check(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {line}")), "{error}");
        }
    }
}
