//! Lines on a terminal that are drawn over again.

use std::io::{self, Write};
use std::os::fd::AsFd;

use crossterm::cursor::MoveToPreviousLine;
use crossterm::queue;
use crossterm::terminal::{Clear, ClearType};

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

/// Width and height of the terminal `fd`, or what paper has where it is none. The last column is
/// left out: some terminals wrap when it is written.
pub fn size_of(fd: impl AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(fd) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col.max(20)) - 1, usize::from(size.ws_row.max(6)))
        }
        _ => (100, 24),
    }
}

/// The width of the terminal `fd`, as [`size_of`] has it; none: it is no terminal, and who reads it knows no width.
pub fn width_of(fd: impl AsFd) -> Option<usize> {
    rustix::termios::isatty(&fd).then(|| size_of(fd).0)
}
