//! How a restart is shown while it runs: a live table on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Stderr, Write as _};
use std::time::Duration;

use lull_admin::{Event, Question, RestartPhase, RowPhase, Wait};

use crate::output::{RestartView, Screen, Zone, event_line, question_lines, size_of};

/// One of the two; both write to standard error.
pub enum Face {
    /// A table that is drawn over again.
    Live(Box<Live>),
    /// One line per transition.
    Plain(Zone),
}

/// The table and what it shows.
pub struct Live {
    screen: Screen<Stderr>,
    view: Option<RestartView>,
    /// While a question stands, nothing is drawn over the answer that is being typed.
    asking: bool,
    /// What the answer is typed behind.
    prompt: String,
}

impl Face {
    /// The table where standard error is a terminal.
    pub fn choose() -> Self {
        if io::stderr().is_terminal() {
            let screen = Screen::new(io::stderr());
            Self::Live(Box::new(Live { screen, view: None, asking: false, prompt: String::new() }))
        } else {
            Self::Plain(Zone::local())
        }
    }

    /// A transition has happened.
    pub fn transition(&mut self, event: &Event) -> io::Result<()> {
        match self {
            Self::Live(_) => Ok(()),
            Self::Plain(zone) => writeln!(io::stderr(), "{}", event_line(event, zone)),
        }
    }

    /// The state is known anew.
    pub fn state(&mut self, view: RestartView) -> io::Result<()> {
        match self {
            Self::Live(live) => {
                live.view = Some(view);
                live.draw()
            }
            Self::Plain(_) => Ok(()),
        }
    }

    /// Nobody serves; why, where that is known.
    pub fn away(&mut self, lasted: Duration, why: Option<&str>) -> io::Result<()> {
        if let Self::Live(live) = self
            && let Some(view) = &mut live.view
        {
            let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
            view.away = Some((lasted_ms, why.map(str::to_owned)));
            return live.draw();
        }
        Ok(())
    }

    /// It is down at `at`, a time of its clock, while a command runs; it knows nothing of its initiators meanwhile.
    pub fn waits(&mut self, at: u64, wait: Wait) -> io::Result<()> {
        if let Self::Live(live) = self
            && let Some(view) = &mut live.view
        {
            view.at = at;
            view.away = None;
            view.restart.phase = RestartPhase::Down;
            view.restart.phase_since = wait.since;
            view.restart.deadline = None;
            view.restart.waits = vec![wait];
            for row in &mut view.restart.rows {
                row.phase = RowPhase::Away;
                row.not_completed_because = None;
            }
            return live.draw();
        }
        Ok(())
    }

    /// Somebody is not ready: says who and why, and asks if `typed` an answer can be given here.
    pub fn question(&mut self, question: &Question, typed: bool) -> io::Result<()> {
        if let Self::Live(live) = self {
            live.screen.keep();
            live.asking = typed;
        }
        let mut lines = question_lines(question, &Zone::local());
        let prompt = lines.pop().unwrap_or_default();
        if let Self::Live(live) = self {
            live.prompt.clone_from(&prompt);
        }
        let mut err = io::stderr();
        for line in lines {
            writeln!(err, "{line}")?;
        }
        if typed {
            write!(err, "{prompt}")?;
        }
        err.flush()
    }

    /// The question is answered, here or elsewhere; `how` says by what.
    pub fn answered(&mut self, how: &str) -> io::Result<()> {
        if let Self::Live(live) = self {
            live.asking = false;
        }
        writeln!(io::stderr(), "{how}")
    }

    /// Whether an answer is being typed.
    pub fn is_asking(&self) -> bool {
        matches!(self, Self::Live(live) if live.asking)
    }

    /// What was typed is no answer.
    pub fn ask_again(&mut self) -> io::Result<()> {
        let mut err = io::stderr();
        writeln!(err, "please type one of the three words, or its first letter")?;
        if let Self::Live(live) = self {
            write!(err, "{}", live.prompt)?;
        }
        err.flush()
    }

    /// Nothing more comes. What is drawn stays, unless its `outcome` is told next, with all of it as it is by then.
    pub fn close(&mut self, outcome: bool) -> io::Result<()> {
        match self {
            Self::Live(live) if outcome => live.screen.erase(),
            Self::Live(_) | Self::Plain(_) => Ok(()),
        }
    }
}

impl Live {
    fn draw(&mut self) -> io::Result<()> {
        match &self.view {
            Some(view) if !self.asking => {
                let (width, height) = size_of(io::stderr());
                self.screen.draw(view.lines(width, height))
            }
            _ => Ok(()),
        }
    }
}
