//! Lines on a terminal that are drawn over again.

use std::io::{self, Write};

use crossterm::cursor::MoveToPreviousLine;
use crossterm::queue;
use crossterm::terminal::{self, Clear, ClearType};

/// A part of the terminal, from the cursor's line on, that is replaced as a whole.
#[derive(Debug)]
pub struct Screen<W: Write> {
    to: W,
    drawn: Vec<String>,
}

impl<W: Write> Screen<W> {
    /// A part that is still empty.
    pub fn new(to: W) -> Self {
        Self { to, drawn: Vec::new() }
    }

    /// Width and height of the terminal, or what a terminal has where that cannot be known.
    pub fn size() -> (usize, usize) {
        let (width, height) = terminal::size().unwrap_or((80, 24));
        // The last column stays free: some terminals wrap when it is written.
        (usize::from(width.max(20)) - 1, usize::from(height.max(6)))
    }

    /// Draws these lines where the last ones stood.
    pub fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines == self.drawn {
            return Ok(());
        }
        self.erase()?;
        for line in &lines {
            writeln!(self.to, "{line}")?;
        }
        self.drawn = lines;
        self.to.flush()
    }

    /// Takes away what was drawn.
    pub fn erase(&mut self) -> io::Result<()> {
        let height = u16::try_from(self.drawn.len()).unwrap_or(u16::MAX);
        if height > 0 {
            queue!(self.to, MoveToPreviousLine(height), Clear(ClearType::FromCursorDown))?;
        }
        self.drawn.clear();
        self.to.flush()
    }

    /// Leaves what was drawn where it is; what follows stands below it.
    pub fn keep(&mut self) {
        self.drawn.clear();
    }
}
