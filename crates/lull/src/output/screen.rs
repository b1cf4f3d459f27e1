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

    /// Draws these lines where the last ones stood, one over the other: a terminal may keep what is cleared as a whole
    /// among what has scrolled away.
    pub fn draw(&mut self, lines: Vec<String>) -> io::Result<()> {
        if lines == self.drawn {
            return Ok(());
        }
        self.up(self.drawn.len())?;
        let over = self.drawn.len().saturating_sub(lines.len());
        for line in lines.iter().map(String::as_str).chain(std::iter::repeat_n("", over)) {
            write!(self.to, "{line}")?;
            queue!(self.to, Clear(ClearType::UntilNewLine))?;
            writeln!(self.to)?;
        }
        self.up(over)?;
        self.drawn = lines;
        self.to.flush()
    }

    /// Takes away what was drawn.
    pub fn erase(&mut self) -> io::Result<()> {
        self.draw(Vec::new())
    }

    fn up(&mut self, lines: usize) -> io::Result<()> {
        match u16::try_from(lines).unwrap_or(u16::MAX) {
            // To a terminal it would be 1.
            0 => Ok(()),
            lines => queue!(self.to, MoveToPreviousLine(lines)),
        }
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
