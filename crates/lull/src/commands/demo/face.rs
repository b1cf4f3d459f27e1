//! What the demonstration shows: lines that stay, and on a terminal one that lives below them.

use std::io::{self, IsTerminal as _, Stdout, Write as _};

use crate::output::{Screen, fit, size_of};

/// A colour, where there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// What it is about.
    Bold,
    /// What matters less.
    Dim,
    /// As it should be.
    Good,
    /// Wrong, or an error that was to be shown.
    Bad,
    /// Held up.
    Waiting,
}

/// The paper.
#[derive(Debug)]
pub struct Face {
    screen: Option<Screen<Stdout>>,
    colours: bool,
}

impl Face {
    /// Standard output, with colours and a living line where it is a terminal and `NO_COLOR` is
    /// not set.
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            screen: (terminal && !dumb).then(|| Screen::new(io::stdout())),
            colours: terminal && !dumb && !set("NO_COLOR"),
        }
    }

    /// Characters in a line.
    pub fn width(&self) -> usize {
        match io::stdout().is_terminal() {
            true => size_of(io::stdout()).0,
            false => 100,
        }
    }

    /// Whether there is a living line.
    pub fn lives(&self) -> bool {
        self.screen.is_some()
    }

    /// The text in a colour.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Good => "32",
            Colour::Bad => "31",
            Colour::Waiting => "33",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        let whole = text.contains('\x1b') || !io::stdout().is_terminal();
        let width = if whole { usize::MAX } else { self.width() };
        fit(text, width).iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))?;
        // A blank line is none of a text's.
        if text.is_empty() { writeln!(io::stdout()) } else { Ok(()) }
    }

    /// A line about the moment `ms` milliseconds after the begin of what is told; it goes on below where it does not
    /// fit.
    pub fn moment(&mut self, ms: u128, colour: Option<Colour>, text: &str) -> io::Result<()> {
        const TIME: usize = 12;
        let mut begin = format!("{ms:>7} ms");
        for part in fit(text, self.width().saturating_sub(TIME)) {
            let line = format!("{begin:TIME$}{part}");
            match colour {
                Some(colour) => self.coloured(colour, &line)?,
                None => self.line(&line)?,
            }
            begin.clear();
        }
        Ok(())
    }

    /// A line that stays, in a colour.
    pub fn coloured(&mut self, colour: Colour, text: &str) -> io::Result<()> {
        self.line(&self.paint(colour, text))
    }

    /// The living line.
    pub fn live(&mut self, text: &str) -> io::Result<()> {
        let width = self.width();
        let text: String = text.chars().take(width).collect();
        let text = self.paint(Colour::Dim, &text);
        match &mut self.screen {
            Some(screen) => screen.draw(vec![text]),
            None => Ok(()),
        }
    }

    /// Takes the living line away.
    pub fn clear(&mut self) -> io::Result<()> {
        self.screen.as_mut().map_or(Ok(()), Screen::erase)
    }
}
