//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, as a sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the file.
    pub span: Range<usize>,
    /// What to do about it.
    pub help: String,
}

impl Problem {
    pub fn new(span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: help.into() }
    }
}

/// Everything that is wrong with one file.
#[derive(Debug)]
pub struct ConfigError {
    name: String,
    text: String,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// A file that cannot be read.
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let help = "give the path of a readable file of TOML";
        let message = format!("cannot be read: {error}");
        let problems = vec![Problem::new(0..0, message, help)];
        Self { name: path.display().to_string(), text: String::new(), problems }
    }

    /// A text that is no TOML, or not of our shape.
    pub fn of_toml(name: &str, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim_end().replace('\n', "; ");
        let problem = Problem::new(span, message.clone(), toml_help(&message));
        Self { name: name.to_owned(), text: text.to_owned(), problems: vec![problem] }
    }

    /// A text of the right shape with wrong contents.
    pub fn of_problems(name: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), problems }
    }

    /// The first problem in one line: where, what, and what to do; and how many more there are.
    pub fn line(&self) -> String {
        let Some(first) = self.problems.first() else { return self.name.clone() };
        let before = self.text.get(..first.span.start).unwrap_or_default();
        let place = match self.text.is_empty() {
            true => String::new(),
            false => format!(":{}", before.matches('\n').count() + 1),
        };
        let more = match self.problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more: `lull check` shows all)"),
        };
        format!("{}{place}: {}; {}{more}", self.name, first.message, first.help)
    }

    fn report(&self, problem: &Problem) -> Report {
        if self.text.is_empty() {
            // There is no line to show, so the file is named in words.
            let message = format!("{}: {}", self.name, problem.message);
            return Report::new(MietteDiagnostic::new(message).with_help(problem.help.clone()));
        }
        let mut diagnostic =
            MietteDiagnostic::new(problem.message.clone()).with_help(problem.help.clone());
        diagnostic = diagnostic.with_label(LabeledSpan::underline(problem.span.clone()));
        Report::new(diagnostic).with_source_code(NamedSource::new(&self.name, self.text.clone()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_width(100)
            .with_links(false);
        for problem in &self.problems {
            handler.render_report(f, self.report(problem).as_ref())?;
        }
        Ok(())
    }
}

/// Words that differ in more letters than this are no slips of each other.
const SLIP: usize = 2;

fn toml_help(message: &str) -> String {
    if message.starts_with("unknown field") {
        return match meant(message) {
            Some(key) => format!("did you mean `{key}`?"),
            None => {
                "keys have the names of the flags; `lull target --help` and `lull attach --help` \
                     explain them"
                    .to_owned()
            }
        };
    }
    let help = if message.contains("expected a string") {
        "write it in quotes: addresses, paths, spans (\"30s\") and sizes are strings"
    } else if message.contains("expected a boolean") {
        "write true or false, without quotes"
    } else if message.starts_with("invalid type: map, expected a sequence") {
        "there may be several: write its name in double brackets, [[resource]] or [[attachment]]"
    } else if message.contains("expected a sequence") {
        "there may be several: write them in brackets, [\"unix:/path\"]"
    } else if message.starts_with("duplicate key") {
        "keep one of the two"
    } else if message.starts_with("missing field") {
        "add the key; `lull init` shows every one"
    } else {
        "`lull init` prints a complete example"
    };
    help.to_owned()
}

/// The key that was most likely meant by one that does not exist; `message` names it first and then those that do.
fn meant(message: &str) -> Option<&str> {
    let mut words = message.split('`').skip(1).step_by(2);
    let typed = words.next()?;
    let distance = |key: &&str| strsim::damerau_levenshtein(typed, key);
    words.min_by_key(distance).filter(|key| distance(key) <= SLIP)
}
